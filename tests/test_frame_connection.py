"""Frames on an event loop: whole and in order, however their bytes arrive."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from nitro.system import frames
from nitro.system.frame_connection import PAYLOADS_PER_TURN, FrameConnection

PAYLOADS = [b"", b"a", b"bc" * 200, b"", b"d" * 70_000, b"e"]
CEILING = 60.0  # seconds; far more than anything here takes


def framed(payloads: list[bytes]) -> bytes:
    return b"".join(frames.length(len(payload)) + payload for payload in payloads)


@asynccontextmanager
async def pair() -> AsyncIterator[tuple[FrameConnection, asyncio.StreamWriter]]:
    """A connection, and what writes to it."""
    ours, theirs = socket.socketpair()
    connection = await FrameConnection.connect(ours)
    _, writer = await asyncio.open_connection(sock=theirs)
    async with asyncio.timeout(CEILING):
        yield connection, writer
    connection.close()
    writer.close()


async def heard(connection: FrameConnection) -> list[bytes]:
    payloads: list[bytes] = []
    await connection.listen(payloads.extend)
    return payloads


async def taken(connection: FrameConnection) -> list[bytes]:
    payloads: list[bytes] = []
    while burst := await connection.burst():
        payloads += burst
    return payloads


@pytest.mark.parametrize("size", [1, 3, 5, 4096, 10**6])
@pytest.mark.parametrize("way", [heard, taken])
def test_in_pieces(size: int, way: Callable[[FrameConnection], "asyncio.Future[list[bytes]]"]) -> None:
    data = framed(PAYLOADS)

    async def main() -> list[bytes]:
        async with pair() as (connection, writer):
            reading = asyncio.ensure_future(way(connection))
            for start in range(0, len(data), size):
                writer.write(data[start : start + size])
                await asyncio.sleep(0)
            writer.close()
            return await reading

    assert asyncio.run(main()) == PAYLOADS


def test_half_a_frame_at_the_end_is_none() -> None:
    async def main() -> list[bytes]:
        async with pair() as (connection, writer):
            writer.write(framed([b"whole"]) + framed([b"half"])[:-1])
            writer.close()
            return await heard(connection)

    assert asyncio.run(main()) == [b"whole"]


def test_what_came_before_anyone_listened() -> None:
    async def main() -> list[bytes]:
        async with pair() as (connection, writer):
            writer.write(framed([b"first"]))
            assert await connection.burst() == [b"first"]
            writer.write(framed(PAYLOADS))
            writer.close()
            await writer.wait_closed()
            for _ in range(100):
                await asyncio.sleep(0)
            return await heard(connection)

    assert asyncio.run(main()) == PAYLOADS


def test_others_have_a_turn_between_many() -> None:
    count = 10 * PAYLOADS_PER_TURN

    async def main() -> tuple[list[int], int]:
        sizes: list[int] = []
        turns = 0

        async def other() -> None:
            nonlocal turns
            while True:
                turns += bool(sizes)
                await asyncio.sleep(0)

        async with pair() as (connection, writer):
            task = asyncio.create_task(other())
            writer.write(framed([b"x"] * count))
            writer.close()
            await connection.listen(lambda burst: sizes.append(len(burst)))
            task.cancel()
        return sizes, turns

    sizes, turns = asyncio.run(main())
    assert sum(sizes) == count
    assert max(sizes) <= PAYLOADS_PER_TURN
    assert turns >= len(sizes) - 1


def test_a_receiver_that_fails_gets_no_more() -> None:
    bursts: list[list[bytes]] = []

    def receive(burst: list[bytes]) -> None:
        bursts.append(burst)
        raise ValueError("no")

    async def main() -> None:
        async with pair() as (connection, writer):
            writer.write(framed([b"x"] * 100))
            with pytest.raises(ValueError, match="no"):
                await connection.listen(receive)
            writer.write(framed([b"y"]))
            for _ in range(100):
                await asyncio.sleep(0)

    asyncio.run(main())
    assert len(bursts) == 1


def test_sending_to_one_that_has_closed() -> None:
    async def main() -> None:
        async with pair() as (connection, writer):
            writer.close()
            assert await connection.burst() == []
            connection.send([b"nobody", b"reads"])

    asyncio.run(main())
