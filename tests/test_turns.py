"""Requests that come at once begin in turn, and the loop goes round between."""

import asyncio
from itertools import pairwise

from nitro.api.request_turns import REQUESTS_PER_TURN, Turns


def test_a_few_in_one_turn_of_the_loop() -> None:
    async def run() -> tuple[list[int], list[int]]:
        turns, begun, seen = Turns(), [], [0]

        async def begin(number: int) -> None:
            await turns.wait()
            begun.append(number)

        requests = [asyncio.create_task(begin(number)) for number in range(50)]
        requests[20].cancel()
        while not all(request.done() for request in requests):
            await asyncio.sleep(0)
            seen.append(len(begun))
        return begun, seen

    begun, seen = asyncio.run(run())
    assert begun == [number for number in range(50) if number != 20]
    assert max(after - before for before, after in pairwise(seen)) <= 2 * REQUESTS_PER_TURN


def test_a_few_need_not_wait() -> None:
    async def run() -> None:
        turns = Turns()
        for _ in range(REQUESTS_PER_TURN):
            try:
                turns.wait().send(None)
            except StopIteration:
                continue
            raise AssertionError("it waits")

    asyncio.run(run())
