"""Files that come in parts. Each function is a job, see responses.py.

    pending → completed | cancelled | expired

A part is a file that is in no list. When the upload ends its parts are removed: completed, they are one file by then.
"""

import sqlite3
from collections.abc import Sequence

from msgspec import Struct
from msgspec.structs import replace

from nitro.state import bounds, files
from nitro.state.bounds import TooMany
from nitro.state.files import File

PENDING, COMPLETED, CANCELLED, EXPIRED = "pending", "completed", "cancelled", "expired"
PART = "part"  # a file's status
MAX_PARTS = 10_000  # of one
REMEMBERED = 86400  # seconds behind its end for which it is told how an upload has ended
_COLUMNS = "number, id, created, expires, bytes, name, purpose, seconds, user, status"


class NewUpload(Struct, frozen=True, kw_only=True):
    """One that is asked for. `bytes`: of the whole file; `seconds`: that it is kept, None: for ever."""

    id: str
    created: int  # seconds since 1970
    expires: int
    bytes: int
    name: str
    purpose: str
    seconds: int | None
    user: str = ""


class StoredUpload(Struct, frozen=True):
    """One that is kept. `number` is the database's own."""

    number: int
    id: str
    created: int
    expires: int
    bytes: int
    name: str
    purpose: str
    seconds: int | None
    user: str
    status: str


class Part(Struct, frozen=True):
    """One of them: the number of its file, and its bytes."""

    id: str
    file: int
    bytes: int


class NoUpload(Exception):
    """There is no upload of this id."""

    def __init__(self, id: str):
        super().__init__(id)
        self.id = id


class Ended(Exception):
    """It takes nothing more: its status."""

    def __init__(self, status: str):
        super().__init__(status)
        self.status = status


class TooLarge(Exception):
    """Its parts would have more bytes than the whole: as many as were said."""

    def __init__(self, bytes: int):
        super().__init__(bytes)
        self.bytes = bytes


def create(db: sqlite3.Connection, new: NewUpload) -> StoredUpload:
    """Raises TooMany."""
    bounds.check(db, "uploads", f"status = '{PENDING}' AND expires > {new.created}", new.user)
    db.execute(
        """INSERT INTO uploads (id, created, expires, bytes, name, purpose, seconds, user, status)
           VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)""",
        (new.id, new.created, new.expires, new.bytes, new.name, new.purpose, new.seconds, new.user, PENDING),
    )
    return get(db, new.id, new.created)


def get(db: sqlite3.Connection, id: str, now: int, user: str | None = None) -> StoredUpload:
    """As it is now. Raises NoUpload, also where it is another user's. `user`: None: whosever it is."""
    query = f"SELECT {_COLUMNS} FROM uploads WHERE id = ? AND user = coalesce(?, user)"
    row = db.execute(query, (id, user)).fetchone()
    if row is None:
        raise NoUpload(id)
    found = StoredUpload(*row)
    return replace(found, status=EXPIRED) if found.status == PENDING and found.expires <= now else found


def pending(db: sqlite3.Connection, id: str, now: int, user: str | None = None) -> StoredUpload:
    """One that may go on. Raises NoUpload, Ended."""
    found = get(db, id, now, user)
    if found.status != PENDING:
        raise Ended(found.status)
    return found


def add(db: sqlite3.Connection, upload: str, id: str, file: int, now: int) -> None:
    """A part, which is there as the file of this number. Raises NoUpload, Ended, TooMany, TooLarge."""
    found = pending(db, upload, now)
    there = parts(db, found.number)
    (size,) = db.execute("SELECT bytes FROM files WHERE number = ?", (file,)).fetchone() or (0,)
    if len(there) >= MAX_PARTS:
        raise TooMany(f"This upload has {MAX_PARTS} parts")
    if sum(part.bytes for part in there) + size > found.bytes:
        raise TooLarge(found.bytes)
    db.execute("UPDATE files SET status = ?, owner = NULL WHERE number = ?", (PART, file))
    db.execute("INSERT INTO parts VALUES (?, ?, ?)", (id, found.number, file))


def parts(db: sqlite3.Connection, number: int) -> list[Part]:
    """Those that an upload has."""
    query = "SELECT p.id, p.file, f.bytes FROM parts p JOIN files f ON f.number = p.file WHERE p.upload = ?"
    return [Part(*row) for row in db.execute(query, (number,))]


def complete(db: sqlite3.Connection, id: str, file: int, now: int) -> File | None:
    """The file of this number has all of it. None: it was removed meanwhile. Raises NoUpload, Ended."""
    found = pending(db, id, now)
    expires = None if found.seconds is None else now + found.seconds
    made = files.finish(db, file, now, expires, found.name, found.purpose)
    if made:
        _end(db, found.number, COMPLETED)
    return made


def cancel(db: sqlite3.Connection, id: str, now: int, user: str | None = None) -> StoredUpload:
    """Its parts are removed. Raises NoUpload, Ended."""
    _end(db, pending(db, id, now, user).number, CANCELLED)
    return get(db, id, now)


def forget_expired(db: sqlite3.Connection, now: int) -> int:
    """Remove the parts of those whose time is over, and what ended long ago. Returns how many have expired."""
    old = db.execute("SELECT number FROM uploads WHERE status = ? AND expires <= ?", (PENDING, now)).fetchall()
    for (number,) in old:
        _end(db, number, EXPIRED)
    db.execute("DELETE FROM uploads WHERE status <> ? AND expires <= ?", (PENDING, now - REMEMBERED))
    return len(old)


def _end(db: sqlite3.Connection, number: int, status: str) -> None:
    for part in parts(db, number):
        files.remove(db, part.file)
    db.execute("DELETE FROM parts WHERE upload = ?", (number,))
    db.execute("UPDATE uploads SET status = ? WHERE number = ?", (status, number))


def ordered(there: Sequence[Part], ids: Sequence[str]) -> list[Part]:
    """The parts of these ids, in their order. Raises KeyError for one that is not there."""
    known = {part.id: part for part in there}
    return [known[id] for id in ids]
