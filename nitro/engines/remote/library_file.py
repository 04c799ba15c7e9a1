"""Where the installer has put llama.cpp's backend for RPC, or why it has not. See scripts/rpc_backend.py."""

import sys
from pathlib import Path

from nitro.system import packages

FORM = 3  # of what the installer builds


def folder() -> Path:
    """Of this Python."""
    return Path(sys.prefix) / "lib" / "nitro"


def find() -> Path | None:
    """The library for the llama-cpp-python that is installed; None: there is none."""
    path = folder() / f"libggml-rpc-{packages.version('llama_cpp')}-{FORM}.so"
    return path if path.is_file() else None


def why_not() -> str:
    """Why there is none, as a sentence, and what helps."""
    try:
        reason = (folder() / "no-rpc").read_text(encoding="utf-8").strip()
    except OSError:
        reason = f"it was not built when Nitro was installed for this Python ({sys.prefix})"
    return (
        f"llama.cpp's backend for other machines is not there: {reason}. "
        f"Install a C++ compiler (on Debian and Ubuntu: sudo apt install g++) and run make install again."
    )
