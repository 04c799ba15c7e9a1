"""Requests are read in processes of their own: what takes too long there is that request's fault, and holds nobody."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from running import CEILING, RunningServer, wait_gone

from nitro.api.openai.logit_bias import MAX_BIASED_TEXTS, MAX_BIASES
from nitro.api.openai.messages import MAX_MESSAGES, MAX_PARTS
from nitro.api.openai.tools import MAX_TOOLS
from nitro.engines.backends.fake import FakeRunner
from nitro.engines.sampling_defaults import NOTHING
from nitro.engines.types import EngineSpec
from nitro.errors import ApiError, EngineBusy, TemplateError
from nitro.models.setup import ModelSetup
from nitro.service.intake import lanes
from nitro.service.intake.lanes import Intake
from nitro.service.intake.prepare import MAX_TOOLS_BYTES

PLAIN = "{% for m in messages %}{{ m.content }}{% endfor %}"
# Seconds of work for a long message, nearly none for a short one; what is made is nothing.
SLOW = (
    "{% for i in range(messages[0].content | length // 4) %}{% set n = messages[0].content.rfind('ba') %}{% endfor %}"
    + PLAIN
)
STORY = [{"role": "user", "content": "a"}]
LONG = [{"role": "user", "content": "a" * 200_000}]
INFO = FakeRunner(EngineSpec("fake", "")).info


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Processor time counts here; by the clock a busy machine may take as long as it likes."""
    monkeypatch.setattr(lanes, "WALL_CLOCK_FACTOR", 1000)


def setup(template: str | None) -> ModelSetup:
    return ModelSetup(INFO, ["fake"], template, template, None, NOTHING)


def body(messages: list[dict[str, Any]] = STORY, **fields: Any) -> bytes:
    return json.dumps({"messages": messages, **fields}).encode()


READERS = {"chat": "nitro.api.openai.parse:read_chat", "completions": "nitro.api.openai.parse:read_completion"}


def read(reading: Intake, used: ModelSetup, route: str, content: bytes) -> Any:
    return reading.read(used, READERS[route], [content])


def run(work: Callable[[Intake], Any], seconds: float = 2.0) -> Any:
    """What becomes of `work` with an Intake of its own."""

    async def alone() -> Any:
        reading = Intake(seconds)
        try:
            return await work(reading)
        finally:
            await reading.close()

    return asyncio.run(alone())


def post(server: RunningServer, content: bytes, path: str = "/v1/chat/completions") -> httpx.Response:
    return httpx.post(server.url + path, content=content, timeout=CEILING)


def pid(server: RunningServer, lane: str = "_small") -> int:
    process = getattr(server.server.intake, lane)._process
    return int(process.pid)


def test_a_template_that_takes_too_long_is_stopped_and_the_next_request_is_read() -> None:
    async def work(reading: Intake) -> None:
        used = setup(SLOW)
        with pytest.raises(TemplateError, match=r"takes more than .* was stopped"):
            await read(reading, used, "chat", body(LONG))
        assert (await read(reading, used, "chat", body())).streamed is False

    run(work, seconds=0.3)


def test_a_stopped_template_is_a_400_and_others_are_served(
    serve: Callable[..., RunningServer], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lanes, "SECONDS_A_MIB", 0.0)
    (tmp_path / "slow.jinja").write_text(SLOW)
    server = serve(chat_template=tmp_path / "slow.jinja").ready()
    server.server.intake._seconds = 0.3
    reply = post(server, body(LONG))
    assert (reply.status_code, reply.json()["error"]["param"]) == (400, "messages")
    assert "was stopped" in reply.json()["error"]["message"]
    assert httpx.get(f"{server.url}/health").status_code == 200
    assert post(server, body(max_tokens=1)).status_code == 200


def test_a_request_that_takes_too_much_memory_is_refused(serve: Callable[..., RunningServer]) -> None:
    """Its process has the rest of its life before it."""
    server = serve(read_memory=256, read_seconds=CEILING).ready()
    filled = b'{"messages": [{"role": "user", "content": "a"}], "x": [%s]}' % b",".join([b"{}"] * 4_000_000)
    reply = post(server, filled)
    assert reply.status_code == 400, reply.text
    assert reply.json()["error"]["message"] == "The request takes too much memory to be read."
    large = pid(server, "_large")
    assert post(server, filled).status_code == 400 and pid(server, "_large") == large
    assert post(server, body(max_tokens=1)).status_code == 200


def test_the_time_of_a_request_is_a_flag(serve: Callable[..., RunningServer]) -> None:
    server = serve(read_seconds=0.7).ready()
    assert server.server.intake._seconds == 0.7


def test_a_template_that_is_none_is_told_each_time() -> None:
    async def work(reading: Intake) -> None:
        for _ in range(2):
            with pytest.raises(TemplateError, match="is not valid"):
                await read(reading, setup("{% for %}"), "chat", body())

    run(work)


