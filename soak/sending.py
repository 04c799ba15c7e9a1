"""Four ways in which a body goes out: at once, slowly, in chunks, and eight times at the same time."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from soak import replies
from soak.connection import Unanswered, connected, head, post

SLOWLY, PARTS = 1.5, 150  # seconds a slow body takes, and its parts
CHUNK = 8192  # bytes
EIGHT = 8

Way = Callable[[int, str, bytes, float], Coroutine[Any, Any, list[str]]]


async def at_once(port: int, path: str, body: bytes, ceiling: float) -> list[str]:
    return [await _sent(port, post(path, body, port=port), ceiling)]


async def slowly(port: int, path: str, body: bytes, ceiling: float) -> list[str]:
    piece = max(len(body) // PARTS, 1)
    return [await _sent(port, post(path, body, port=port), ceiling, SLOWLY * piece / len(body), piece)]


async def chunked(port: int, path: str, body: bytes, ceiling: float) -> list[str]:
    return [await _sent(port, head(path, "Transfer-Encoding: chunked", port=port) + in_chunks(body), ceiling)]


async def eight_at_once(port: int, path: str, body: bytes, ceiling: float) -> list[str]:
    request = post(path, body, port=port)
    return list(await asyncio.gather(*(_sent(port, request, ceiling) for _ in range(EIGHT))))


WAYS: dict[str, Way] = {
    "at once": at_once,
    "slowly": slowly,
    "in chunks": chunked,
    "eight at once": eight_at_once,
}


def in_chunks(body: bytes, size: int = CHUNK) -> bytes:
    """As HTTP's chunked encoding writes it."""
    parts = [body[at : at + size] for at in range(0, len(body), size)]
    return b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"


async def _sent(port: int, request: bytes, ceiling: float, pause: float = 0.0, piece: int = 2**18) -> str:
    """What became of it: a status, or a fault in words. The client leaves after `ceiling` seconds."""
    try:
        async with connected(port) as connection:
            try:
                async with asyncio.timeout(ceiling):
                    await connection.send(request, pause, piece)
            except TimeoutError:
                return f"not read within {ceiling:.0f} s"
            (reply,) = await connection.answers(1, ceiling)
            return replies.fault(reply) or str(reply.status)
    except Unanswered as error:
        return str(error)
    except OSError as error:
        return f"no connection ({type(error).__name__})"
