"""A request that a device has no memory for ends with an error, and others go on; an engine that the system ends for
want of memory is told as such. Real engines held to a limit, real sockets; CUDA by a fake."""

import asyncio
import os
import resource
import signal
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import openai
import pytest
from runners import Gate
from running import CEILING, RunningServer

from nitro.config import ServeConfig
from nitro.engines.client import memory_deaths
from nitro.engines.client.engine import Engine
from nitro.engines.client.state import EngineState
from nitro.engines.types import EngineSpec
from nitro.errors import EngineDown, EngineOutOfMemory
from nitro.service.failures import as_api_error

GATED = "runners:GatedRunner"
LACKING = "runners:LackingRunner"
MIB = 2**20


def say(client: openai.OpenAI, text: str, **options):
    return client.chat.completions.create(model="", messages=[{"role": "user", "content": text}], **options)


async def until(holds: Callable[[], bool]) -> None:
    while not holds():
        await asyncio.sleep(0)


def read(stream: openai.Stream) -> str:
    return "".join(chunk.choices[0].delta.content or "" for chunk in stream)


# By fakes


@pytest.mark.parametrize("word", ["!cuda", "!metal", "!python"])
def test_what_libraries_say_of_memory_fails_one_request(serve, word: str) -> None:
    """MLX's exceptions, on CUDA and Metal, and Python's own. Those beside it are computed again, and are answered."""
    server = serve(engine=LACKING).ready()
    client = server.client()
    with ThreadPoolExecutor() as pool:
        failing = [pool.submit(say, client, f"{word} {number}") for number in range(2)]
        right = [pool.submit(say, client, "Hello", max_tokens=30) for _ in range(6)]
        for reply in failing:
            with pytest.raises(openai.InternalServerError, match="There is no memory for this request") as caught:
                reply.result(CEILING)
            assert (caught.value.status_code, caught.value.code) == (503, "out_of_memory")
            assert caught.value.response.headers["x-should-retry"] == "false"
        answers = {reply.result(CEILING).choices[0].message.content for reply in right}
    assert answers == {"".join(map(chr, range(ord("?"), ord("?") + 30)))}
    assert server.engine.restarts == 0


def test_a_request_that_cannot_be_made_ready_for_want_of_memory(serve) -> None:
    """Its text, that is; a picture's encoder is the same case."""
    server = serve(engine="runners:LackingTokenizer").ready()
    with pytest.raises(openai.InternalServerError, match="could not be made ready") as caught:
        say(server.client(), "!python")
    assert (caught.value.status_code, caught.value.code) == (503, "out_of_memory")
    assert say(server.client(), "Hello", max_tokens=1).choices[0].message.content == "?"


def test_of_inputs_that_are_embedded_together_one_fails(serve) -> None:
    server = serve(engine=LACKING).ready()
    client = server.client()
    with ThreadPoolExecutor() as pool:
        failing = pool.submit(client.embeddings.create, model="", input="!cuda")
        right = [pool.submit(client.embeddings.create, model="", input=f"text {number}") for number in range(8)]
        with pytest.raises(openai.InternalServerError, match="out of memory") as caught:
            failing.result(CEILING)
        assert (caught.value.status_code, caught.value.code) == (503, "out_of_memory")
        assert all(len(reply.result(CEILING).data) == 1 for reply in right)


def test_llama_cpp_on_cuda_ends_the_process_and_says_why(serve) -> None:
    """As ggml does where CUDA has no memory: it logs the error, and aborts."""
    server = serve(engine=LACKING).ready()
    words = r"SIGABRT\. It said last: CUDA error: out of memory; current device: 0"
    with pytest.raises(openai.InternalServerError, match=words) as caught:
        say(server.client(), "!abort")
    assert (caught.value.status_code, caught.value.code) == (503, "engine_died")
    assert say(server.client(), "Hello", max_tokens=1).choices[0].message.content == "?"


# By the system


