"""Files and batches for the event loop."""

import logging
import time
from collections.abc import Callable
from pathlib import Path

from nitro.state import batches, files, uploads
from nitro.state.database_thread import DatabaseThread
from nitro.state.file_schema import FILES

log = logging.getLogger("nitro.state")

DAY = 86400  # seconds


class FileStore(DatabaseThread):
    """What one server keeps in a folder of files and batches. `size`: bytes that all files may have together."""

    def __init__(self, folder: Path, days: int, size: int, clock: Callable[[], float] = time.time):
        """`days`: batches that ended earlier are forgotten. `clock`: seconds since 1970."""
        super().__init__(folder, FILES)
        self.size = size
        self._days = days
        self._clock = clock

    @property
    def now(self) -> int:
        """Seconds since 1970."""
        return int(self._clock())

    async def recover(self) -> None:
        """Look after what servers that have ended left, and what is too old. Raises StateError."""

        def work() -> None:
            if not self._database.exists:
                return
            self._owners.remove_dead()
            found = self._write(lambda db: batches.recover(db, self._owners.lives))
            forgotten = self._write(lambda db: files.forget_expired(db, self.now))
            forgotten += self._write(lambda db: uploads.forget_expired(db, self.now))
            forgotten += self._write(lambda db: batches.forget_before(db, self.now - self._days * DAY))
            if found or forgotten:
                log.info("%d batches of servers that ended; %d old files and batches deleted", found, forgotten)

        await self._ask(work)

    async def unclaimed(self) -> list[tuple[str, str, str]]:
        """See batches.unclaimed."""
        return await self._ask(lambda: self._database.read(batches.unclaimed) if self._database.exists else [])

    async def claim(self, id: str) -> bool:
        """Make one of them this server's. Returns whether no other one has it."""
        owner = await self.owner()
        return await self.write(lambda db: batches.claim(db, id, owner))
