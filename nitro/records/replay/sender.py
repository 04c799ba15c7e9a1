"""Sends requests at their times, many at once where they came so, and notes what comes back and when."""

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field

import httpcore2

from nitro.errors import RecordError
from nitro.records.form import Exchange
from nitro.records.replay.target import Target
from nitro.system import http_clients

CONNECT = 30.0  # seconds
SILENCE = 600.0  # seconds without a byte after which a server is given up; the OpenAI SDK waits as long


@dataclass
class Reply:
    """What came back. Seconds count from when the request was sent."""

    late: float  # seconds after its time that it was sent
    status: int = 0
    media_type: str = ""
    pieces: list[tuple[float, bytes]] = field(default_factory=list)
    seconds: float = 0.0
    error: str | None = None  # why there is no reply, or no whole one
    left: bool = False  # as the recorded client did

    @property
    def body(self) -> bytes:
        """All that came."""
        return b"".join(data for _, data in self.pieces)

    @property
    def first_seconds(self) -> float | None:
        """Until the first byte of the body."""
        return self.pieces[0][0] if self.pieces else None


async def send(
    exchanges: Sequence[Exchange],
    target: Target,
    speed: float | None,
    at_once: int | None = None,
    done: Callable[[], None] = lambda: None,
) -> list[Reply]:
    """Send them all, oldest first. `speed`: 2.0 halves the distances between them; None: each goes as soon as there is
    room. `at_once`: how many may be on their way; None: as many as there were. `done` is called for each. Raises
    RecordError where no connection can be made."""
    most = at_once or (busiest(exchanges) if speed is None else len(exchanges))
    turns = asyncio.Semaphore(most)
    began, first = time.perf_counter(), exchanges[0].at

    async def one(exchange: Exchange) -> Reply:
        due = 0.0 if speed is None else (exchange.at - first) / speed
        await asyncio.sleep(due - (time.perf_counter() - began))
        async with turns:
            late = 0.0 if speed is None else time.perf_counter() - began - due
            reply = await _exchanged(pool, exchange, target, late)
        done()
        return reply

    async with httpcore2.AsyncConnectionPool(
        max_connections=most, max_keepalive_connections=most, uds=target.unix, ssl_context=target.tls
    ) as pool:
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(one(exchange)) for exchange in exchanges]
        except BaseExceptionGroup as group:
            raise group.exceptions[0] from None
    return [task.result() for task in tasks]


def busiest(exchanges: Sequence[Exchange]) -> int:
    """How many were on their way at once, at most."""
    changes = [(each.at, 1) for each in exchanges] + [(each.at + each.seconds, -1) for each in exchanges]
    now = most = 0
    for _, change in sorted(changes):
        now += change
        most = max(most, now)
    return max(most, 1)


async def _exchanged(pool: httpcore2.AsyncConnectionPool, exchange: Exchange, target: Target, late: float) -> Reply:
    reply = Reply(late)
    began = time.perf_counter()
    patience = exchange.seconds if exchange.ended == "left" and exchange.stream is None else None
    try:
        async with asyncio.timeout(patience):
            await _receive(pool, exchange, target, reply, began)
    except TimeoutError:
        reply.left = True
    except httpcore2.ConnectError as error:
        raise RecordError(f"{target.place} cannot be reached: {_reason(error)}") from None
    except (httpcore2.NetworkError, httpcore2.ProtocolError, httpcore2.TimeoutException) as error:
        reply.error = f"{type(error).__name__}: {error}".rstrip(": ")
    reply.seconds = time.perf_counter() - began
    return reply


def _reason(error: httpcore2.ConnectError) -> str:
    cause = error.__cause__ or error.__context__
    return http_clients.reason(cause if isinstance(cause, OSError) else error)


async def _receive(
    pool: httpcore2.AsyncConnectionPool, exchange: Exchange, target: Target, reply: Reply, began: float
) -> None:
    """A client that has left leaves again, once it has as much of the stream, or as many pieces of a redacted one."""
    stream = exchange.stream or []
    recorded = sum(len(text.encode()) for _, text in stream)
    leaves = exchange.ended == "left" and exchange.stream is not None
    timeouts = {"connect": CONNECT, "read": SILENCE, "write": SILENCE}
    async with pool.stream(
        "POST",
        target.url(exchange),
        headers=target.headers(exchange),
        content=target.body(exchange),
        extensions={"timeout": timeouts},
    ) as response:
        reply.status = response.status
        reply.media_type = dict(response.headers).get(b"content-type", b"").decode("latin-1")
        came = 0
        async with aclosing(response.aiter_stream()) as pieces:
            async for data in pieces:
                reply.pieces.append((time.perf_counter() - began, data))
                came += len(data)
                if leaves and (came >= recorded if recorded else len(reply.pieces) >= len(stream)):
                    reply.left = True
                    return
