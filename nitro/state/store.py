"""Responses and conversations for the event loop."""

import logging
import time
from pathlib import Path

from nitro.state import recovery, responses
from nitro.state.database_thread import DatabaseThread
from nitro.state.schema import RESPONSES

log = logging.getLogger("nitro.state")

DAY = 86400  # seconds


class Store(DatabaseThread):
    """What one server keeps in a folder of responses and conversations."""

    def __init__(self, folder: Path, days: int, size: int):
        """`days`: what is older is deleted. `size`: in bytes; where there is more, the oldest responses are."""
        super().__init__(folder, RESPONSES)
        self._days = days
        self._size = size

    async def recover(self) -> None:
        """Look after what servers that have ended left, and what is too old. Raises StateError."""

        def work() -> None:
            if not self._database.exists:
                return
            self._owners.remove_dead()
            found = self._write(lambda db: recovery.recover(db, self._owners.lives))
            before = int(time.time()) - self._days * DAY
            forgotten = self._write(lambda db: responses.forget_before(db, before))
            forgotten += self._write(lambda db: responses.forget_beyond(db, self._size))
            if found or forgotten:
                log.info("%d responses of servers that ended; %d old ones deleted", found, forgotten)

        await self._ask(work)

    async def unclaimed(self) -> list[tuple[str, str]]:
        """Id and model of the responses that are queued and nobody's, oldest first."""
        return await self._ask(lambda: self._database.read(responses.unclaimed) if self._database.exists else [])

    async def claim(self, id: str) -> bool:
        """Make one of them this server's. Returns whether no other one has it."""
        owner = await self.owner()
        return await self.write(lambda db: responses.claim(db, id, owner))
