"""Batches in the database. Each function is a job, see responses.py.

    validating → in_progress → completed | expired
             └→ failed     └→ cancelling → cancelled

A batch has an owner while a server works on it. Its lines are in `batch_lines.py`.
"""

import sqlite3
from collections.abc import Callable, Sequence

import msgspec
from msgspec import Raw, Struct

from nitro.state import bounds, files

VALIDATING, IN_PROGRESS, CANCELLING = "validating", "in_progress", "cancelling"

_FIELDS = """b.number, b.id, b.created, b.expires, b.window, b.endpoint, b.metadata, b.input_id, b.status, b.errors,
    b.model, b.total, b.completed, b.failed, b.input_tokens, b.cached_tokens, b.output_tokens, b.reasoning_tokens,
    b.in_progress_at, b.cancelling_at, b.ended_at, o.id, f.id"""
_FROM = f"""FROM batches b
    LEFT JOIN files o ON o.number = b.output AND o.status = '{files.PROCESSED}'
    LEFT JOIN files f ON f.number = b.failures AND f.status = '{files.PROCESSED}'"""


class NewBatch(Struct, frozen=True, kw_only=True):
    """One that is asked for. `ids`: of the files that it will write: of answers, and of lines without one.
    `served`: the server's default model. `user`: whose it is."""

    id: str
    created: int  # seconds since 1970
    expires: int
    window: str
    endpoint: str
    metadata: bytes
    input: str
    ids: tuple[str, str]
    output_seconds: int
    served: str
    owner: str
    user: str = ""


class Batch(Struct, frozen=True):
    """One that is kept. Times are seconds since 1970. `output`, `failures`: ids of files, where there are any."""

    number: int
    id: str
    created: int
    expires: int
    window: str
    endpoint: str
    metadata: bytes
    input: str
    status: str
    errors: bytes | None
    model: str | None
    total: int
    completed: int
    failed: int
    input_tokens: int
    cached_tokens: int
    output_tokens: int
    reasoning_tokens: int
    in_progress_at: int | None
    cancelling_at: int | None
    ended_at: int | None
    output: str | None
    failures: str | None


class Work(Struct, frozen=True):
    """What a server needs to know of a batch to work on it. `input`, `output`, `failures`: numbers of files."""

    number: int
    id: str
    status: str
    expires: int
    endpoint: str
    input: int
    output: int
    failures: int
    user: str


class Figures(Struct, frozen=True):
    """Of all batches and files. `lines`: of batches that have not ended; `done`: those of them that are recorded."""

    open: int = 0
    lines: int = 0
    done: int = 0
    files: int = 0
    bytes: int = 0


class NoBatch(Exception):
    """There is no batch of this id."""

    def __init__(self, id: str):
        super().__init__(id)
        self.id = id


class WrongPurpose(Exception):
    """Its file was not uploaded for batches."""

    def __init__(self, purpose: str):
        super().__init__(purpose)
        self.purpose = purpose


def create(db: sqlite3.Connection, new: NewBatch, user: str | None = None) -> Batch:
    """`user`: whose files it may read; None: all. Raises NoFile, WrongPurpose, TooMany."""
    file = files.get(db, new.input, new.created, user)
    if file.purpose != "batch":
        raise WrongPurpose(file.purpose)
    bounds.check(db, "batches", "ended_at IS NULL", new.user)
    output, failures = (files.grow(db, id, new.user) for id in new.ids)
    row = {
        "id": new.id,
        "created": new.created,
        "expires": new.expires,
        "window": new.window,
        "endpoint": new.endpoint,
        "metadata": new.metadata,
        "input": file.number,
        "output": output,
        "failures": failures,
        "input_id": file.id,
        "output_seconds": new.output_seconds,
        "status": VALIDATING,
        "user": new.user,
        "served": new.served,
        "owner": new.owner,
    }
    marks = ", ".join(f":{name}" for name in row)
    db.execute(f"INSERT INTO batches ({', '.join(row)}) VALUES ({marks})", row)
    return get(db, new.id)


def get(db: sqlite3.Connection, id: str, user: str | None = None) -> Batch:
    """Raises NoBatch, also where it is another user's. `user`: None: whosever it is."""
    query = f"SELECT {_FIELDS} {_FROM} WHERE b.id = ? AND b.user = coalesce(?, b.user)"
    row = db.execute(query, (id, user)).fetchone()
    if row is None:
        raise NoBatch(id)
    return Batch(*row)


def page(db: sqlite3.Connection, limit: int, after: str | None, user: str | None) -> tuple[list[Batch], bool]:
    """Some batches, the newest first, and whether there are others behind them. Raises NoBatch for `after`."""
    before = get(db, after, user).number if after is not None else 2**62
    query = f"""SELECT {_FIELDS} {_FROM} WHERE b.number < ? AND b.user = coalesce(?, b.user)
                ORDER BY b.number DESC LIMIT ?"""
    rows = db.execute(query, (before, user, limit + 1)).fetchall()
    return [Batch(*row) for row in rows[:limit]], len(rows) > limit


