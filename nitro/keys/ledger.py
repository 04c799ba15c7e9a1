"""What was used, by key, day and model: counted here, kept in the state database, the same for the servers of a folder.

What is counted is written within a second, as an addition, so that several servers count together. What cannot be
written waits here. A server that is killed loses that second. Belongs to the event loop.
"""

import asyncio
import contextlib
import logging
from collections import Counter
from collections.abc import Iterable

from nitro.errors import StateError
from nitro.keys.clock import Clock
from nitro.state import usage
from nitro.state.store import Store
from nitro.state.usage import Counts, Row

log = logging.getLogger("nitro.keys")

PAUSE = 1.0  # seconds between two writes
AGAIN = 10.0  # seconds, after a fault
KEPT_DAYS = 400


class Ledger:
    """See above. Without a `store` it is all in memory."""

    def __init__(self, store: Store | None = None, clock: Clock | None = None):
        self._store = store
        self._clock = clock or Clock()
        self._new: dict[tuple[str, int, str], Counts] = {}  # not handed to the database yet
        self._kept: Counter[tuple[str, int]] = Counter()  # tokens in the database, by key and day
        self._kept_requests: Counter[tuple[str, int]] = Counter()
        self._total: dict[tuple[str, str], Counts] = {}  # of this server, by key and model
        self._changed = asyncio.Event()
        self._writing: asyncio.Task[None] | None = None
        self._turn = asyncio.Lock()

    async def start(self) -> None:
        """Read what today's limits need; write from now on. A database that cannot be read is told, and waited for."""
        try:
            await self._look()
        except StateError as error:
            log.error("what keys have used today cannot be read: %s", error)
        if self._store:
            self._writing = asyncio.create_task(self._write_on(), name="usage")

    async def close(self) -> None:
        """Write what is left."""
        if self._writing:
            self._writing.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._writing
            with contextlib.suppress(StateError):
                await self.write()

    def add(self, key: str, model: str, counts: Counts) -> None:
        """A request, or the tokens of one."""
        place = (key, self._clock.day, model)
        self._new[place] = self._new.get(place, Counts()) + counts
        self._total[key, model] = self._total.get((key, model), Counts()) + counts
        self._changed.set()

    def today(self, key: str) -> tuple[int, int]:
        """Requests and tokens of the day, of all servers of the folder as far as is known."""
        day = self._clock.day
        new = [counts for (name, when, _), counts in self._new.items() if name == key and when == day]
        requests = self._kept_requests[key, day] + sum(counts.requests for counts in new)
        return requests, self._kept[key, day] + sum(counts.tokens for counts in new)

    def totals(self) -> Iterable[tuple[str, Counts]]:
        """What this server has counted since its start, by key."""
        found: dict[str, Counts] = {}
        for (key, _), counts in self._total.items():
            found[key] = found.get(key, Counts()) + counts
        return found.items()

    async def rows(self, days: int, key: str | None = None) -> list[Row]:
        """What was used on the last so many days, today with them, the newest first; of one key or of all. Raises
        StateError."""
        first = self._clock.day - days + 1
        if self._store:
            await self.write()
            kept = await self._store.read(lambda db: usage.since(db, first))
        else:
            kept = [Row(*place, counts) for place, counts in self._new.items() if place[1] >= first]
        kept.sort(key=lambda row: (-row.day, row.key, row.model))
        return [row for row in kept if key is None or row.key == key]

    async def write(self) -> None:
        """Hand over what is new. Raises StateError; then it waits on."""
        async with self._turn:
            if self._store and self._new:
                await self._write(self._store)
                await self._look()

    async def _write(self, store: Store) -> None:
        new, self._new = self._new, {}
        handed = [Row(*place, counts) for place, counts in new.items()]
        for row in handed:  # it counts as kept from now on, whatever else is added meanwhile
            self._kept[row.key, row.day] += row.counts.tokens
            self._kept_requests[row.key, row.day] += row.counts.requests
        oldest = self._clock.day - KEPT_DAYS
        try:
            await store.write(lambda db: usage.add(db, handed, oldest))
        except StateError:
            for place, counts in new.items():
                self._new[place] = counts + self._new.get(place, Counts())
                self._kept[place[:2]] -= counts.tokens
                self._kept_requests[place[:2]] -= counts.requests
            raise

    async def _look(self) -> None:
        """What all servers of the folder have written today."""
        if not self._store:
            return
        day = self._clock.day
        found = await self._store.read(lambda db: usage.since(db, day))
        self._kept.clear()
        self._kept_requests.clear()
        for row in found:
            self._kept[row.key, row.day] += row.counts.tokens
            self._kept_requests[row.key, row.day] += row.counts.requests

    async def _write_on(self) -> None:
        while True:
            await self._changed.wait()
            await asyncio.sleep(PAUSE)
            self._changed.clear()
            try:
                await self.write()
            except StateError as error:
                log.error("what keys use cannot be kept: %s", error)
                self._changed.set()
                await asyncio.sleep(AGAIN)
