"""Responses in the database. Each function is a job: it belongs into `Database.read` or `Database.write`.

    queued → in_progress → completed | incomplete | failed | cancelled

A response has an owner while a server works on it. It ends once; what comes after that changes nothing.
"""

import sqlite3
from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import Raw, Struct

from nitro.state import conversations, items
from nitro.state.items import INPUT, OUTPUT, read_items

OPEN = "status IN ('queued', 'in_progress')"
MAX_RUNS = 3  # of a background response: one that ends the server whenever it runs would never end
BATCH = 500  # events read at a time
OLDEST = 20  # responses deleted at a time, where there are too many
_PAGES = ("page_count", "freelist_count", "page_size")


class NewResponse(Struct, frozen=True, kw_only=True):
    """One that begins, or is queued. `body`: the object; `input`: its items, a JSON array. `changes`: of the
    conversation, when its items were read. `request`, `history`: of one in the background, to compute it by.
    `user`: whose it is. `events`: those that say that it is queued, see `add_events`."""

    id: str
    created: int  # seconds since 1970
    status: str
    body: bytes
    model: str
    input: bytes
    previous: str | None = None
    conversation: str | None = None
    changes: int = 0
    background: bool = False
    streamed: bool = False
    owner: str | None = None
    request: bytes | None = None
    history: bytes = b""
    user: str = ""
    events: Sequence[tuple[int, bytes]] = ()


class StoredResponse(Struct, frozen=True):
    """One that is kept. `request`, `history`: of one in the background that has not ended."""

    id: str
    status: str
    body: bytes
    model: str
    background: bool
    streamed: bool
    owner: str | None

    @property
    def ended(self) -> bool:
        """Whether nothing more comes."""
        return self.status not in ("queued", "in_progress")


class Queued(Struct, frozen=True):
    """One in the background that may begin. `runs`: how often it has begun before. `number`: of its next event.
    `user`: for whom."""

    id: str
    created: int  # seconds since 1970
    body: bytes
    runs: int
    streamed: bool
    model: str
    request: bytes
    history: bytes
    number: int
    user: str


class NotThere(Exception):
    """There is no response, conversation or item of this id."""

    def __init__(self, id: str):
        super().__init__(id)
        self.id = id


class Unfinished(Exception):
    """Nothing can go on with a response of this status."""

    def __init__(self, id: str, status: str):
        super().__init__(id)
        self.id, self.status = id, status


class _Output(Struct):
    output: list[Raw] = []


_output = msgspec.json.Decoder(_Output).decode


def begin(db: sqlite3.Connection, new: NewResponse) -> None:
    """Keep it. Raises Gone, Busy for its conversation."""
    if new.conversation is not None:
        conversations.check_unchanged(db, new.conversation, new.changes)
    db.execute(
        "INSERT INTO responses VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, 0, ?, ?)",
        (
            new.id,
            new.created,
            new.status,
            new.body,
            new.model,
            new.previous,
            new.conversation,
            new.background,
            new.streamed,
            new.owner,
            new.user,
        ),
    )
    items.add(db, new.id, INPUT, items.named(read_items(new.input)))
    if new.request is not None:
        db.execute("INSERT INTO requests VALUES (?, ?, ?)", (new.id, new.request, new.history))
    _add_events(db, new.id, new.events)


def run(db: sqlite3.Connection, id: str, body: bytes) -> bool:
    """A queued one is computed now. Returns whether it was still to be."""
    query = f"UPDATE responses SET status = 'in_progress', body = ?, runs = runs + 1 WHERE id = ? AND {OPEN}"
    return db.execute(query, (body, id)).rowcount > 0


def end(db: sqlite3.Connection, id: str, status: str, body: bytes, frames: Sequence[tuple[int, bytes]] = ()) -> bool:
    """It has ended; its conversation gets its items. `frames`: its last events. Returns whether it had not before."""
    query = f"UPDATE responses SET status = ?, body = ?, owner = NULL WHERE id = ? AND {OPEN} RETURNING conversation"
    row = db.execute(query, (status, body, id)).fetchone()
    if row is None:
        return False
    db.execute("DELETE FROM requests WHERE response = ?", (id,))
    _add_events(db, id, frames)
    output = items.named(_output(body).output)
    items.add(db, id, OUTPUT, output)
    if row[0] is not None and status in ("completed", "incomplete"):
        conversations.append(db, row[0], [*items.of(db, id, INPUT), *output])
    return True


def get(db: sqlite3.Connection, id: str, user: str | None = None) -> StoredResponse:
    """Raises NotThere, also where it is another user's. `user`: None: whosever it is."""
    query = """SELECT id, status, body, model, background, streamed, owner FROM responses
               WHERE id = ? AND user = coalesce(?, user)"""
    row = db.execute(query, (id, user)).fetchone()
    if row is None:
        raise NotThere(id)
    id, status, body, model, background, streamed, owner = row
    return StoredResponse(id, status, body, model, bool(background), bool(streamed), owner)


def delete(db: sqlite3.Connection, id: str, user: str | None = None) -> None:
    """With all that belongs to it. `user`: see `get`. Raises NotThere."""
    if not db.execute("DELETE FROM responses WHERE id = ? AND user = coalesce(?, user)", (id, user)).rowcount:
        raise NotThere(id)
    db.execute("DELETE FROM requests WHERE response = ?", (id,))
    db.execute("DELETE FROM events WHERE response = ?", (id,))
    items.remove(db, id)


