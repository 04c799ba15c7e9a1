"""The service on a running server: nothing stays behind a generation, however it ends; requests need no protocol."""

import asyncio
import dataclasses
import json
import time
from collections.abc import Callable
from types import SimpleNamespace

import httpx
import pytest
from runners import Gate
from running import CEILING, RunningServer, raw_request

from nitro.api.openai import chat
from nitro.engines.types import SamplingParams
from nitro.errors import ApiError
from nitro.service import request_log
from nitro.service.events import Done, Event, Finished, TextDelta
from nitro.service.generation import GenerationService
from nitro.service.renderer import Renderer
from nitro.service.requests import Conversation, GenerationRequest, Principal, Texts, text_part

CHAT = {"messages": [{"role": "user", "content": "a"}], "max_tokens": 3}


@pytest.fixture
def server(serve: Callable[..., RunningServer]) -> RunningServer:
    return serve().ready()


def url(server: RunningServer) -> str:
    return f"{server.url}/v1/chat/completions"


def released(server: RunningServer) -> bool:
    """Whether all leases are given back soon, and no generation is open."""
    models, engine = server.server.models, server.engine

    async def wait() -> bool:
        async with asyncio.timeout(CEILING):
            while models.default.leases or engine.generations.open:
                await asyncio.sleep(0)
        return True

    return bool(server.run(wait()))


def test_a_whole_reply_and_a_stream_leave_nothing(server: RunningServer) -> None:
    assert httpx.post(url(server), json=CHAT, timeout=CEILING).status_code == 200
    assert "[DONE]" in httpx.post(url(server), json={**CHAT, "stream": True}, timeout=CEILING).text
    assert httpx.post(url(server), json={**CHAT, "temperature": -1}, timeout=CEILING).status_code == 400
    assert released(server)


def test_a_client_that_leaves_its_stream_leaves_nothing(serve: Callable[..., RunningServer], gate: Gate) -> None:
    """It leaves while the engine computes."""
    server = serve(engine="runners:GatedRunner", model=gate.path)
    gate.accept()
    server.ready()
    sock = raw_request(server.url, json.dumps({**CHAT, "stream": True}).encode())
    gate.wait_inside()
    assert server.server.models.default.leases == 1
    sock.close()
    gate.open()
    assert released(server)


def test_a_renderer_that_cannot_be_made_leaves_nothing(server: RunningServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bug of a renderer is a 500."""

    def broken(*_: object) -> Renderer:
        raise ValueError("no renderer, says the test")

    monkeypatch.setattr(chat, "CHAT", dataclasses.replace(chat.CHAT, renderer=broken))
    reply = httpx.post(url(server), json={**CHAT, "max_tokens": 4000}, timeout=CEILING)
    assert reply.status_code == 500 and "says the test" in reply.json()["error"]["message"]
    assert released(server)


def events(server: RunningServer, request: GenerationRequest) -> list[Event]:
    """All that happens in a generation that comes over no protocol."""
    service: GenerationService = server.server.service

    async def consumed() -> list[Event]:
        stream = await service.generate(request, Principal("req_test", asyncio.get_running_loop().create_future()))
        found: list[Event] = []
        try:
            while (burst := await stream.next()) is not None:
                found += burst
        finally:
            stream.release()
        return found

    return list(server.run(consumed()))


GREEDY = SamplingParams(temperature=0)


@pytest.mark.parametrize(
    "prompt",
    [Texts(texts=["abc"]), Conversation(messages=[{"role": "user", "content": [text_part("ab"), text_part("c")]}])],
)
def test_a_request_needs_no_protocol(server: RunningServer, prompt: Texts | Conversation) -> None:
    """The same text as over HTTP, in events."""
    found = events(server, GenerationRequest(prompt=prompt, sampling=GREEDY, max_tokens=3))
    text = "".join(event.text for event in found if isinstance(event, TextDelta))
    if isinstance(prompt, Texts):
        reply = httpx.post(f"{server.url}/v1/completions", json={"prompt": "abc", "temperature": 0, "max_tokens": 3})
        assert text == reply.json()["choices"][0]["text"]
    else:
        messages = [{"role": "user", "content": [{"type": "text", "text": "ab"}, {"type": "text", "text": "c"}]}]
        reply = httpx.post(url(server), json={"messages": messages, "temperature": 0, "max_tokens": 3})
        assert text == reply.json()["choices"][0]["message"]["content"]
    assert found[-2] == Finished(0, "length")
    assert isinstance(found[-1], Done) and found[-1].usage.completion_tokens == 3
    assert released(server)


def test_what_is_refused_is_an_error_that_names_the_protocols_parameter(server: RunningServer) -> None:
    request = GenerationRequest(
        prompt=Texts(texts=["a" * 10_000]), sampling=GREEDY, param_names={"prompt": "contents"}, stream=True
    )
    with pytest.raises(ApiError) as caught:
        events(server, request)
    assert (caught.value.status, caught.value.param) == (400, "contents")
    assert released(server)


def test_the_time_of_an_upload_is_not_the_prompts(server: RunningServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A body that comes an hour after its head."""
    clock = iter([0.0, *([3600.0] * 100)])
    monkeypatch.setattr(request_log, "time", SimpleNamespace(monotonic=lambda: next(clock), time=time.time))
    timings = httpx.post(url(server), json=CHAT, timeout=CEILING).json()["timings"]
    assert timings["prompt_ms"] < 1e6
