"""The folder that records lie in: files of bounded size and number, which only their owner can read.

A file belongs to the server that writes it, which holds a lock on it. Files of servers that have ended are anybody's:
the oldest go first. A line is whole or not there: what a full disk has cut is taken back.
"""

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from nitro import __version__
from nitro.errors import RecordError
from nitro.records import form
from nitro.records.form import Exchange, Head, Template

PATTERN = "records-*.jsonl"
CHUNK = 2**16  # bytes that are read at once


class RecordFolder:
    """Where one server writes. Every method raises OSError. Belongs to one thread."""

    def __init__(self, folder: Path, most_bytes: int, most_files: int):
        """`most_bytes`: of a file, which only a longer record exceeds. `most_files`: of the folder."""
        self.path = folder.expanduser().absolute()
        self._most_bytes, self._most_files = most_bytes, most_files
        self._file = -1  # descriptor
        self._name: Path | None = None
        self._size = 0
        self._templates: set[str] = set()  # digests of those in the file

    def prepare(self) -> None:
        """Make the folder, and see whether it can be written."""
        self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not os.access(self.path, os.W_OK | os.X_OK):
            raise PermissionError(13, os.strerror(13))

    def add(self, exchange: Exchange, template: Template | None) -> None:
        """Write a record behind the others, into a new file where this one is full."""
        line = form.encode(exchange)
        if self._file >= 0 and (self._gone() or self._size + len(line) > self._most_bytes):
            self.close()
        if self._file < 0:
            self._open()
        new = template is not None and template.digest not in self._templates
        self._write((form.encode(template) if template and new else b"") + line)
        if template and new:
            self._templates.add(template.digest)

    def remove(self, id: str | None) -> int:
        """Delete the records with this id, or all. Returns how many there were. Files that another server writes are
        left alone."""
        name = self._name
        self.close()
        found = 0
        for file in files(self.path):
            with _owned(file) as ours:
                if not ours:
                    continue
                if id is None:
                    found += sum(isinstance(line, Exchange) for line in read(file))
                    file.unlink(missing_ok=True)
                else:
                    found += _without(file, id)
        if name and name.exists():
            self._resume(name)
        return found

    def close(self) -> None:
        """The next record begins a new file."""
        if self._file >= 0:
            os.close(self._file)
        self._file, self._name, self._size, self._templates = -1, None, 0, set()

    def _open(self) -> None:
        self.prepare()
        stamp = datetime.now(UTC).strftime("%Y%m%d-%H%M%S-%f")  # names are in the order of time
        name = self.path / f"records-{stamp}-{os.getpid()}.jsonl"
        self._file = os.open(name, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._name = name
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._write(form.encode(Head(form.FORM, __version__, time.time())))
        except OSError:
            self.close()
            name.unlink(missing_ok=True)
            raise
        self._make_room()

    def _resume(self, name: Path) -> None:
        """Go on with a file of this server's."""
        self._file = os.open(name, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
        fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self._name, self._size = name, os.fstat(self._file).st_size
        self._templates = {line.digest for line in read(name) if isinstance(line, Template)}

    def _write(self, data: bytes) -> None:
        view = memoryview(data)
        written = 0
        try:
            while written < len(view):
                written += os.write(self._file, view[written:])
        except OSError:
            if written:
                os.ftruncate(self._file, self._size)
            raise
        self._size += len(data)

    def _gone(self) -> bool:
        """Whether somebody has removed the file."""
        return os.fstat(self._file).st_nlink == 0

    def _make_room(self) -> None:
        """Remove the oldest files, but those that other servers write."""
        found = files(self.path)
        more = len(found) - self._most_files
        for file in found:
            if more > 0 and file != self._name:
                with _owned(file) as ours:
                    if ours:
                        file.unlink(missing_ok=True)
                        more -= 1


def files(folder: Path) -> list[Path]:
    """The files of records, oldest first."""
    return sorted(folder.glob(PATTERN), key=lambda file: file.name)


def read(file: Path) -> Iterator[form.Line]:
    """The lines that are whole; what is none is left out. Raises OSError."""
    with file.open("rb") as lines:
        for data in lines:
            if data.endswith(b"\n"):
                with contextlib.suppress(RecordError):
                    yield form.decode(data)


def newest_first(folder: Path) -> Iterator[tuple[Exchange, Path, int]]:
    """All records: each with its file, and its length in bytes. Raises OSError."""
    for file in reversed(files(folder)):
        with contextlib.suppress(FileNotFoundError):
            for data in _lines_backwards(file):
                with contextlib.suppress(RecordError):
                    line = form.decode(data)
                    if isinstance(line, Exchange):
                        yield line, file, len(data)


def find(folder: Path, id: str) -> list[form.Line] | None:
    """A record as a file of its own; None where there is none. Raises OSError."""
    needle = bytes(form.raw(id))
    for file in reversed(files(folder)):
        head: Head | None = None
        templates: dict[str, Template] = {}
        with file.open("rb") as lines:
            for data in lines:
                if needle not in data and not data.startswith((b'{"kind":"file"', b'{"kind":"template"')):
                    continue
                with contextlib.suppress(RecordError):
                    line = form.decode(data)
                    if isinstance(line, Head):
                        head = line
                    elif isinstance(line, Template):
                        templates[line.digest] = line
                    elif line.id == id and head:
                        return form.lines_of(line, templates.get(line.served.template or ""), head)
    return None


def _lines_backwards(file: Path) -> Iterator[bytes]:
    """The last line first, each with its end. A last line without one is not whole yet."""
    with file.open("rb") as data:
        place = data.seek(0, os.SEEK_END)
        pieces: list[bytes] = []  # of the line that ends behind `place`, last piece first
        ended = False  # whether that line has an end
        while place:
            length = min(CHUNK, place)
            place -= length
            data.seek(place)
            first, *lines = data.read(length).split(b"\n")
            for line in reversed(lines):
                if ended:
                    yield line + b"".join(reversed(pieces)) + b"\n"
                pieces, ended = [], True
            pieces.append(first)
        if ended:
            yield b"".join(reversed(pieces)) + b"\n"


def _without(file: Path, id: str) -> int:
    """Write a file anew without the records of this id. Returns how many there were."""
    kept, found = [], 0
    for line in read(file):
        if isinstance(line, Exchange) and line.id == id:
            found += 1
        else:
            kept.append(line)
    if not found:
        return 0
    if not any(isinstance(line, Exchange) for line in kept):
        file.unlink(missing_ok=True)
        return found
    new = file.with_suffix(".new")
    descriptor = os.open(new, os.O_CREAT | os.O_TRUNC | os.O_WRONLY | os.O_CLOEXEC, 0o600)
    try:
        with open(descriptor, "wb") as out:
            out.writelines(form.encode(line) for line in kept)
        new.replace(file)
    except OSError:
        new.unlink(missing_ok=True)
        raise
    return found


@contextlib.contextmanager
def _owned(file: Path) -> Iterator[bool]:
    """Whether no other server writes it, and none begins to."""
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        yield False
        return
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True
    finally:
        os.close(descriptor)