def chain(db: sqlite3.Connection, id: str, user: str | None = None) -> list[tuple[str, bytes]]:
    """The items of a response and of those that it goes on with, oldest first. `user`: see `get`. Raises NotThere where
    one of them is gone, and Unfinished."""
    get(db, id, user)
    links: list[str] = []
    following: str | None = id
    while following is not None:
        row = db.execute("SELECT previous, status FROM responses WHERE id = ?", (following,)).fetchone()
        if row is None:
            raise NotThere(following)
        if row[1] not in ("completed", "incomplete"):
            raise Unfinished(following, row[1])
        links.append(following)
        following = row[0]
    return [item for link in reversed(links) for item in items.of(db, link)]


def input_items(db: sqlite3.Connection, id: str, user: str | None = None) -> list[tuple[str, bytes]]:
    """What a response was made of: the chain before it, and its own input. `user`: see `get`. Raises NotThere."""
    get(db, id, user)
    (previous,) = db.execute("SELECT previous FROM responses WHERE id = ?", (id,)).fetchone()
    before = chain(db, previous) if previous is not None else []
    return [*before, *items.of(db, id, INPUT)]


def add_events(db: sqlite3.Connection, id: str, frames: Sequence[tuple[int, bytes]]) -> bool:
    """Frames with their sequence numbers. Returns whether the response still runs; else nothing happens."""
    if db.execute(f"SELECT 1 FROM responses WHERE id = ? AND {OPEN}", (id,)).fetchone() is None:
        return False
    _add_events(db, id, frames)
    return True


def _add_events(db: sqlite3.Connection, id: str, frames: Sequence[tuple[int, bytes]]) -> None:
    db.executemany("INSERT OR REPLACE INTO events VALUES (?, ?, ?)", [(id, *frame) for frame in frames])


def events_after(db: sqlite3.Connection, id: str, number: int) -> tuple[list[tuple[int, bytes]], bool]:
    """The next events behind this number, and whether the response has ended and they are its last. Raises NotThere."""
    ended = get(db, id).ended
    query = "SELECT number, frame FROM events WHERE response = ? AND number > ? ORDER BY number LIMIT ?"
    rows = db.execute(query, (id, number, BATCH)).fetchall()
    return rows, ended and len(rows) < BATCH


def last_number(db: sqlite3.Connection, id: str) -> int:
    """The sequence number of its last event that is kept; -1: there is none."""
    (last,) = db.execute("SELECT max(number) FROM events WHERE response = ?", (id,)).fetchone()
    return -1 if last is None else int(last)


def claim(db: sqlite3.Connection, id: str, owner: str) -> bool:
    """Take a queued response that nobody has. Returns whether nobody was faster."""
    query = "UPDATE responses SET owner = ? WHERE id = ? AND status = 'queued' AND owner IS NULL"
    return db.execute(query, (owner, id)).rowcount > 0


def queued(db: sqlite3.Connection, id: str) -> Queued | None:
    """What to compute it by. None: it is not queued any more."""
    query = """SELECT r.id, r.created, r.body, r.runs, r.streamed, r.model, q.body, q.history,
                      (SELECT coalesce(max(number), -1) + 1 FROM events WHERE response = r.id), r.user
               FROM responses r JOIN requests q ON q.response = r.id WHERE r.id = ? AND r.status = 'queued'"""
    row = db.execute(query, (id,)).fetchone()
    return Queued(*row) if row else None


def unclaimed(db: sqlite3.Connection) -> list[tuple[str, str]]:
    """Id and model of those in the queue that no server has, oldest first."""
    query = "SELECT id, model FROM responses WHERE status = 'queued' AND owner IS NULL ORDER BY created, rowid"
    return db.execute(query).fetchall()


def forget_before(db: sqlite3.Connection, time: int) -> int:
    """Delete what was made before, in seconds since 1970, unless something younger goes on with it. Returns how many
    there were."""
    query = f"""
        WITH RECURSIVE needed (id) AS (
            SELECT previous FROM responses WHERE created >= :time AND previous IS NOT NULL
            UNION
            SELECT previous FROM responses JOIN needed USING (id) WHERE previous IS NOT NULL
        )
        SELECT id FROM responses WHERE created < :time AND NOT {OPEN} AND id NOT IN needed"""
    old = [id for (id,) in db.execute(query, {"time": time})]
    for id in old:
        delete(db, id)
    return len(old)


def forget_beyond(db: sqlite3.Connection, size: int) -> int:
    """Delete the oldest that have ended, whatever goes on with them, until all that is kept takes no more bytes of the
    file than `size`. Their room in the file is free for others. Returns how many there were."""
    count = 0
    query = f"SELECT id FROM responses WHERE NOT {OPEN} ORDER BY created, rowid LIMIT {OLDEST}"
    while _used(db) > size and (old := db.execute(query).fetchall()):
        for (id,) in old:
            delete(db, id)
        count += len(old)
    return count


def _used(db: sqlite3.Connection) -> int:
    """Bytes of the file's pages that are not free."""
    pages, free, size = (db.execute(f"PRAGMA {name}").fetchone()[0] for name in _PAGES)
    return int((pages - free) * size)


def changed(body: bytes, **fields: Any) -> bytes:
    """The object with other values."""
    return msgspec.json.encode({**msgspec.json.decode(body), **fields})
