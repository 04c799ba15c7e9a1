"""What becomes of requests when the engine dies, whose fault it is taken to be, and how the engine comes back.

Real engine processes, killed by real signals or by themselves; real clients, with their retries.
"""

import asyncio
import os
import resource
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import httpx
import openai
import pytest
from runners import Gate
from running import CEILING, FAKE, RunningServer, sdk, server_process

from nitro.engines import last_words
from nitro.engines.client import keeper
from nitro.engines.client.backoff import Backoff
from nitro.engines.client.engine import Engine
from nitro.engines.client.process import EngineProcess
from nitro.engines.client.state import EngineState
from nitro.engines.client.suspects import DEATHS, MAX_SUSPECTS, MEMORY, Suspects
from nitro.engines.crash_marks import LANES, MAX_IDS, MAX_WORDS, CrashMarks, shared_memory
from nitro.engines.last_words import LastWords
from nitro.engines.types import EngineSpec, GenerationParams, SamplingParams
from nitro.engines.work import encode_work
from nitro.errors import EngineDown
from nitro.system.child_process import SCARCE

FAULTY = "runners:FaultyRunner"
GATED = "runners:GatedRunner"


def say(client: openai.OpenAI, text: str, **options):
    return client.chat.completions.create(model="", messages=[{"role": "user", "content": text}], **options)


def answer(client: openai.OpenAI, text: str = "Hello") -> str:
    return say(client, text, max_tokens=1).choices[0].message.content


def requests(server: RunningServer) -> int:
    """How many have ended since the last look."""
    count = 0
    while not server.lines.empty():
        server.lines.get()
        count += 1
    return count


# Whose fault it is


def test_a_poison_request_is_not_sent_again_then_refused_and_all_others_are_answered(serve) -> None:
    """By an SDK that sends again what it may. It is refused by what it is, not by its seed; what is not like it, and of
    no harm, is answered at once."""
    server = serve(engine=FAULTY).ready()
    client = server.client(max_retries=2)
    for _ in range(DEATHS):
        with pytest.raises(openai.InternalServerError, match="status 3") as caught:
            say(client, "!exit", seed=1)
        assert (caught.value.status_code, caught.value.code) == (503, "engine_died")
        assert caught.value.response.headers["x-should-retry"] == "false"
        assert "retry-after" not in caught.value.response.headers
        assert requests(server) == 1
    for seed in (1, 2):
        with pytest.raises(openai.UnprocessableEntityError, match="died 2 times while it worked on a request like"):
            say(client, "!exit", seed=seed)
        assert requests(server) == 1
    assert answer(client) == "?"
    assert server.engine.restarts == 2
    assert httpx.get(f"{server.url}/health").json() == {"status": "ok"}


def test_twenty_poison_requests_one_after_another(serve) -> None:
    """Each of another kind, so that none is refused; whoever comes after one is answered, without a pause."""
    server = serve(engine=FAULTY).ready()
    client = server.client(max_retries=2)
    for number in range(20):
        with pytest.raises(openai.InternalServerError, match="status 3"):
            say(client, f"!exit {number}")
        assert answer(client) == "?"
        assert server.engine.lifecycle.resumes <= server.engine.keeper.started
    assert server.engine.restarts == 20


def test_who_only_waits_is_no_suspect_and_may_be_sent_again(serve, gate: Gate) -> None:
    """Two requests wait for the only row while the engine is killed. One client sends again what it may, and is
    answered by the next engine; the other is told when to."""
    server = serve(engine=GATED, model=gate.path, parallel=1)
    gate.accept()
    server.ready()
    stream = say(server.client(), "First", stream=True)
    gate.wait_inside()
    with ThreadPoolExecutor() as pool:
        patient = pool.submit(answer, server.client(max_retries=2), "Second")
        other = pool.submit(answer, server.client(), "Third")
        server.run(until(lambda: sum(g.accepted.done() for g in server.engine.generations.open) == 3))
        os.kill(server.engine.pid, signal.SIGKILL)
        with pytest.raises(openai.APIError, match="SIGKILL"):
            list(stream)
        with pytest.raises(openai.InternalServerError, match="SIGKILL") as caught:
            other.result(CEILING)
        assert int(caught.value.response.headers["retry-after"]) >= 1
        assert "x-should-retry" not in caught.value.response.headers
        gate.accept()
        gate.open()
        assert patient.result(CEILING) == "?"
    assert len(server.engine.suspects._records) == 1


