"""The cache folder, for what Nitro can make again."""

import os
from pathlib import Path


def folder() -> Path:
    """$NITRO_CACHE, or nitro/ in the user's cache folder ($XDG_CACHE_HOME, ~/.cache). It need not exist."""
    configured = os.environ.get("NITRO_CACHE")
    if configured:
        return Path(configured).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "nitro"
