"""The lines of batches that have not ended, and what becomes of them. Each function is a job, see responses.py.

add → take → record        every line is recorded once, whatever happens between the last two
"""

import sqlite3
from collections.abc import Iterable, Sequence

from msgspec import Struct

from nitro.state import batches, files
from nitro.state.batches import IN_PROGRESS, Work

TAKEN = 2**23  # bytes of lines that are taken together, if there are several


class Place(Struct, frozen=True, order=True):
    """Where a line stands among those to do: next to those of the same model whose prompts begin alike."""

    model: str = ""
    prefix: bytes = b""
    number: int = 0


class Line(Struct, frozen=True):
    """One that is to be answered. `data`: all of it, as JSON. `runs`: how often it was begun before."""

    place: Place
    custom_id: str
    data: bytes
    runs: int

    @property
    def number(self) -> int:
        """In its file, from 1."""
        return self.place.number


class Result(Struct, frozen=True, kw_only=True):
    """What became of a line. `text`: the line of the output, or of the errors where it has `failed`. Tokens are those
    of its answer."""

    number: int
    failed: bool
    text: bytes
    model: str | None = None
    input_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0


def clear(db: sqlite3.Connection, batch: int) -> None:
    """Forget what was read of it."""
    db.execute("DELETE FROM lines WHERE batch = ?", (batch,))
    db.execute("UPDATE batches SET total = 0 WHERE number = ?", (batch,))


def add(db: sqlite3.Connection, batch: int, place: Place, custom_id: str, begin: int, length: int) -> bool:
    """A line of the file. Returns whether no other one has its id."""
    row = (batch, place.number, custom_id, begin, length, place.model, place.prefix)
    query = """INSERT INTO lines (batch, number, custom_id, begin, length, model, prefix) VALUES (?, ?, ?, ?, ?, ?, ?)
               ON CONFLICT DO NOTHING"""
    return db.execute(query, row).rowcount > 0


def count(db: sqlite3.Connection, batch: int, more: int) -> None:
    """So many more were added."""
    db.execute("UPDATE batches SET total = total + ? WHERE number = ?", (more, batch))


def take(db: sqlite3.Connection, work: Work, after: Place, limit: int) -> list[Line] | None:
    """The next lines that are to be answered, behind a place, which count as begun. None: the batch does not run."""
    if batches.status(db, work.number) != IN_PROGRESS:
        return None
    query = """SELECT number, custom_id, begin, length, model, prefix, runs FROM lines
               WHERE batch = ? AND done = 0 AND (model, prefix, number) > (?, ?, ?)
               ORDER BY model, prefix, number LIMIT ?"""
    rows = db.execute(query, (work.number, after.model, after.prefix, after.number, limit)).fetchall()
    lines: list[Line] = []
    room = TAKEN
    for number, custom_id, begin, length, model, prefix, runs in rows:
        if lines and length > room:
            break
        room -= length
        data = files.cut(db, work.input, begin, length)
        lines.append(Line(Place(model, prefix, number), custom_id, data, runs))
    begun = [(work.number, line.number) for line in lines]
    db.executemany("UPDATE lines SET runs = runs + 1 WHERE batch = ? AND number = ?", begun)
    return lines


def record(db: sqlite3.Connection, work: Work, results: Sequence[Result]) -> str:
    """What became of some lines. One that is done, or whose batch has ended, stays as it was. Returns the batch's
    status."""
    query = "UPDATE lines SET done = 1 WHERE batch = ? AND number = ? AND done = 0"
    new = [result for result in results if db.execute(query, (work.number, result.number)).rowcount]
    for file, failed in ((work.output, False), (work.failures, True)):
        rows = [(file, result.number, result.text) for result in new if result.failed == failed]
        if rows:
            size = sum(len(text) for _, _, text in rows)
            db.executemany("INSERT INTO pieces VALUES (?, ?, ?)", rows)
            db.execute("UPDATE files SET bytes = bytes + ? WHERE number = ?", (size, file))
    if new:
        _count(db, work.number, new)
    return batches.status(db, work.number)


def _count(db: sqlite3.Connection, batch: int, results: Sequence[Result]) -> None:
    query = """UPDATE batches SET completed = completed + ?, failed = failed + ?, input_tokens = input_tokens + ?,
        cached_tokens = cached_tokens + ?, output_tokens = output_tokens + ?, reasoning_tokens = reasoning_tokens + ?
        WHERE number = ?"""
    failed = sum(result.failed for result in results)
    tokens = [sum(of) for of in zip(*map(_tokens, results), strict=True)]
    db.execute(query, (len(results) - failed, failed, *tokens, batch))
    for model in {result.model for result in results if result.model is not None}:
        query = "UPDATE batches SET model = CASE WHEN coalesce(model, ?) = ? THEN ? ELSE '' END WHERE number = ?"
        db.execute(query, (model, model, model, batch))


def _tokens(result: Result) -> tuple[int, int, int, int]:
    return result.input_tokens, result.cached_tokens, result.output_tokens, result.reasoning_tokens


def left(db: sqlite3.Connection, batch: int, limit: int) -> Iterable[tuple[int, str]]:
    """Number and id of some lines that are not done."""
    query = "SELECT number, custom_id FROM lines WHERE batch = ? AND done = 0 ORDER BY number LIMIT ?"
    return db.execute(query, (batch, limit)).fetchall()