def test_an_engine_that_dies_at_no_work_accuses_nobody(serve) -> None:
    server = serve(engine=FAKE).ready()
    for _ in range(DEATHS + 1):
        assert answer(server.client()) == "?"
        pid = server.engine.pid
        os.kill(pid, signal.SIGKILL)
        server.run(until(lambda pid=pid: server.engine.info is not None and server.engine.pid != pid))
    assert not server.engine.suspects._records


async def until(holds: Callable[[], bool]) -> None:
    while not holds():
        await asyncio.sleep(0)


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_who_was_there_at_two_deaths_is_refused_for_a_while() -> None:
    clock = Clock()
    suspects = Suspects(clock)
    suspects.died([b"a", b"b", b"a"], "It broke.")
    assert suspects.refusal(b"a") is suspects.refusal(b"b") is None
    clock.now += MEMORY / 2
    suspects.died([b"a"], "It broke again.")
    refusal = suspects.refusal(b"a")
    assert refusal and "died 2 times" in refusal and f"{MEMORY:.0f} seconds. It broke again." in refusal
    assert suspects.refusal(b"b") is None
    clock.now += MEMORY
    assert suspects.refusal(b"a") is None
    suspects.died([b"a"], "And again.")
    assert suspects.refusal(b"a") is None, "the deaths of long ago do not count"


def test_who_was_answered_since_is_refused_no_more() -> None:
    suspects = Suspects(Clock())
    suspects.died([b"a"], "It broke.")
    suspects.answered(b"a")
    suspects.died([b"a"], "It broke.")
    assert suspects.refusal(b"a") is None


def test_only_so_many_suspects_are_remembered() -> None:
    suspects = Suspects(Clock())
    for number in range(MAX_SUSPECTS + 5):
        suspects.died([b"%d" % number] * 2, "It broke.")
    assert len(suspects._records) == MAX_SUSPECTS and b"4" not in suspects._records and b"5" in suspects._records


def test_works_that_differ_by_their_seed_alone_are_alike() -> None:
    def digest(*prompts: str | list[int], **sampling: float) -> bytes:
        return encode_work([*prompts], GenerationParams(SamplingParams(**sampling))).digest

    assert digest("a", seed=1) == digest("a", seed=2)
    others = [digest("a"), digest("b"), digest("a", "b"), digest("ab"), digest([97]), digest("a", temperature=0.5)]
    assert len({*others}) == len(others)


def test_marks_outlive_the_process_that_made_them() -> None:
    """And what does not fit into a lane is left out."""
    fd = shared_memory()
    marks = CrashMarks(fd)
    if (child := os.fork()) == 0:
        theirs = CrashMarks(fd)
        theirs.write(0, [1, 2, 3])
        theirs.write(0, [2**63, 5])
        theirs.write(LANES - 1, range(100, 100 + 2 * MAX_IDS))
        theirs.write(2, [9])
        theirs.write(2)
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    os.close(fd)
    assert marks.read() == {2**63, 5, *range(100, 100 + MAX_IDS)}


def test_marks_tell_whether_a_thread_gets_further() -> None:
    marks = CrashMarks()
    marks.write(2, [7])
    first = marks.progress()
    assert list(first) == [2] and marks.progress() == first
    marks.beat(2)
    second = marks.progress()
    assert second != first
    marks.write(2, [8])
    assert marks.progress() != second
    marks.write(2)
    assert not marks.progress()


def test_last_words_outlive_their_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first lines of a fault stay, up to a limit; those of an older one go."""
    now = 100.0
    monkeypatch.setattr(last_words.time, "monotonic", lambda: now)
    marks, said = CrashMarks(), LastWords()
    said.note("Said to nobody.")
    said.write_to(marks)
    assert marks.words() == ("", 0.0)
    now += 10
    said.note("CUDA error: out of memory\n")
    said.note("  current device: 0.")
    assert marks.words() == ("CUDA error: out of memory; current device: 0", now)
    said.note("x" * 2 * MAX_WORDS)
    text, _ = marks.words()
    assert text.startswith("CUDA error: out of memory; current device: 0; xxx") and len(text) == MAX_WORDS
    now += 10
    said.note("ä" * MAX_WORDS)
    text, at = marks.words()
    assert set(text) == {"ä"} and len(text) == MAX_WORDS // 2 and at == now


def test_what_was_foretold_is_not_said_before_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that something else has ended has not died of it."""
    now = 100.0
    monkeypatch.setattr(last_words.time, "monotonic", lambda: now)
    process, said = EngineProcess.__new__(EngineProcess), LastWords()
    process._marks = CrashMarks()
    said.write_to(process._marks)
    said.foretell("The ranks have not found each other", 30)
    now += 29
    assert process.recent_words() == ""
    now += 1.5
    assert process.recent_words() == "The ranks have not found each other"


