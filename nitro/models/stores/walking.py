"""Walks through a folder of models, bounded: it may be anybody's, on a slow disk, and hold anything.

Stores look at single files by os.path, which says False where Path's methods raise for a folder that may not be read:
one such file must not hide the others.
"""

import os
from collections.abc import Iterator
from pathlib import Path

MAX_DEPTH = 5  # folders below the root
MAX_ENTRIES = 50_000  # that are looked at under one root


def folders(root: Path, depth: int = MAX_DEPTH) -> Iterator[tuple[Path, list[str]]]:
    """Each folder from `root` on with the names in it that are no folders, sorted. Links are followed, each folder is
    entered once. What cannot be read is left out."""
    seen: set[tuple[int, int]] = set()
    left = MAX_ENTRIES
    waiting = [(root, depth)]
    while waiting:
        folder, depth = waiting.pop()
        try:
            found = folder.stat()
            if (found.st_dev, found.st_ino) in seen:
                continue
            seen.add((found.st_dev, found.st_ino))
            files, below = _entries(folder, left)
        except OSError:
            continue
        left -= len(files) + len(below)
        yield folder, files
        if depth:
            waiting.extend((folder / name, depth - 1) for name in reversed(below))


def _entries(folder: Path, most: int) -> tuple[list[str], list[str]]:
    """The names of files and of folders, without hidden ones: a Mac puts ._NAME beside each file on others' disks."""
    files: list[str] = []
    below: list[str] = []
    with os.scandir(folder) as entries:
        for _, entry in zip(range(most), entries, strict=False):
            if _is_text(entry.name) and not entry.name.startswith("."):
                (below if _is_folder(entry) else files).append(entry.name)
    return sorted(files), sorted(below)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    """Links to themselves, say, are none."""
    try:
        return entry.is_dir()
    except OSError:
        return False


def _is_text(name: str) -> bool:
    """Whether a file's name is UTF-8, as the names of models must be."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def text(file: Path, most: int) -> str:
    """What a file of at most so many bytes says; empty where there is none that can be read."""
    try:
        return file.read_text() if file.is_file() and file.stat().st_size <= most else ""
    except (OSError, ValueError):
        return ""
