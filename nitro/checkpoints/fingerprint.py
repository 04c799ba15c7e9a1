"""Identifies weight files without reading gigabytes."""

import hashlib
from pathlib import Path

SAMPLE = 2**20  # bytes from the beginning and the end of a file


def of(files: list[Path]) -> str:
    """A hash in hex, which changes with the size, the beginning or the end of any file. Raises OSError."""
    digest = hashlib.sha256()
    for file in files:
        size = file.stat().st_size
        with file.open("rb") as stream:
            head = stream.read(SAMPLE)
            stream.seek(max(size - SAMPLE, 0))
            digest.update(b"%d" % size + head + stream.read(SAMPLE))
    return digest.hexdigest()
