"""What keys have used, in the database. Each function is a job: it belongs into `Database.read` or `Database.write`."""

import sqlite3
from collections.abc import Sequence

from msgspec import Struct


class Counts(Struct, frozen=True):
    """`prompt`, `cached`, `completion`: tokens; the second are those of the first that were found in the cache."""

    requests: int = 0
    prompt: int = 0
    cached: int = 0
    completion: int = 0

    def __add__(self, other: "Counts") -> "Counts":
        return Counts(
            self.requests + other.requests,
            self.prompt + other.prompt,
            self.cached + other.cached,
            self.completion + other.completion,
        )

    @property
    def tokens(self) -> int:
        """Those that limits count."""
        return self.prompt + self.completion


class Row(Struct, frozen=True):
    """What a key has used of a model on a day. `day`: days since 1970, in UTC. `model`: "" where a request reached
    none."""

    key: str
    day: int
    model: str
    counts: Counts


def add(db: sqlite3.Connection, rows: Sequence[Row], oldest: int) -> None:
    """Count these, too, and forget what is of days before `oldest`."""
    db.executemany(
        """INSERT INTO usage VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (day, key, model) DO UPDATE SET
           requests = requests + excluded.requests, prompt = prompt + excluded.prompt,
           cached = cached + excluded.cached, completion = completion + excluded.completion""",
        [(row.key, row.day, row.model, *_numbers(row.counts)) for row in rows],
    )
    db.execute("DELETE FROM usage WHERE day < ?", (oldest,))


def _numbers(counts: Counts) -> tuple[int, int, int, int]:
    return counts.requests, counts.prompt, counts.cached, counts.completion


def since(db: sqlite3.Connection, day: int) -> list[Row]:
    """What was used from this day on."""
    query = "SELECT key, day, model, requests, prompt, cached, completion FROM usage WHERE day >= ?"
    return [Row(key, when, model, Counts(*numbers)) for key, when, model, *numbers in db.execute(query, (day,))]
