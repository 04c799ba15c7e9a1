"""Items of responses and conversations. Of an item's JSON only its `id` is known here."""

import secrets
import sqlite3
from collections.abc import Iterable, Sequence

import msgspec
from msgspec import Raw, Struct

INPUT, OUTPUT = 0, 1  # sides

MAX_IDS = 500  # in one statement; SQLite takes at least 999 parameters


class _Named(Struct):
    id: str | None = None


_name = msgspec.json.Decoder(_Named).decode
read_items = msgspec.json.Decoder(list[Raw]).decode
write_items = msgspec.json.Encoder().encode


class Page(Struct, frozen=True):
    """Some items of a list. `more`: there are others behind them."""

    ids: list[str]
    items: list[Raw]
    more: bool


def named(items: Iterable[Raw]) -> list[tuple[str, bytes]]:
    """Each with its id; one that has none gets one for the database alone."""
    return [(_name(item).id or secrets.token_hex(12), bytes(item)) for item in items]


def add(db: sqlite3.Connection, owner: str, side: int, items: Sequence[tuple[str, bytes]]) -> None:
    """Put them behind those that are there."""
    (last,) = db.execute("SELECT max(place) FROM items WHERE owner = ? AND side = ?", (owner, side)).fetchone()
    first = 0 if last is None else last + 1
    rows = [(owner, side, place, id, body) for place, (id, body) in enumerate(items, first)]
    db.executemany("INSERT INTO items VALUES (?, ?, ?, ?, ?)", rows)


def of(db: sqlite3.Connection, owner: str, side: int | None = None) -> list[tuple[str, bytes]]:
    """Id and JSON of each, in order: the input's before the output's."""
    where = "owner = ?" if side is None else f"owner = ? AND side = {side:d}"
    return db.execute(f"SELECT id, body FROM items WHERE {where} ORDER BY side, place", (owner,)).fetchall()


def remove(db: sqlite3.Connection, owner: str) -> None:
    """All of a response or conversation."""
    db.execute("DELETE FROM items WHERE owner = ?", (owner,))


def by_ids(db: sqlite3.Connection, ids: Sequence[str], user: str | None = None) -> dict[str, Raw]:
    """Those that are there, of this user's responses and conversations; None: of everybody's."""
    found: dict[str, Raw] = {}
    for begin in range(0, len(ids), MAX_IDS):
        some = ids[begin : begin + MAX_IDS]
        marks = ",".join("?" * len(some))
        query = f"SELECT id, body FROM items WHERE id IN ({marks})"
        if user is not None:
            query += """ AND (EXISTS (SELECT 1 FROM responses r WHERE r.id = items.owner AND r.user = ?)
                         OR EXISTS (SELECT 1 FROM conversations c WHERE c.id = items.owner AND c.user = ?))"""
        for id, body in db.execute(query, (*some, *([] if user is None else [user, user]))):
            found[id] = Raw(body)
    return found


def page(
    items: Sequence[tuple[str, bytes]], limit: int, newest_first: bool, after: str | None, before: str | None
) -> Page | None:
    """A part of a list, as OpenAI's API pages. None: there is no item of the id `after` or `before`."""
    ordered = list(reversed(items)) if newest_first else list(items)
    ids = [id for id, _ in ordered]
    if (after is not None and after not in ids) or (before is not None and before not in ids):
        return None
    begin = ids.index(after) + 1 if after is not None else 0
    end = ids.index(before) if before is not None else len(ids)
    taken = ordered[begin:end][:limit]
    return Page([id for id, _ in taken], [Raw(body) for _, body in taken], begin + len(taken) < end)
