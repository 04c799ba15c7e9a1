"""Credentials of a systemd service: files that it alone can read, in the folder that $CREDENTIALS_DIRECTORY names.

LoadCredential=nitro.api-key:/etc/nitro/key is --api-key-file, LoadCredential=nitro.keys:/etc/nitro/keys.toml is --keys,
where neither a flag nor a variable nor nitro.toml says otherwise. Source: https://systemd.io/CREDENTIALS/.
"""

import os
from pathlib import Path
from typing import Any

import click

from nitro.cli import api_keys

VARIABLE = "CREDENTIALS_DIRECTORY"
API_KEY = "nitro.api-key"
KEYS = "nitro.keys"
KEYS_VARIABLE = "NITRO_KEYS"


def find(name: str) -> Path | None:
    """The credential of this name, where there is one."""
    folder = os.environ.get(VARIABLE)
    path = Path(folder) / name if folder else None
    return path if path and path.exists() else None


def filled(fields: dict[str, Any]) -> dict[str, Any]:
    """The fields of a server, with its credentials where they are not set. Raises UsageError for what is no key, and
    for a variable that is empty: whoever sets it wants a locked door."""
    if fields["keys"] is None and KEYS_VARIABLE in os.environ:
        raise click.UsageError(f"{KEYS_VARIABLE}: it is empty; leave it away to go without keys.")
    if fields["api_key"] is None and (path := find(API_KEY)):
        try:
            fields = {**fields, "api_key": api_keys.read(path)}
        except ValueError as error:
            raise click.UsageError(f"{path}: {error}") from None
    return {**fields, "keys": find(KEYS)} if fields["keys"] is None else fields
