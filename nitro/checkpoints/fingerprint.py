"""Tells weight files apart without reading gigabytes."""

import hashlib
from pathlib import Path

SAMPLE = 2**20  # bytes


def of(files: list[Path]) -> str:
    """Changes with any file's size, beginning or end."""
    digest = hashlib.sha256()
    for file in files:
        size = file.stat().st_size
        with file.open("rb") as stream:
            head = stream.read(SAMPLE)
            stream.seek(max(size - SAMPLE, 0))
            digest.update(b"%d" % size + head + stream.read(SAMPLE))
    return digest.hexdigest()
