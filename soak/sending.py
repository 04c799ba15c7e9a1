"""Four ways to send a body: at once, slowly, in chunks, and eight times at the same time. Each returns outcomes: a
status, or a fault in words."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from soak import replies
from soak.connection import Unanswered, connected, head, post

SLOW_SECONDS = 1.5  # for a slow body
SLOW_PARTS = 150
CHUNK = 8192  # bytes
EIGHT = 8

Way = Callable[[int, str, bytes, float], Coroutine[Any, Any, list[str]]]


async def at_once(port: int, path: str, body: bytes, timeout: float) -> list[str]:
    """Send the body in one go."""
    return [await _sent(port, post(path, body, port=port), timeout)]


async def slowly(port: int, path: str, body: bytes, timeout: float) -> list[str]:
    """Send it in small parts with pauses."""
    piece = max(len(body) // SLOW_PARTS, 1)
    return [await _sent(port, post(path, body, port=port), timeout, SLOW_SECONDS * piece / len(body), piece)]


async def chunked(port: int, path: str, body: bytes, timeout: float) -> list[str]:
    """Send it in chunked encoding."""
    return [await _sent(port, head(path, "Transfer-Encoding: chunked", port=port) + in_chunks(body), timeout)]


async def eight_at_once(port: int, path: str, body: bytes, timeout: float) -> list[str]:
    """Send it on eight connections at the same time."""
    request = post(path, body, port=port)
    return list(await asyncio.gather(*(_sent(port, request, timeout) for _ in range(EIGHT))))


WAYS: dict[str, Way] = {
    "at once": at_once,
    "slowly": slowly,
    "in chunks": chunked,
    "eight at once": eight_at_once,
}


def in_chunks(body: bytes, size: int = CHUNK) -> bytes:
    """The body in HTTP's chunked encoding."""
    parts = [body[at : at + size] for at in range(0, len(body), size)]
    return b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"


async def _sent(port: int, request: bytes, timeout: float, pause: float = 0.0, piece_size: int = 2**18) -> str:
    """The outcome of one request: a status, or a fault in words. The client disconnects after `timeout` seconds."""
    try:
        async with connected(port) as connection:
            try:
                async with asyncio.timeout(timeout):
                    await connection.send(request, pause, piece_size)
            except TimeoutError:
                return f"not read within {timeout:.0f} s"
            (reply,) = await connection.answers(1, timeout)
            return replies.fault(reply) or str(reply.status)
    except Unanswered as error:
        return str(error)
    except OSError as error:
        return f"no connection ({type(error).__name__})"