# How it comes back


def test_pauses_grow_up_to_five_minutes_and_begin_anew_after_one_that_was_of_use() -> None:
    backoff = Backoff()
    pauses = [backoff.pause(1.0, answered=False) for _ in range(12)]
    assert pauses == [0, 0.5, 1, 2, 4, 8, 16, 32, 64, 128, 256, 300]
    assert all(backoff.pause(0.0, False) == 300 for _ in range(2000))
    assert backoff.pause(1.0, answered=True) == 0
    assert [backoff.pause(1.0, False) for _ in range(3)] == [0, 0.5, 1]
    assert backoff.pause(61.0, answered=False) == 0


def test_during_a_pause_clients_are_told_how_long(serve) -> None:
    """It is not waited for, neither by them nor at the end."""
    server = serve(engine=FAULTY).ready()
    server.engine.keeper.backoff = Backoff(first=1000.0, longest=1000.0)
    for number in range(2):
        with pytest.raises(openai.InternalServerError, match="status 3"):
            say(server.client(), f"!exit {number}")
    server.run(until(lambda: server.engine.keeper.ending is None and server.engine.pid is None))
    with pytest.raises(openai.InternalServerError, match="started again after a pause") as caught:
        answer(server.client())
    assert 900 < int(caught.value.response.headers["retry-after"]) < 1100
    health = httpx.get(f"{server.url}/health")
    told = health.json()
    assert (health.status_code, told["status"]) == (503, "restarting") and "status 3" in told["reason"]
    assert told["pause"]["failures"] == 2 and 900 < told["pause"]["seconds"] <= 1000
    assert server.client().models.list().data[0].loaded is False


def test_a_model_that_cannot_be_loaded_again(serve, tmp_path) -> None:
    """The server goes on trying, however often it fails."""
    server = serve(engine="runners:ForgetfulRunner", model=str(tmp_path / "file")).ready()
    server.engine.keeper.backoff = Backoff(longest=0.0)
    os.kill(server.engine.pid, signal.SIGKILL)
    server.run(until(lambda: server.engine.restarts > 3))
    with pytest.raises(openai.InternalServerError, match="cannot be loaded again") as caught:
        answer(server.client())
    assert int(caught.value.response.headers["retry-after"]) >= 1
    (tmp_path / "file").unlink()
    server.run(until(lambda: server.engine.info is not None))
    assert answer(server.client()) == "?"


@contextmanager
def no_descriptor_left() -> Iterator[None]:
    """This process can open nothing more."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = max(map(int, os.listdir("/proc/self/fd")))
    taken = []
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 1, hard))
    try:
        with pytest.raises(OSError):
            while True:
                taken.append(os.open("/dev/null", os.O_RDONLY))
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for fd in taken:
            os.close(fd)


def test_want_of_descriptors_is_not_the_engines_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither at the first start nor later: it comes when there are some again."""
    monkeypatch.setattr(keeper, "SHORTAGE", 0.0)

    async def scenario() -> None:
        engine = Engine(EngineSpec(FAKE, ""))
        engine.keeper.backoff = Backoff(first=1000.0, longest=1000.0)
        with no_descriptor_left():
            with pytest.raises(OSError) as caught:
                await EngineProcess.start()
            assert caught.value.errno in SCARCE
            engine.start()
            with pytest.raises(EngineDown, match="Too many open files"):
                await engine.ready()
        for _ in range(2):
            async with asyncio.timeout(CEILING):
                while not engine.info:
                    await asyncio.sleep(0)
            assert engine.restarts == 0 or engine.keeper.backoff.quick_failures == 1
            if engine.restarts:
                break
            with no_descriptor_left():
                os.kill(engine.pid, signal.SIGKILL)
                await until(lambda: "Too many" in (engine.failure or ""))
        assert engine.state is EngineState.READY
        engine.stop(EngineDown("over"))
        await engine.close()

    asyncio.run(scenario())


def test_exit_on_engine_failure() -> None:
    with server_process("--engine", FAULTY, "--exit-on-engine-failure") as server:
        url = server.wait_ready()
        with pytest.raises(openai.InternalServerError, match="status 3"):
            say(sdk(url), "!exit")
        _, said = server.process.communicate(timeout=CEILING)
    assert server.process.returncode == 1
    assert said.splitlines()[-1].startswith("nitro: The engine process ended with status 3. The server exits")
