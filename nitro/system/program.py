"""How this program was called, for commands that a person can copy."""

import shlex
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path


def name(argv: Sequence[str] = sys.argv) -> str:
    """What stands for "nitro" in a command: its path as it was typed, unless the shell finds it by its name."""
    started = Path(argv[0])
    if started.name == "__main__.py":
        return "python -m nitro"
    found = shutil.which("nitro")
    if started.name != "nitro" or (found and Path(found).resolve() == started.resolve()):
        return "nitro"
    return shlex.quote(str(started))
