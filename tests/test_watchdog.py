"""`--stall-timeout`: an engine that gets nowhere is ended and started again, and its requests are told."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

import openai
import pytest
from runners import Gate
from running import CEILING, RunningServer

from nitro.engines.client.stall import StallWatch
from nitro.engines.client.watchdog import Standstill, Watchdog

GATED = "runners:GatedRunner"
PONDERING = "runners:PonderingRunner"
TIMEOUT = 0.5  # seconds; what waits at a gate waits longer


def patience(server: RunningServer, seconds: float) -> None:
    """From now on `--stall-timeout` is this. A busy machine may let an engine wait for half a second, so it is short
    only while the engine waits at its gate."""
    server.engine._watchdog._timeout = seconds


def say(client: openai.OpenAI, text: str, **options):
    return client.chat.completions.create(model="", messages=[{"role": "user", "content": text}], **options)


def test_a_step_that_does_not_end_ends_the_engine(serve, gate: Gate) -> None:
    """Who was computed is told so, and not to come again; who waited is answered by the next."""
    server = serve(engine=GATED, model=gate.path, parallel=1, stall_timeout=CEILING)
    gate.accept()
    server.ready()
    pid = server.engine.pid
    stream = say(server.client(), "First", stream=True)
    gate.wait_inside()
    with ThreadPoolExecutor() as pool:
        patient = pool.submit(say, server.client(max_retries=2), "Second", max_tokens=1)
        patience(server, TIMEOUT)
        words = r"not taken a step for \d+ seconds\. It was ended, as --stall-timeout 0\.5 says"
        with pytest.raises(openai.APIError, match=words):
            list(stream)
        patience(server, CEILING)
        gate.accept()
        gate.open()
        assert patient.result(CEILING).choices[0].message.content == "?"
    assert server.engine.restarts == 1 and server.engine.pid != pid
    assert len(server.engine.suspects._records) == 1


def test_a_request_that_is_prepared_for_ever_ends_the_engine(serve, gate: Gate) -> None:
    """Nothing takes steps meanwhile, and the next request is answered."""
    server = serve(engine=PONDERING, model=gate.path, stall_timeout=CEILING)
    gate.accept()
    server.ready()
    with ThreadPoolExecutor() as pool:
        asking = pool.submit(say, server.client(), "Hello")
        gate.wait_inside()
        patience(server, TIMEOUT)
        with pytest.raises(openai.InternalServerError, match="one piece of a request's preparation for") as caught:
            asking.result(CEILING)
    patience(server, CEILING)
    assert (caught.value.status_code, caught.value.code) == (503, "engine_died")
    gate.accept()
    gate.open()
    assert say(server.client(), "Another", max_tokens=1).choices[0].message.content
    assert server.engine.restarts == 1


def test_an_engine_without_work_is_left_alone(serve) -> None:
    """However long it is idle, and also after requests."""
    server = serve(stall_timeout=CEILING).ready()
    client = server.client()
    assert say(client, "Hello", max_tokens=1).choices[0].message.content == "?"
    patience(server, TIMEOUT)

    async def looked(times: int) -> None:
        engine = server.engine
        seen = 0
        problem = engine._watchdog._problem

        def looking(patience: float) -> str | None:
            nonlocal seen
            seen += 1
            return problem(patience)

        engine._watchdog._problem = looking
        while seen < times:
            await asyncio.sleep(0.01)

    server.run(looked(6))
    assert server.engine.restarts == 0 and server.engine.info


class Clock:
    now = 10.0

    def __call__(self) -> float:
        return self.now


def test_how_long_a_thread_is_at_the_same_piece() -> None:
    clock = Clock()
    still = Standstill(clock)
    assert still.longest({1: (1, 7, 0), 2: (1, 8, 0)}) == 0
    clock.now += 5
    assert still.longest({1: (1, 7, 0), 2: (1, 8, 1)}) == 5
    clock.now += 3
    assert still.longest({2: (1, 8, 1)}) == 3, "the first has ended"
    assert still.longest({}) == 0
    clock.now += 9
    assert still.longest({1: (1, 7, 0)}) == 0, "and comes again"


def test_patience_counts_from_the_last_step() -> None:
    clock = Clock()
    watch = StallWatch(clock)
    watch.work_came()
    clock.now += 4
    assert watch.problem(5) is None
    watch.step(4.0)
    clock.now += 4
    assert watch.problem(5) is None
    clock.now += 2
    assert watch.problem(5) and watch.problem() is None


def test_it_looks_until_there_is_a_problem_and_then_no_more() -> None:
    async def scenario() -> None:
        said = asyncio.get_running_loop().create_future()
        answers = [None, None, "It stands still."]
        dog = Watchdog(0.004, lambda patience: answers.pop(0), said.set_result)
        dog.start()
        assert await said == "It stands still. It was ended, as --stall-timeout 0.004 says."
        assert not answers and dog._timer is None
        answers.append("Not asked.")
        dog.start()
        dog.stop()
        assert answers

    asyncio.run(scenario())