@pytest.fixture
def oom_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Kills a process as the kernel does where memory runs out, and counts it in a file in place of /proc/vmstat."""
    vmstat = tmp_path / "vmstat"
    vmstat.write_text("oom_kill 5\n")
    monkeypatch.setattr(memory_deaths, "VMSTAT", vmstat)
    monkeypatch.setattr(memory_deaths, "free_host_memory", lambda: 700 * MIB)

    def kill(pid: int) -> None:
        vmstat.write_text("oom_kill 6\n")
        os.kill(pid, signal.SIGKILL)

    return kill


def test_a_load_that_the_system_kills(tmp_path: Path, gate: Gate, oom_killed: Callable[[int], None]) -> None:
    """At the start it is not tried again, and the server ends with a sentence that has the numbers."""
    server = RunningServer(ServeConfig(engine=GATED, model=gate.path, port=0))
    with pytest.raises(Exception, match=r"for want of memory, of which 700 MiB .* had up to \d+ MiB"), server:
        gate.hold()
        oom_killed(server.engine.pid)
        server.run(server.engine.ended())
        assert server.engine.restarts == 0


def test_an_engine_that_the_system_kills_later(serve, gate: Gate, oom_killed: Callable[[int], None]) -> None:
    """Its requests are told; the load that follows is killed, too, and is tried again after a pause."""
    server = serve(engine=GATED, model=gate.path, parallel=1)
    gate.accept()
    server.ready()
    stream = say(server.client(), "Hello", stream=True)
    gate.wait_inside()
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(say, server.client(), "Another")
        server.run(until(lambda: len(server.engine.generations.open) == 2))
        server.run(until(lambda: sum(g.accepted.done() for g in server.engine.generations.open) == 2))
        oom_killed(server.engine.pid)
        with pytest.raises(openai.APIError, match="for want of memory"):
            read(stream)
        with pytest.raises(openai.InternalServerError, match="700 MiB were free") as caught:
            waiting.result(CEILING)
    assert (caught.value.status_code, caught.value.code) == (503, "out_of_memory")
    assert int(caught.value.response.headers["retry-after"]) >= 1
    gate.hold()
    health = httpx.get(f"{server.url}/health")
    assert (health.status_code, health.json()["status"]) == (503, "restarting")
    assert "for want of memory" in health.json()["reason"]
    gate.greet()
    gate.open()
    server.run(server.engine.ready())
    assert say(server.client(), "Hello", max_tokens=1).choices[0].message.content == "?"


def test_who_kills_it_otherwise_is_not_the_system(serve, oom_killed: Callable[[int], None]) -> None:
    server = serve().ready()
    os.kill(server.engine.pid, signal.SIGKILL)
    server.run(until(lambda: server.engine.restarts == 1))
    assert server.engine.failure is None or "was killed by SIGKILL" in server.engine.failure


def test_what_clients_are_told_of_an_engine_without_memory() -> None:
    told = as_api_error(EngineOutOfMemory("It was too much.", 2.5))
    assert (told.status, told.code, told.retry_after) == (503, "out_of_memory", 3)
    assert as_api_error(EngineDown("It is gone.")).code is None


# By real engines

linux = pytest.mark.skipif(sys.platform != "linux", reason="no other system has the limit")


def allocated(pid: int) -> int:
    """Bytes of what counts for RLIMIT_DATA."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmData:"))


@linux
@pytest.mark.parametrize("engine, room, words", [("llama", 6, 7000), ("mlx", 20, 15000)])
def test_a_prompt_that_a_real_engine_has_no_memory_for(serve, model: Path, engine: str, room: int, words: int) -> None:
    """The engine may allocate `room` MiB more than it has when it is loaded. A stream goes on, as do new requests."""
    server = serve(engine=engine, model=str(model), context=16384, parallel=3).ready()
    client = server.client()
    say(client, "Hello", max_tokens=4)
    asked = httpx.post(f"{server.url}/tokenize", json={"content": "long " * words})  # by a process apart, which stays
    assert asked.status_code == 200
    pid = server.engine.pid
    limit = allocated(pid) + room * MIB
    resource.prlimit(pid, resource.RLIMIT_DATA, (limit, limit))
    options = {"extra_body": {"ignore_eos": True}, "max_tokens": 300}
    stream = say(client, "Once upon a time", stream=True, **options)
    next(stream)
    with pytest.raises(openai.InternalServerError) as caught:
        say(client, "long " * words, max_tokens=4)
    assert (caught.value.status_code, caught.value.code) == (503, "out_of_memory")
    assert sum(bool(chunk.choices[0].finish_reason) for chunk in stream) == 1
    assert say(client, "Hello", max_tokens=4).usage.completion_tokens == 4
    assert server.engine.restarts == 0 and server.engine.pid == pid


@linux
def test_a_real_load_that_is_held_to_its_memory(shallow_smollm: Path) -> None:
    """It fails with a sentence, or is ended: there is no room for Python and a library."""

    async def scenario() -> None:
        engine = Engine(EngineSpec("llama", str(shallow_smollm), engine_memory="20"))
        engine.start()
        with pytest.raises(EngineDown):
            await engine.loaded()
        assert engine.state is EngineState.DOWN
        await engine.close()
        roomy = Engine(EngineSpec("llama", str(shallow_smollm), engine_memory="2G", context=512))
        roomy.start()
        info = await roomy.loaded()
        assert info.context == 512
        assert resource.prlimit(roomy.pid, resource.RLIMIT_DATA)[0] == 2 * 2**30 or roomy.keeper.process._spawned.bound
        roomy.stop(EngineDown("over"))
        await roomy.close()

    asyncio.run(scenario())
