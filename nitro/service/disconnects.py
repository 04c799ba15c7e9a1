"""What ends a generation when its client leaves.

`unless_disconnected` runs the work beside the wait for the disconnect, and cancels the work: of a whole reply its
computation, of a stream its delivery (`delivery.py`). Whoever began it then calls `release`.
So the generation is aborted in the engine (engines/client/generation.py), and its slot is idle from the next
step on.
"""

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

from nitro.service.requests import Principal

T = TypeVar("T")


class ClientDisconnected(Exception):
    """Nobody waits for the reply any more."""


async def unless_disconnected(principal: Principal, work: Awaitable[T]) -> T:
    """The result of `work`, which is cancelled when the client disconnects. Raises ClientDisconnected."""
    working = asyncio.ensure_future(work)
    leaving = asyncio.ensure_future(principal.disconnected())
    try:
        await asyncio.wait((working, leaving), return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        raise ClientDisconnected
    finally:
        leaving.cancel()
        if working.cancel():
            await asyncio.wait([working])
