"""Only a few requests begin in one turn of the event loop, so that other work continues between them.

To begin a request takes most of a millisecond. Without turns, a thousand requests that arrive together would all begin
before any stream gets its tokens or /health is answered.
"""

import asyncio
from collections import deque

REQUESTS_PER_TURN = 4


class Turns:
    """First come, first served. Belongs to one event loop."""

    def __init__(self) -> None:
        self._left = REQUESTS_PER_TURN
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._next_planned = False

    async def wait(self) -> None:
        """Wait for the caller's turn. Returns at once unless more than REQUESTS_PER_TURN arrive together."""
        if self._left and not self._waiting:
            self._left -= 1
            return self._plan()
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        self._plan()
        await turn

    def _plan(self) -> None:
        if not self._next_planned:
            self._next_planned = True
            asyncio.get_running_loop().call_soon(self._next)

    def _next(self) -> None:
        self._next_planned = False
        self._left = REQUESTS_PER_TURN
        while self._left and self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():  # its request has been cancelled
                turn.set_result(None)
                self._left -= 1
        if self._left < REQUESTS_PER_TURN:
            self._plan()
