"""Remembers what models' files say, by their time and size, also from one run to the next: to read the headers of
hundreds of files takes seconds. The file may be deleted at any time."""

import contextlib
import functools
import logging
import os
import threading
from pathlib import Path

import msgspec
from msgspec import Struct

from nitro import __version__
from nitro.models import facts
from nitro.models.facts import Facts
from nitro.models.stored_model import Format
from nitro.system import folders

log = logging.getLogger("nitro.models")

FILE = "models.msgpack"
MAX_BYTES = 2**26


class _Entry(Struct, frozen=True, array_like=True):
    stamp: tuple[int, int]
    facts: Facts


class _Stored(Struct, frozen=True, array_like=True):
    version: str
    entries: dict[str, _Entry]


class FactCache:
    """For one process; several may use one file, of which the last to write wins. May be called from any thread."""

    def __init__(self, file: Path | None = None):
        """`file`: None for the one in the data folder."""
        self._file = file or folders.data() / FILE
        self._lock = threading.Lock()
        self._entries: dict[str, _Entry] | None = None
        self._changed = False
        self._failing = False  # it could not be written, which is told once

    def get(self, path: Path, format: Format) -> Facts:
        """What the model's files say: read now, unless they are as they were. A fault of the system is not
        remembered: it may pass."""
        key, stamp = str(path), facts.stamp(path)
        with self._lock:
            if self._entries is None:
                self._entries = _load(self._file)
            known = self._entries.get(key)
        if known and stamp and known.stamp == stamp:
            return known.facts
        try:
            found = facts.read(path, format)
        except OSError as error:
            return facts.unread(path, format, error)
        if stamp:
            with self._lock:
                self._entries[key] = _Entry(stamp, found)
                self._changed = True
        return found

    def save(self) -> None:
        """Write what is new, if it can be written. If not, the log tells where and why, and headers are read again at
        the next start."""
        with self._lock:
            if not self._changed or self._entries is None:
                return
            self._entries = {path: entry for path, entry in self._entries.items() if os.path.lexists(path)}
            content = msgspec.msgpack.encode(_Stored(__version__, self._entries))
            self._changed = False
        made = self._file.with_name(f"{self._file.name}.{os.getpid()}.tmp")
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            made.write_bytes(content)
            made.replace(self._file)
        except OSError as error:
            with contextlib.suppress(OSError):  # what a full disk has cut
                made.unlink()
            if not self._failing:
                why = error.strerror or error
                log.warning("%s cannot be written (%s): the next start reads all headers again", self._file, why)
            self._failing = True
        else:
            self._failing = False


@functools.cache
def shared() -> FactCache:
    """That of this process."""
    return FactCache()


def _load(file: Path) -> dict[str, _Entry]:
    try:
        if file.stat().st_size > MAX_BYTES:
            return {}
        stored = msgspec.msgpack.decode(file.read_bytes(), type=_Stored)
    except (OSError, ValueError):  # a DecodeError is a ValueError
        return {}
    return stored.entries if stored.version == __version__ else {}
