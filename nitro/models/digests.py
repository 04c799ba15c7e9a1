"""A model's digest: 64 hexadecimal digits that change when the model does."""

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path

from nitro.gguf import split_files

_HASHED = re.compile(r"(?:sha256-)?([0-9a-f]{64})")  # a blob's name in the hub's cache, and in Ollama's


def of(path: str) -> str:
    """The SHA-256 of a model's one file where its store has it, in the name of the blob. Else that of a list: each
    file's name with its SHA-256 or, where no store knows that, its size and time. No file is read for it."""
    files = _files(path)
    hashes = [known(file) for file in files]
    if len(files) == 1 and hashes[0]:
        return hashes[0]
    lines = (f"{file.name} {hash or _stamp(file)}\n" for file, hash in zip(files, hashes, strict=True))
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def known(file: Path) -> str | None:
    """The SHA-256 of a file's content, where the name of its blob says it."""
    try:
        found = _HASHED.fullmatch(file.resolve().name)
    except (OSError, RuntimeError):  # a link that leads to itself
        return None
    return found[1] if found else None


def _files(path: str) -> Sequence[Path]:
    if not path:
        return []
    try:
        folder = Path(path)
        if not folder.is_dir():
            return split_files.files(folder)
        return sorted(file for file in folder.iterdir() if file.is_file())
    except OSError:
        return []


def _stamp(file: Path) -> str:
    try:
        about = file.stat()
    except OSError:
        return "-"
    return f"{about.st_size} {about.st_mtime_ns}"