def test_a_template_that_takes_too_long_to_compile_is_compiled_once() -> None:
    async def work(reading: Intake) -> None:
        used = setup("{{ messages }}" * 15_000)
        with pytest.raises(TemplateError, match="takes more than"):
            await read(reading, used, "chat", body())
        with pytest.raises(TemplateError, match="too long to compile"):
            await read(reading, used, "chat", body())
        assert reading._small._process is None  # none was needed
        assert await read(reading, setup(PLAIN), "chat", body())

    run(work, seconds=0.2)


def test_a_template_has_a_cap() -> None:
    async def work(reading: Intake) -> None:
        with pytest.raises(TemplateError, match="at most 262144"):
            await reading.check("a" * 2**18 + "b")
        await reading.check(PLAIN)

    run(work)


def test_a_killed_process_is_replaced(serve: Callable[..., RunningServer]) -> None:
    server = serve().ready()
    assert post(server, body(max_tokens=1)).status_code == 200
    first = pid(server)
    watched = os.pidfd_open(first)
    os.kill(first, signal.SIGKILL)
    wait_gone(watched)
    assert post(server, body(max_tokens=1)).status_code == 200 and pid(server) != first


def test_one_that_is_killed_at_work_is_told_and_replaced(serve: Callable[..., RunningServer]) -> None:
    server = serve().ready()
    large = body(metadata={"a": "b" * 2**19}, max_tokens=1)
    assert post(server, large).status_code == 200
    process = pid(server, "_large")
    os.kill(process, signal.SIGSTOP)

    async def killed() -> httpx.Response:
        async with httpx.AsyncClient(base_url=server.url, timeout=CEILING) as client:
            waiting = asyncio.create_task(client.post("/v1/chat/completions", content=large))
            while not server.server.intake._large.held:
                await client.get("/health")
            os.kill(process, signal.SIGKILL)
            return await waiting

    reply = asyncio.run(killed())
    assert (reply.status_code, reply.headers["x-should-retry"]) == (503, "false") and "SIGKILL" in reply.text
    assert post(server, large).status_code == 200


def test_a_small_request_does_not_wait_for_a_large_one(serve: Callable[..., RunningServer]) -> None:
    server = serve().ready()
    large = body(metadata={"a": "b" * 2**19}, max_tokens=1)
    assert post(server, large).status_code == 200
    process = pid(server, "_large")
    os.kill(process, signal.SIGSTOP)

    async def both() -> list[int]:
        async with httpx.AsyncClient(base_url=server.url, timeout=CEILING) as client:
            waiting = asyncio.create_task(client.post("/v1/chat/completions", content=large))
            while not server.server.intake._large.held:
                await client.get("/health")
            small = await client.post("/v1/chat/completions", content=body(max_tokens=1))
            assert not waiting.done()
            os.kill(process, signal.SIGCONT)
            return [small.status_code, (await waiting).status_code]

    assert asyncio.run(both()) == [200, 200]


def test_the_process_for_large_requests_ends_when_it_idles(monkeypatch: pytest.MonkeyPatch) -> None:
    async def work(reading: Intake) -> None:
        reading._large._idle = 0.0
        await read(reading, setup(PLAIN), "chat", body(metadata={"a": "b" * 2**19}))
        while reading._large._process:
            await asyncio.sleep(0)

    run(work)


def test_too_many_bytes_do_not_wait(serve: Callable[..., RunningServer], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lanes, "MAX_HELD", 1000)
    server = serve().ready()
    assert post(server, body(metadata={"a": "b" * 2**19}, max_tokens=1)).status_code == 200  # alone it is welcome
    server.server.intake._small.held = 990
    reply = post(server, body())
    assert (reply.status_code, reply.headers["retry-after"]) == (429, "1")


def tools(count: int) -> list[dict[str, Any]]:
    return [{"type": "function", "function": {"name": f"f{i}"}} for i in range(count)]


CALL = {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}
CAPS = {
    "tools": ({"tools": tools(MAX_TOOLS + 1)}, "tools", MAX_TOOLS),
    "long tools": (
        {
            "tools": [
                {
                    "type": "function",
                    "function": {"name": "f", "description": "d" * 9, "parameters": {"x": "a" * 2**21}},
                }
            ]
        },
        "tools",
        MAX_TOOLS_BYTES,
    ),
    "messages": ({"messages": STORY * (MAX_MESSAGES + 1)}, "messages", MAX_MESSAGES),
    "parts": (
        {"messages": [{"role": "user", "content": ["a"] * (MAX_PARTS + 1)}]},
        "messages[0].content",
        MAX_PARTS,
    ),
    "calls": (
        {"messages": [{"role": "assistant", "tool_calls": [CALL] * (MAX_TOOLS + 1)}]},
        "messages[0].tool_calls",
        MAX_TOOLS,
    ),
    "stops": ({"stop": ["a"] * 17}, "stop", 16),
    "a long stop": ({"stop": "a" * 1001}, "stop", 1000),
    "biases": ({"logit_bias": {str(i): 1 for i in range(MAX_BIASES + 1)}}, "logit_bias", MAX_BIASES),
    "biased texts": ({"logit_bias": {f"a{i}": 1 for i in range(301)}}, "logit_bias", MAX_BIASED_TEXTS),
    "choices": ({"n": 129}, "n", 128),
    "prompts": ({"prompt": ["a"] * 1025}, "prompt", 1024),
}