def work(db: sqlite3.Connection, id: str) -> Work:
    """What is to be done. Raises NoBatch."""
    query = "SELECT number, id, status, expires, endpoint, input, output, failures, user FROM batches WHERE id = ?"
    row = db.execute(query, (id,)).fetchone()
    if row is None:
        raise NoBatch(id)
    return Work(*row)


def start(db: sqlite3.Connection, number: int, now: int) -> str:
    """Its lines are all right. Returns its status: it may have been cancelled."""
    query = "UPDATE batches SET status = ?, in_progress_at = ? WHERE number = ? AND status = ?"
    db.execute(query, (IN_PROGRESS, now, number, VALIDATING))
    return status(db, number)


def status(db: sqlite3.Connection, number: int) -> str:
    """As it is now."""
    (found,) = db.execute("SELECT status FROM batches WHERE number = ?", (number,)).fetchone()
    return str(found)


def cancel(db: sqlite3.Connection, id: str, now: int, user: str | None = None) -> Batch:
    """Nothing of it is begun any more; where no server works on it, it has ended. Raises NoBatch."""
    get(db, id, user)
    query = f"""UPDATE batches SET status = '{CANCELLING}', cancelling_at = ?
                WHERE id = ? AND status IN ('{VALIDATING}', '{IN_PROGRESS}') RETURNING number, owner"""
    row = db.execute(query, (now, id)).fetchone()
    if row and row[1] is None:
        end(db, row[0], "cancelled", now)
    return get(db, id)


def end(db: sqlite3.Connection, number: int, status: str, now: int, errors: Sequence[Raw] = ()) -> None:
    """It has ended, once: what it has written is shown. `errors`: of one that failed."""
    query = "SELECT id, output, failures, output_seconds FROM batches WHERE number = ? AND ended_at IS NULL"
    row = db.execute(query, (number,)).fetchone()
    if row is None:
        return
    id, output, failures, seconds = row
    encoded = msgspec.json.encode(errors) if errors else None
    db.execute(
        "UPDATE batches SET status = ?, ended_at = ?, errors = ?, owner = NULL WHERE number = ?",
        (status, now, encoded, number),
    )
    files.show(db, output, now, now + seconds, f"{id}_output.jsonl")
    files.show(db, failures, now, now + seconds, f"{id}_error.jsonl")
    db.execute("DELETE FROM lines WHERE batch = ?", (number,))


def figures(db: sqlite3.Connection) -> Figures:
    """As they are now."""
    open = db.execute("""SELECT count(*), coalesce(sum(total), 0), coalesce(sum(completed + failed), 0)
                         FROM batches WHERE ended_at IS NULL""").fetchone()
    (whole,) = db.execute("SELECT count(*) FROM files WHERE status = ?", (files.PROCESSED,)).fetchone()
    return Figures(*(*open, whole, files.used(db)))


def owners(db: sqlite3.Connection) -> set[str]:
    """Of batches and of uploads."""
    query = """SELECT owner FROM batches WHERE owner IS NOT NULL
               UNION SELECT owner FROM files WHERE owner IS NOT NULL"""
    return {owner for (owner,) in db.execute(query)}


def recover(db: sqlite3.Connection, lives: Callable[[str], bool]) -> int:
    """Take from servers that do not live what they had. Returns how many batches that are."""
    dead = [owner for owner in owners(db) if not lives(owner)]
    files.forget_unfinished(db, dead)
    return sum(db.execute("UPDATE batches SET owner = NULL WHERE owner = ?", (owner,)).rowcount for owner in dead)


def unclaimed(db: sqlite3.Connection) -> list[tuple[str, str, str]]:
    """Ids of those that no server has, oldest first, each with the default model of the one that took it, and a model
    that its lines ask for, if that is known."""
    query = """SELECT id, served, coalesce((SELECT min(model) FROM lines WHERE batch = b.number AND done = 0), '')
               FROM batches b WHERE ended_at IS NULL AND owner IS NULL ORDER BY number"""
    return db.execute(query).fetchall()


def claim(db: sqlite3.Connection, id: str, owner: str) -> bool:
    """Take one of them. Returns whether nobody was faster."""
    query = "UPDATE batches SET owner = ? WHERE id = ? AND owner IS NULL AND ended_at IS NULL"
    return db.execute(query, (owner, id)).rowcount > 0


def forget_before(db: sqlite3.Connection, time: int) -> int:
    """Forget batches that ended before; their files have times of their own. Returns how many there were."""
    return db.execute("DELETE FROM batches WHERE ended_at < ?", (time,)).rowcount
