"""Nitro's own folders of a user."""

import os
from pathlib import Path


def cache() -> Path:
    """For what Nitro can make again: $NITRO_CACHE, or nitro/ in the user's cache folder ($XDG_CACHE_HOME, ~/.cache). It
    need not exist."""
    return _folder("NITRO_CACHE", "XDG_CACHE_HOME", ".cache")


def data() -> Path:
    """For what Nitro remembers: $NITRO_DATA, or nitro/ in the user's data folder ($XDG_DATA_HOME, ~/.local/share).
    It need not exist."""
    return _folder("NITRO_DATA", "XDG_DATA_HOME", ".local/share")


def state() -> Path:
    """For what programs have Nitro keep for them: nitro/ in the user's state folder ($XDG_STATE_HOME, ~/.local/state).
    It need not exist."""
    return _users("XDG_STATE_HOME", ".local/state")


def _folder(own: str, users: str, usual: str) -> Path:
    if configured := os.environ.get(own):
        return Path(configured).expanduser()
    return _users(users, usual)


def _users(variable: str, usual: str) -> Path:
    return Path(os.environ.get(variable) or Path.home() / usual) / "nitro"
