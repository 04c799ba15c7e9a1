"""Where Nitro keeps what it can make again: $NITRO_CACHE, or nitro/ in the user's cache folder."""

import os
from pathlib import Path


def folder() -> Path:
    if own := os.environ.get("NITRO_CACHE"):
        return Path(own).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "nitro"