@pytest.mark.parametrize("name", CAPS)
def test_caps_say_their_number(name: str) -> None:
    fields, param, most = CAPS[name]

    async def work(reading: Intake) -> None:
        route = "completions" if param == "prompt" else "chat"
        with pytest.raises(ApiError, match=f"at most {most}") as caught:
            await read(reading, setup(PLAIN), route, json.dumps({"messages": STORY, **fields}).encode())
        assert (caught.value.status, caught.value.param) == (400, param)

    run(work)


def test_many_tools_are_told_and_a_repeated_name_is_found() -> None:
    async def work(reading: Intake) -> None:
        offered = tools(MAX_TOOLS)
        assert (await read(reading, setup(PLAIN), "chat", body(tools=offered))).output.channels.tools
        with pytest.raises(ApiError) as caught:
            await read(reading, setup(PLAIN), "chat", body(tools=[*offered[:-1], offered[0]]))
        assert caught.value.param == f"tools[{MAX_TOOLS - 1}].function.name"

    run(work)


def test_only_what_is_small_gets_a_second_try() -> None:
    async def work(reading: Intake) -> None:
        comma = body(metadata={"a": "b" * 1000})[:-1] + b",}"
        assert await read(reading, setup(PLAIN), "chat", comma)
        with pytest.raises(ApiError, match="not valid JSON"):
            await read(reading, setup(PLAIN), "chat", comma.replace(b"b" * 1000, b"b" * 2**20))

    run(work)


def test_a_fault_is_told_in_few_words() -> None:
    """Whatever the client's own words in it are."""

    async def work(reading: Intake) -> None:
        with pytest.raises(ApiError) as caught:
            await read(reading, setup(PLAIN), "chat", body([{"role": "king" * 10**6, "content": "a"}]))
        assert caught.value.param == "messages[0].role" and len(str(caught.value)) < 3000

    run(work)


def test_the_server_renders_nothing() -> None:
    """Nor could it: what renders is not even imported."""
    program = (
        "import sys, nitro.server; sys.exit(any(name in sys.modules for name in ('jinja2', 'nitro.text.template')))"
    )
    assert subprocess.run([sys.executable, "-c", program], timeout=CEILING).returncode == 0


def test_a_client_that_leaves_the_queue_takes_its_body_along() -> None:
    """Else bodies whose clients gave up would pile up behind one that takes long."""

    async def work(reading: Intake) -> None:
        used = setup(PLAIN)
        large = body(metadata={"a": "b" * 2**19})
        await read(reading, used, "chat", large)
        process = reading._large._process
        assert process
        os.kill(process.pid, signal.SIGSTOP)
        first = asyncio.create_task(read(reading, used, "chat", large))
        waiting = asyncio.create_task(read(reading, used, "chat", large))
        while reading._large.held < 2 * len(large):
            await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.wait([waiting])
        assert reading._large.held == len(large)
        os.kill(process.pid, signal.SIGCONT)
        assert (await first).streamed is False
        assert reading._large.held == 0

    run(work)


def test_large_bodies_that_wait_refuse_no_small_request(monkeypatch: pytest.MonkeyPatch) -> None:
    async def work(reading: Intake) -> None:
        monkeypatch.setattr(lanes, "MAX_HELD", 1000)
        reading._large.held = 990
        with pytest.raises(EngineBusy):
            await read(reading, setup(PLAIN), "chat", body(metadata={"a": "b" * 2**19}))
        assert (await read(reading, setup(PLAIN), "chat", body())).streamed is False

    run(work)


def test_what_is_slow_by_the_clock_alone_is_nobodys_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    """The process does not answer, and has not used its time: a 503, and the template is not given up."""

    async def work(reading: Intake) -> None:
        used = setup(PLAIN)
        await read(reading, used, "chat", body())
        process = reading._small._process
        assert process
        os.kill(process.pid, signal.SIGSTOP)
        monkeypatch.setattr(lanes, "WALL_CLOCK_FACTOR", 0.01)
        with pytest.raises(ApiError) as caught:
            await read(reading, used, "chat", body())
        assert (caught.value.status, caught.value.type, caught.value.retry_after) == (503, "server_error", 1)
        monkeypatch.undo()
        assert await read(reading, used, "chat", body())

    run(work)


def test_an_idle_timer_does_not_end_a_process_that_was_just_used(monkeypatch: pytest.MonkeyPatch) -> None:
    async def work(reading: Intake) -> None:
        used = setup(PLAIN)
        large = body(metadata={"a": "b" * 2**19})
        await read(reading, used, "chat", large)
        timer = reading._large._idle_timer
        assert timer and not timer.cancelled()
        await read(reading, used, "chat", large)
        assert timer.cancelled() and reading._large._idle_timer is not timer

    run(work)
