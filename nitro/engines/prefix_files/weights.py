"""Which weights a state belongs to: the SHA-256 of the files' whole content. The beginning and the end of a file, which
`checkpoints/fingerprint` reads, may be those of another model.

To read gigabytes takes seconds, so a digest is remembered with what the system says of its file: device, inode, size
and times. A file that has changed since the engine began to load it is not the one that was loaded.
"""

import contextlib
import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import msgspec

from nitro.gguf import split_files

PIECE = 2**20  # bytes
MEMO = "weights.json"  # in the folder of the prefixes
MOST = 1000  # files that are remembered
NOTES = (".md", ".gitattributes")  # files of a model's folder that change no number

Stamp = tuple[int, int, int, int, int]  # device, inode, size, time of the content, time of the entry


class Changed(Exception):
    """A file is not what it was when it was loaded."""


class Weights:
    """The files of a model or an adapter, as they are now: to be made before they are loaded."""

    def __init__(self, path: str, folder: Path):
        """`folder`: where digests are remembered. Raises OSError where a file is not there."""
        self._memo = folder / MEMO
        self._is_folder = bool(path) and Path(path).is_dir()
        self._files = [(file, _stamp(file)) for file in _files(path)]

    def known(self) -> str | None:
        """Their digest, as far as it is remembered. Raises Changed, OSError."""
        memo = _read(self._memo)
        found = [memo.get(_key(stamp)) for _, stamp in self._checked()]
        return self._joined([each for each in found if each]) if all(found) else None

    def digest(self, pause: Callable[[], None] = lambda: None) -> str:
        """The same, read where it is not remembered. `pause` is called after each few bytes. Raises Changed,
        OSError."""
        memo = _read(self._memo)
        digests = []
        for file, stamp in self._checked():
            key = _key(stamp)
            if key not in memo:
                memo[key] = _hash(file, pause)
                self._remember(key, memo[key])
            digests.append(memo[key])
        self._checked()
        return self._joined(digests)

    def _joined(self, digests: list[str]) -> str:
        """Of all files. Those of a folder go by their names, and a file may have any."""
        names = [file.name if self._is_folder else "" for file, _ in self._files]
        lines = [f"{name} {digest}\n" for name, digest in zip(names, digests, strict=True)]
        return hashlib.sha256("".join(lines).encode()).hexdigest()

    def _checked(self) -> list[tuple[Path, Stamp]]:
        for file, stamp in self._files:
            if _stamp(file) != stamp:
                raise Changed(f"{file} has changed since it was loaded.")
        return self._files

    def _remember(self, key: str, digest: str) -> None:
        """What another process remembers meanwhile may be forgotten: it is found again."""
        self._checked()
        memo = {**_read(self._memo), key: digest}
        kept = dict(list(memo.items())[-MOST:])
        part = self._memo.with_name(f"{MEMO}.{os.getpid()}.part")
        with contextlib.suppress(OSError):
            part.write_bytes(msgspec.json.encode(kept))
            part.replace(self._memo)


def _files(path: str) -> list[Path]:
    if not path:
        return []  # a runner of the user's own that has none
    place = Path(path)
    if not place.is_dir():
        return split_files.files(place)
    return sorted(file for file in place.iterdir() if file.is_file() and file.suffix not in NOTES)


def _stamp(file: Path) -> Stamp:
    about = file.stat()
    return about.st_dev, about.st_ino, about.st_size, about.st_mtime_ns, about.st_ctime_ns


def _key(stamp: Stamp) -> str:
    return " ".join(map(str, stamp))


def _hash(file: Path, pause: Callable[[], None]) -> str:
    digest = hashlib.sha256()
    with file.open("rb", buffering=0) as stream:
        while piece := stream.read(PIECE):
            digest.update(piece)
            pause()
    return digest.hexdigest()


def _read(memo: Path) -> dict[str, str]:
    try:
        return msgspec.json.decode(memo.read_bytes(), type=dict[str, str])
    except (OSError, msgspec.DecodeError):
        return {}
