"""Conversations in the database, as jobs. One response at a time may work on a conversation."""

import sqlite3
from collections.abc import Sequence

from msgspec import Raw, Struct

from nitro.state import items
from nitro.state.items import INPUT


class Conversation(Struct, frozen=True):
    """`metadata`: a JSON object. `changes`: of its items so far."""

    id: str
    created: int  # seconds since 1970
    metadata: Raw
    changes: int


class Gone(Exception):
    """There is no conversation of this id."""

    def __init__(self, id: str):
        super().__init__(id)
        self.id = id


class NoItem(Gone):
    """There is no item of this id in the conversation."""


class Busy(Exception):
    """A response works on the conversation, or has just changed it."""

    def __init__(self, id: str):
        super().__init__(id)
        self.id = id


class NewConversation(Struct, frozen=True):
    """One that is asked for. `metadata`: a JSON object. `user`: whose it is."""

    id: str
    created: int  # seconds since 1970
    metadata: bytes
    user: str = ""


def create(db: sqlite3.Connection, new: NewConversation, first: Sequence[Raw] = ()) -> None:
    """With its first items."""
    db.execute("INSERT INTO conversations VALUES (?, ?, ?, 0, ?)", (new.id, new.created, new.metadata, new.user))
    items.add(db, new.id, INPUT, items.named(first))


def get(db: sqlite3.Connection, id: str, user: str | None = None) -> Conversation:
    """Raises Gone, also where it is another user's. `user`: None: whosever it is."""
    query = "SELECT id, created, metadata, changes FROM conversations WHERE id = ? AND user = coalesce(?, user)"
    row = db.execute(query, (id, user)).fetchone()
    if row is None:
        raise Gone(id)
    id, created, metadata, changes = row
    return Conversation(id, created, Raw(metadata), changes)


def update(db: sqlite3.Connection, id: str, metadata: bytes, user: str | None = None) -> Conversation:
    """`user`: see `get`. Raises Gone."""
    get(db, id, user)
    db.execute("UPDATE conversations SET metadata = ? WHERE id = ?", (metadata, id))
    return get(db, id)


def delete(db: sqlite3.Connection, id: str, user: str | None = None) -> None:
    """With its items. `user`: see `get`. Raises Gone."""
    get(db, id, user)
    db.execute("DELETE FROM conversations WHERE id = ?", (id,))
    items.remove(db, id)


def of(db: sqlite3.Connection, id: str, user: str | None = None) -> tuple[int, list[tuple[str, bytes]]]:
    """How often its items have changed, and each item's id and JSON. `user`: see `get`. Raises Gone."""
    return get(db, id, user).changes, items.of(db, id)


def append(db: sqlite3.Connection, id: str, more: Sequence[tuple[str, bytes]]) -> None:
    """Items that a response has added. Where the conversation was deleted meanwhile, nothing happens."""
    if db.execute("UPDATE conversations SET changes = changes + 1 WHERE id = ?", (id,)).rowcount:
        items.add(db, id, INPUT, more)


def add(db: sqlite3.Connection, id: str, more: Sequence[Raw], user: str | None = None) -> list[tuple[str, bytes]]:
    """Items that a client adds: they, with their ids. `user`: see `get`. Raises Gone, Busy."""
    get(db, id, user)
    check_unchanged(db, id, None)
    added = items.named(more)
    append(db, id, added)
    return added


def remove(db: sqlite3.Connection, id: str, item: str, user: str | None = None) -> Conversation:
    """One item. `user`: see `get`. Raises Gone, NoItem, Busy."""
    get(db, id, user)
    check_unchanged(db, id, None)
    if not db.execute("DELETE FROM items WHERE owner = ? AND id = ?", (id, item)).rowcount:
        raise NoItem(item)
    db.execute("UPDATE conversations SET changes = changes + 1 WHERE id = ?", (id,))
    return get(db, id)


def check_unchanged(db: sqlite3.Connection, id: str, changes: int | None) -> None:
    """Raises Gone, or Busy where a response works on it, or its items have changed since there were `changes`."""
    found = get(db, id)
    query = "SELECT 1 FROM responses WHERE conversation = ? AND status IN ('queued', 'in_progress')"
    if db.execute(query, (id,)).fetchone() or changes not in (None, found.changes):
        raise Busy(id)
