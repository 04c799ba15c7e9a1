"""Work for a client that may leave: it ends when the client does, and nothing else is cancelled by that."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from running import CEILING

from nitro.service.disconnects import ClientDisconnected, unless_disconnected
from nitro.service.requests import Principal


def run(scenario: Callable[[Principal], Coroutine[Any, Any, None]]) -> None:
    async def limited() -> None:
        async with asyncio.timeout(CEILING):
            await scenario(Principal("req_test", asyncio.get_running_loop().create_future()))
            await asyncio.sleep(0)  # a cancellation that comes late would be raised here

    asyncio.run(limited())


class Work:
    """Ends with `give`; notes whether it was cancelled."""

    def __init__(self) -> None:
        self.give: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self.cancelled = False

    async def work(self) -> int:
        try:
            return await self.give
        except asyncio.CancelledError:
            self.cancelled = True
            raise


def test_a_client_that_stays_gets_the_result() -> None:
    async def scenario(principal: Principal) -> None:
        work = Work()
        asyncio.get_running_loop().call_soon(work.give.set_result, 7)
        assert await unless_disconnected(principal, work.work()) == 7
        principal.left.set_result(None)  # after the end that is nobody's concern

    run(scenario)


def test_a_client_that_leaves_ends_the_work() -> None:
    async def scenario(principal: Principal) -> None:
        work = Work()
        asyncio.get_running_loop().call_soon(principal.left.set_result, None)
        with pytest.raises(ClientDisconnected):
            await unless_disconnected(principal, work.work())
        assert work.cancelled

    run(scenario)


def test_no_work_begins_for_one_that_has_left() -> None:
    async def scenario(principal: Principal) -> None:
        principal.left.set_result(None)
        work = Work()
        with pytest.raises(ClientDisconnected):
            await unless_disconnected(principal, work.work())
        assert not work.cancelled

    run(scenario)


@pytest.mark.parametrize("leaves_first", [True, False])
def test_it_leaves_in_the_turn_in_which_the_work_ends(leaves_first: bool) -> None:
    """Whichever is seen, the task that waited goes on."""

    async def scenario(principal: Principal) -> None:
        work = Work()
        for future in sorted(
            (principal.left, work.give), key=lambda future: (future is principal.left) != leaves_first
        ):
            asyncio.get_running_loop().call_soon(future.set_result, None)
        try:
            await unless_disconnected(principal, work.work())
        except ClientDisconnected:
            pass
        task = asyncio.current_task()
        assert task and task.cancelling() == 0

    run(scenario)


def test_whoever_cancels_the_task_cancels_it() -> None:
    async def scenario(principal: Principal) -> None:
        work = Work()
        task = asyncio.ensure_future(unless_disconnected(principal, work.work()))
        await asyncio.sleep(0)
        task.cancel()
        principal.left.set_result(None)
        with pytest.raises(asyncio.CancelledError):
            await task
        assert work.cancelled

    run(scenario)


def test_a_fault_of_the_work_is_raised() -> None:
    async def scenario(principal: Principal) -> None:
        work = Work()
        asyncio.get_running_loop().call_soon(work.give.set_exception, ValueError("says the test"))
        with pytest.raises(ValueError, match="says the test"):
            await unless_disconnected(principal, work.work())

    run(scenario)
