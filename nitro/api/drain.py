"""A server that is about to end: it finishes what is under way and begins nothing new. Knows no sockets and no signals.

What listens stays open meanwhile, so that a balancer that asks for `/health` is told, and one that does not ask gets a
503 that says so. Both send the request to another server.
"""

import asyncio
import re
from collections.abc import Iterator
from contextlib import contextmanager

from nitro.errors import ApiError

RETRY_AFTER = 1  # seconds: another server may answer at once
_BEGINS = ("POST", "PUT", "PATCH")
_ENDS = re.compile("/.*/(cancel|abort)")  # routes that end work


class Drain:
    """Of one server. Belongs to the event loop."""

    def __init__(self) -> None:
        self.active = False
        self.underway = 0  # requests that have begun and not ended
        self._none = asyncio.Event()
        self._none.set()

    def begin(self) -> None:
        """From now on nothing new begins."""
        self.active = True

    def check(self, method: str, path: str) -> None:
        """Raises ApiError 503 for a request that would begin something."""
        if self.active and method in _BEGINS and not _ENDS.fullmatch(path):
            raise ApiError(
                503,
                "The server is about to end, and takes no new requests.",
                type="server_error",
                code="server_draining",
                retry_after=RETRY_AFTER,
            )

    @contextmanager
    def request(self) -> Iterator[None]:
        """One that is to be finished."""
        self.underway += 1
        self._none.clear()
        try:
            yield
        finally:
            self.underway -= 1
            if not self.underway:
                self._none.set()

    async def finished(self) -> None:
        """Wait until no request is under way."""
        await self._none.wait()
