"""Files in the database. Each function is a job, see responses.py.

begin → add, piece by piece → finish        an upload, which nobody sees before it is whole
grow  → batch_lines.record … → show         what a batch writes
"""

import sqlite3
from collections.abc import Sequence

from msgspec import Struct

PIECE = 2**16  # bytes of each piece of an upload but the last
UPLOADING, GROWING, PROCESSED = "uploading", "growing", "processed"
_COLUMNS = "number, id, created, expires, bytes, name, purpose"


class File(Struct, frozen=True):
    """One that is whole. `number` is the database's own. Times are seconds since 1970; `expires`: None: never."""

    number: int
    id: str
    created: int
    expires: int | None
    bytes: int
    name: str
    purpose: str


class NoFile(Exception):
    """There is no file of this id."""

    def __init__(self, id: str):
        super().__init__(id)
        self.id = id


class InUse(Exception):
    """A batch that has not ended needs the file."""

    def __init__(self, batch: str):
        super().__init__(batch)
        self.batch = batch


class NoRoom(Exception):
    """All files together would be larger than they may."""


def begin(db: sqlite3.Connection, id: str, owner: str, user: str = "") -> int:
    """An upload of this user's, which `owner` receives. Returns its number."""
    return _insert(db, id, UPLOADING, owner, user)


def grow(db: sqlite3.Connection, id: str, user: str) -> int:
    """What a batch of this user's writes. Returns its number."""
    return _insert(db, id, GROWING, None, user)


def _insert(db: sqlite3.Connection, id: str, status: str, owner: str | None, user: str) -> int:
    query = """INSERT INTO files (id, created, bytes, name, purpose, status, owner, user)
               VALUES (?, 0, 0, '', '', ?, ?, ?)"""
    cursor = db.execute(query, (id, status, owner, user))
    assert cursor.lastrowid is not None
    return cursor.lastrowid


def add(db: sqlite3.Connection, number: int, first: int, pieces: Sequence[bytes], room: int) -> None:
    """The next pieces of an upload; `first`: the place of the first of them. Raises NoRoom where all files have more
    than `room` bytes then."""
    count = sum(map(len, pieces))
    if used(db) + count > room:
        raise NoRoom
    rows = [(number, place, body) for place, body in enumerate(pieces, first)]
    db.executemany("INSERT INTO pieces VALUES (?, ?, ?)", rows)
    db.execute("UPDATE files SET bytes = bytes + ? WHERE number = ?", (count, number))


def finish(
    db: sqlite3.Connection, number: int, created: int, expires: int | None, name: str, purpose: str
) -> File | None:
    """It is whole. None: it was removed meanwhile, as that of a server that has ended."""
    query = "UPDATE files SET created = ?, expires = ?, name = ?, purpose = ?, status = ?, owner = NULL"
    db.execute(f"{query} WHERE number = ?", (created, expires, name, purpose, PROCESSED, number))
    row = db.execute(f"SELECT {_COLUMNS} FROM files WHERE number = ?", (number,)).fetchone()
    return File(*row) if row else None


def show(db: sqlite3.Connection, number: int, created: int, expires: int, name: str) -> None:
    """What a batch has written is whole; where that is nothing, there is no such file."""
    if db.execute("SELECT 1 FROM pieces WHERE file = ? LIMIT 1", (number,)).fetchone():
        finish(db, number, created, expires, name, "batch_output")
    else:
        remove(db, number)


def get(db: sqlite3.Connection, id: str, now: int, user: str | None = None) -> File:
    """Raises NoFile, also where its time is over, or it is another user's. `user`: None: whosever it is."""
    query = f"""SELECT {_COLUMNS} FROM files WHERE id = ? AND status = ? AND (expires IS NULL OR expires > ?)
                AND user = coalesce(?, user)"""
    row = db.execute(query, (id, PROCESSED, now, user)).fetchone()
    if row is None:
        raise NoFile(id)
    return File(*row)


class Wanted(Struct, frozen=True):
    """Which files a list has. `user`: None: whosever they are."""

    user: str | None = None
    limit: int = 10_000
    newest_first: bool = True
    after: str | None = None
    purpose: str | None = None


def page(db: sqlite3.Connection, now: int, wanted: Wanted) -> tuple[list[File], bool]:
    """Some files, and whether there are others behind them. Raises NoFile for `after`."""
    limit, after = wanted.limit, wanted.after
    order, beyond = ("DESC", "<") if wanted.newest_first else ("ASC", ">")
    query = f"SELECT {_COLUMNS} FROM files WHERE status = '{PROCESSED}' AND (expires IS NULL OR expires > ?)"
    query += " AND user = coalesce(?, user) AND purpose = coalesce(?, purpose)"
    values: list[object] = [now, wanted.user, wanted.purpose]
    if after is not None:
        last = get(db, after, now, wanted.user)
        query += f" AND (created, number) {beyond} (?, ?)"
        values += (last.created, last.number)
    rows = db.execute(f"{query} ORDER BY created {order}, number {order} LIMIT ?", (*values, limit + 1)).fetchall()
    return [File(*row) for row in rows[:limit]], len(rows) > limit


def pieces(db: sqlite3.Connection, number: int, after: int, size: int) -> list[tuple[int, bytes]]:
    """The next pieces behind a place, with their places: so many that they have `size` bytes, or the last ones."""
    found: list[tuple[int, bytes]] = []
    query = "SELECT place, body FROM pieces WHERE file = ? AND place > ? ORDER BY place"
    cursor = db.execute(query, (number, after))
    while size > 0 and (row := cursor.fetchone()):
        found.append(row)
        size -= len(row[1])
    cursor.close()
    return found


def cut(db: sqlite3.Connection, number: int, begin: int, length: int) -> bytes:
    """Some bytes of an upload."""
    first, last = begin // PIECE, (begin + length - 1) // PIECE
    query = "SELECT body FROM pieces WHERE file = ? AND place BETWEEN ? AND ? ORDER BY place"
    data = b"".join(body for (body,) in db.execute(query, (number, first, last)))
    start = begin - first * PIECE
    return data[start : start + length]


def delete(db: sqlite3.Connection, id: str, now: int, user: str | None = None) -> None:
    """With its pieces. Raises NoFile, InUse."""
    file = get(db, id, now, user)
    row = db.execute("SELECT id FROM batches WHERE ended_at IS NULL AND input = ?", (file.number,)).fetchone()
    if row:
        raise InUse(row[0])
    remove(db, file.number)


def remove(db: sqlite3.Connection, number: int) -> None:
    """It and its pieces."""
    db.execute("DELETE FROM files WHERE number = ?", (number,))
    db.execute("DELETE FROM pieces WHERE file = ?", (number,))


def forget_expired(db: sqlite3.Connection, now: int) -> int:
    """Remove those whose time is over, but what a batch still reads. Returns how many there were."""
    query = """SELECT number FROM files WHERE expires <= ?
               AND number NOT IN (SELECT input FROM batches WHERE ended_at IS NULL)"""
    old = db.execute(query, (now,)).fetchall()
    for (number,) in old:
        remove(db, number)
    return len(old)


def forget_unfinished(db: sqlite3.Connection, dead: Sequence[str]) -> None:
    """Remove the uploads that these servers have received, who have ended."""
    for owner in dead:
        for (number,) in db.execute("SELECT number FROM files WHERE owner = ?", (owner,)).fetchall():
            remove(db, number)


def used(db: sqlite3.Connection) -> int:
    """Bytes of all files together."""
    (total,) = db.execute("SELECT coalesce(sum(bytes), 0) FROM files").fetchone()
    return int(total)
