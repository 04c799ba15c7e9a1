"""A few requests begin in one turn of the event loop: when a thousand come at once, what else there is goes on between.

To begin one takes most of a millisecond. Without turns all that have come begin one after
another, before any stream gets its tokens or /health is answered.
"""

import asyncio
from collections import deque

BEGIN = 4  # requests in one turn of the loop


class Turns:
    """First come, first served. Belongs to one event loop."""

    def __init__(self) -> None:
        self._left = BEGIN
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._next_planned = False

    async def wait(self) -> None:
        """Until it is the caller's turn, which is now where few have come."""
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
        self._left = BEGIN
        while self._left and self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():  # its request has been cancelled
                turn.set_result(None)
                self._left -= 1
        if self._left < BEGIN:
            self._plan()
