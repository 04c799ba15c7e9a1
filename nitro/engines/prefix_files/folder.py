"""The folder that prefixes lie in: a folder for each identity, and in it a file for each prefix.

    DIR/IDENTITY/NAME.prefix          whole
    DIR/IDENTITY/NAME.PID-N.part      being written, and locked as long as it is
    DIR/.lock                         held while room is made
    DIR/weights.json                  see weights.py

Any number of servers may share one. A file is written under another name and renamed, so that it is whole or not there;
who reads one that another server removes has it until the end. Whoever writes makes room first, whatever it is in the
way: what was not used for the longest time goes, by the time of the file. What a killed process has left goes then,
too.
"""

import contextlib
import errno
import fcntl
import itertools
import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

WHOLE, PART = ".prefix", ".part"
MOST_FILES = 4096
LOCK_PATIENCE = 10.0  # seconds
LOCK_INTERVAL = 0.02
_IDENTITY = re.compile(r"[0-9a-f]{64}")
_parts = itertools.count()


class TooLarge(OSError):
    """The folder may not hold as much as this file alone has."""


class Usage(NamedTuple):
    """What lies in a folder."""

    files: int
    bytes: int


class _File(NamedTuple):
    used: int  # time of the last use, ns
    size: int
    path: Path


class PrefixFolder:
    """`most`: bytes of all files. Every method but `usage` raises OSError. Any thread may use it."""

    def __init__(self, path: Path, most: int):
        self.path, self._most = path.expanduser().absolute(), most

    def prepare(self) -> None:
        """Make the folder, and see whether it can be written."""
        self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not os.access(self.path, os.R_OK | os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    def usage(self) -> Usage:
        """What all servers have there; nothing where it cannot be read."""
        try:
            files = [file for file in self._files() if file.path.suffix == WHOLE]
        except OSError:
            return Usage(0, 0)
        return Usage(len(files), sum(file.size for file in files))

    def names(self, identity: str) -> set[str]:
        """Of the prefixes of an identity."""
        try:
            found = os.listdir(self.path / identity)
        except FileNotFoundError:
            return set()
        return {name.removesuffix(WHOLE) for name in found if name.endswith(WHOLE)}

    def open(self, identity: str, name: str) -> int:
        """A descriptor of a prefix, to be closed by the caller."""
        return os.open(self._place(identity, name), os.O_RDONLY | os.O_CLOEXEC)

    def touch(self, identity: str, name: str) -> None:
        """It was used now."""
        os.utime(self._place(identity, name))

    def remove(self, identity: str, name: str) -> None:
        """Nothing where it is gone already."""
        self._place(identity, name).unlink(missing_ok=True)

    def add(self, identity: str, name: str, size: int, write: Callable[[int], None]) -> None:
        """Have a file of so many bytes, in the place of what goes for it. `write` writes it to a descriptor. Where that
        fails nothing is left. Raises TooLarge."""
        if size > self._most:
            raise TooLarge(errno.EFBIG, "it is larger than the whole cache may be")
        folder = self.path / identity
        part = folder / f"{name}.{os.getpid()}-{next(_parts)}{PART}"
        with self._locked():
            self._make_room(size)
            folder.mkdir(exist_ok=True, mode=0o700)
            fd = os.open(part, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                os.ftruncate(fd, size)  # the others count it from now on
            except OSError:
                os.close(fd)
                part.unlink(missing_ok=True)
                raise
        try:
            write(fd)
            part.rename(self._place(identity, name))
        except BaseException:
            part.unlink(missing_ok=True)
            raise
        finally:
            os.close(fd)

    def clear(self) -> Usage:
        """Remove all that any server has there, also what is being written. Returns what that was."""
        before = self.usage()
        for file in self._files():
            file.path.unlink(missing_ok=True)
        for folder in self._folders():
            with contextlib.suppress(OSError):  # somebody has begun another file
                folder.rmdir()
        return before

    def _place(self, identity: str, name: str) -> Path:
        return self.path / identity / (name + WHOLE)

    def _make_room(self, size: int) -> None:
        """For a file of this size. The lock is held."""
        files = sorted(self._files())
        for file in list(files):
            if file.path.suffix == PART and _is_left_over(file.path):
                file.path.unlink(missing_ok=True)
                files.remove(file)
        total = sum(file.size for file in files)
        for place, file in enumerate(files):
            if total + size <= self._most and len(files) - place < MOST_FILES:
                break
            if file.path.suffix == WHOLE:
                file.path.unlink(missing_ok=True)
                total -= file.size

    def _folders(self) -> list[Path]:
        """Of all identities."""
        try:
            return [Path(entry.path) for entry in os.scandir(self.path) if _IDENTITY.fullmatch(entry.name)]
        except FileNotFoundError:
            return []

    def _files(self) -> Iterator[_File]:
        """All, those that are being written too."""
        for folder in self._folders():
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                for entry in os.scandir(folder):
                    if entry.name.endswith((WHOLE, PART)):
                        with contextlib.suppress(FileNotFoundError):  # another server has removed it just now
                            about = entry.stat()
                            yield _File(about.st_mtime_ns, about.st_size, Path(entry.path))

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Among all servers. A process that ends lets it go, however it ends. Raises OSError where another one has it
        for too long."""
        fd = os.open(self.path / ".lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            limit = time.monotonic() + LOCK_PATIENCE
            while not _lock(fd):
                if time.monotonic() > limit:
                    raise OSError(errno.EBUSY, "another server holds its lock")
                time.sleep(LOCK_INTERVAL)
            yield
        finally:
            os.close(fd)


def _lock(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_left_over(part: Path) -> bool:
    """Whether nobody writes it any more."""
    try:
        fd = os.open(part, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return _lock(fd)
    finally:
        os.close(fd)
