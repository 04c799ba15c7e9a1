"""The states of an engine, and what becomes of those who wait for one that is ready."""

import asyncio
import time
from collections.abc import Callable, Coroutine

import pytest

from nitro.engines.backends.fake import FakeRunner
from nitro.engines.client.state import EngineState, Lifecycle
from nitro.engines.types import EngineSpec
from nitro.errors import EngineBusy, EngineDown, EngineError, ServerClosing

INFO = FakeRunner(EngineSpec("fake", "")).info
DIED = EngineDown("It died.", 1.0)
STOPPED = ServerClosing("over")


def ready(life: Lifecycle) -> None:
    life.ready(INFO, 0.1)


def lost(life: Lifecycle, pause: float = 0.0) -> None:
    life.lost("It died.", time.monotonic() + pause, DIED)


def stop(life: Lifecycle) -> None:
    life.stop(STOPPED)


@pytest.mark.parametrize(
    ("changes", "state", "failure"),
    [
        ([], EngineState.LOADING, None),
        ([ready], EngineState.READY, None),
        ([lost], EngineState.RESTARTING, "It died."),  # no process to be had at first
        ([ready, lost], EngineState.RESTARTING, "It died."),
        ([ready, lost, lost], EngineState.RESTARTING, "It died."),
        ([ready, lost, ready], EngineState.READY, None),
        ([lost, stop], EngineState.DOWN, "It died."),  # the first load failed
        ([ready, stop], EngineState.DOWN, None),
        ([stop, ready], EngineState.DOWN, None),
        ([ready, stop, lost, ready], EngineState.DOWN, "It died."),
    ],
)
def test_states(changes: list[Callable[[Lifecycle], None]], state: EngineState, failure: str | None) -> None:
    async def scenario() -> None:
        life = Lifecycle(max_waiting=1)
        for change in changes:
            change(life)
        assert (life.state, life.failure) == (state, failure)
        assert life.info is (INFO if state is EngineState.READY else None), "the model is there only while it is ready"

    asyncio.run(scenario())


async def waiting(life: Lifecycle, change: Callable[[Lifecycle], None]) -> EngineError | None:
    """How it ends for a request that waits for the model while the state changes."""
    waiter = asyncio.create_task(life.until_ready())
    while not life.waiting:
        await asyncio.sleep(0)
    with pytest.raises(EngineBusy):
        await life.until_ready()
    change(life)
    try:
        assert await waiter is INFO
    except EngineError as error:
        return error
    finally:
        assert not life.waiting
    return None


@pytest.mark.parametrize(("change", "error"), [(ready, None), (lost, DIED), (stop, STOPPED)])
def test_who_waits_hears_of_every_change(change: Callable[[Lifecycle], None], error: EngineError | None) -> None:
    async def scenario() -> EngineError | None:
        return await waiting(Lifecycle(max_waiting=1), change)

    assert asyncio.run(scenario()) is error


def test_a_long_pause_is_not_waited_for() -> None:
    async def scenario() -> None:
        life = Lifecycle(max_waiting=1)
        ready(life)
        lost(life, pause=100.0)
        with pytest.raises(EngineDown, match="after a pause") as caught:
            await life.until_ready()
        assert caught.value.again == pytest.approx(100.1, abs=1.0), "the pause and the time to load"

    asyncio.run(scenario())


def test_the_first_load_and_the_end_are_told_whenever_one_asks() -> None:
    async def scenario() -> None:
        life = Lifecycle(max_waiting=1)
        loaded, down = (asyncio.create_task(wait) for wait in _outcomes(life))
        ready(life)
        assert await loaded is INFO and not down.done()
        stop(life)
        life.stop(EngineDown("later"))
        assert await down is STOPPED is await life.until_down() and await life.until_loaded() is INFO
        with pytest.raises(ServerClosing):
            await life.until_ready()
        never = Lifecycle(max_waiting=1)
        stop(never)
        with pytest.raises(ServerClosing):
            await never.until_loaded()

    asyncio.run(scenario())


def _outcomes(life: Lifecycle) -> tuple[Coroutine, Coroutine]:
    return life.until_loaded(), life.until_down()
