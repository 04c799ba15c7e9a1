"""What a reply tells besides its text: token ids, timings, what came from the cache. The fake engine: token = byte."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from types import SimpleNamespace
from typing import Any

import httpx
import msgspec
import pytest
from asking import SAYING
from runners import Gate
from running import CEILING, RunningServer

from nitro.api.openai.renderer import timings_of
from nitro.service import ignored_parameters, request_log
from nitro.service.events import GenerationTimings

FIELDS = {"cache_n", "prompt_n", "prompt_ms", "prompt_per_token_ms", "prompt_per_second"}
FIELDS |= {"predicted_n", "predicted_ms", "predicted_per_token_ms", "predicted_per_second"}
ROUTES: dict[str, dict[str, Any]] = {
    "chat/completions": {"messages": [{"role": "user", "content": "hi"}]},
    "completions": {"prompt": "hi"},
}


@pytest.fixture(params=ROUTES)
def ask(request: pytest.FixtureRequest, fake_server: RunningServer) -> Callable[..., httpx.Response]:
    def ask(**options: Any) -> httpx.Response:
        body = {"max_tokens": 5, **ROUTES[request.param], **options}
        return httpx.post(f"{fake_server.url}/v1/{request.param}", json=body, timeout=CEILING)

    return ask


def chunks(reply: httpx.Response) -> list[dict[str, Any]]:
    lines = [line.removeprefix("data: ") for line in reply.text.splitlines() if line.startswith("data: ")]
    assert lines.pop() == "[DONE]"
    return [msgspec.json.decode(line) for line in lines]


def choices(replies: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    return (choice for reply in replies for choice in reply["choices"])


def text(choice: dict[str, Any]) -> str:
    part = choice.get("message") or choice.get("delta") or {"content": choice.get("text", "")}
    return part.get("content") or ""


def test_tokens(ask: Callable[..., httpx.Response]) -> None:
    (choice,) = ask(return_tokens=True).json()["choices"]
    assert bytes(choice["tokens"]).decode() == text(choice) and len(text(choice)) == 5
    streamed = [c for c in choices(chunks(ask(return_tokens=True, stream=True))) if c.get("tokens")]
    assert [t for c in streamed for t in c["tokens"]] == choice["tokens"]
    assert "".join(map(text, streamed)) == text(choice)


def test_the_tokens_of_a_text_that_is_held_back_or_cut(ask: Callable[..., httpx.Response]) -> None:
    """They are those that usage counts."""
    whole = text(ask().json()["choices"][0])
    options = {"return_tokens": True, "stop": whole[2:4]}
    reply = ask(**options).json()
    (choice,) = reply["choices"]
    assert text(choice) == whole[:2] and bytes(choice["tokens"]).decode() == whole[:4]
    assert reply["usage"]["completion_tokens"] == 4
    streamed = list(choices(chunks(ask(**options, stream=True))))
    assert [t for c in streamed for t in c.get("tokens", [])] == choice["tokens"]
    assert "".join(map(text, streamed)) == whole[:2]


def test_every_choice_has_its_own_tokens(ask: Callable[..., httpx.Response]) -> None:
    found: list[list[int]] = [[], [], []]
    for choice in choices(chunks(ask(return_tokens=True, stream=True, n=3))):
        found[choice["index"]] += choice.get("tokens", [])
    assert found == [choice["tokens"] for choice in ask(return_tokens=True, n=3).json()["choices"]]


def test_no_tokens_unless_asked(ask: Callable[..., httpx.Response]) -> None:
    assert '"tokens"' not in ask().text and '"tokens"' not in ask(stream=True, return_tokens=False).text


@pytest.fixture(params=ROUTES)
def timed(
    request: pytest.FixtureRequest, serve: Callable[..., RunningServer], gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., httpx.Response]:
    """Asks for an answer whose prompt is in the cache, whose first token comes alone, and whose every time is real:
    the clock goes on by a second whenever the server looks."""
    clock = SimpleNamespace(monotonic=map(float, count()).__next__, time=time.time)
    monkeypatch.setattr(request_log, "time", clock)
    server = serve(engine="runners:GatedRunner", model=gate.path)
    gate.accept()
    server.ready()
    prompt = {"prompt": "a" * 100, "messages": [{"role": "user", "content": "a" * 100}]}
    (name,) = ROUTES[request.param]

    def ask(**options: Any) -> httpx.Response:
        body = {name: prompt[name], "max_tokens": 50, "ignore_eos": True, **options}
        url = f"{server.url}/v1/{request.param}"
        with ThreadPoolExecutor(1) as pool:
            first = pool.submit(httpx.post, url, json={**body, "n": 1, "max_tokens": 1, "stream": False})
            gate.step(1)
            assert first.result().status_code == 200
            steps = len(server.engine.steps)
            asked = pool.submit(httpx.post, url, json=body, timeout=CEILING)
            gate.step(1)
            while len(server.engine.steps) == steps:  # the server has seen the first token
                httpx.get(f"{server.url}/health")
            gate.open()
            return asked.result()

    return ask


def assert_sound(timings: dict[str, Any], usage: dict[str, Any]) -> None:
    assert set(timings) == FIELDS
    cached = usage["prompt_tokens_details"]["cached_tokens"]
    assert 0 < cached < usage["prompt_tokens"]
    assert (timings["cache_n"], timings["prompt_n"]) == (cached, usage["prompt_tokens"] - cached)
    assert timings["predicted_n"] == usage["completion_tokens"] >= 50
    for kind, steps in (("prompt", timings["prompt_n"]), ("predicted", timings["predicted_n"] - 1)):
        spent = timings[f"{kind}_ms"]
        assert spent > 0
        assert timings[f"{kind}_per_token_ms"] == pytest.approx(spent / steps)
        assert timings[f"{kind}_per_second"] == pytest.approx(1e3 * steps / spent)


def test_what_timings_are_made_of() -> None:
    """The first token belongs to the prompt's time: four of five were drawn in these two seconds."""
    told = timings_of(GenerationTimings(3, 10, 0.5, 5, 2.0, drafted_tokens=6, accepted_tokens=4))
    assert msgspec.to_builtins(told) == {
        "cache_n": 3,
        "prompt_n": 10,
        "prompt_ms": 500,
        "prompt_per_token_ms": 50,
        "prompt_per_second": 20,
        "predicted_n": 5,
        "predicted_ms": 2000,
        "predicted_per_token_ms": 500,
        "predicted_per_second": 2,
        "draft_n": 6,
        "draft_n_accepted": 4,
    }
    nothing = msgspec.to_builtins(timings_of(GenerationTimings(0, 0, 0.0, 0, 0.0)))
    assert set(nothing) == FIELDS and set(nothing.values()) == {0}


@pytest.mark.parametrize("n", [1, 2])
def test_timings(timed: Callable[..., httpx.Response], n: int) -> None:
    reply = timed(n=n).json()
    assert_sound(reply["timings"], reply["usage"])


@pytest.mark.parametrize("usage", [True, False])
def test_the_last_chunk_has_timings(timed: Callable[..., httpx.Response], usage: bool) -> None:
    *others, last = chunks(timed(stream=True, stream_options={"include_usage": usage}))
    assert not any("timings" in chunk for chunk in others)
    assert (last["choices"] == []) == usage and last["timings"]["predicted_n"] == 50
    if usage:
        assert_sound(last["timings"], last["usage"])


def test_every_chunk_has_timings_if_asked(ask: Callable[..., httpx.Response]) -> None:
    sent = chunks(ask(stream=True, timings_per_token=True, max_tokens=5))
    counts = [chunk["timings"]["predicted_n"] for chunk in sent if any(map(text, chunk["choices"]))]
    assert counts == sorted(counts) and counts[-1] == 5 and counts


@pytest.mark.parametrize("included", [True, False])
def test_every_chunk_has_usage_if_asked(ask: Callable[..., httpx.Response], included: bool) -> None:
    """vLLM's continuous_usage_stats. Timings are asked for by another name."""
    options = {"continuous_usage_stats": True, "include_usage": included}
    sent = chunks(ask(stream=True, stream_options=options, max_tokens=5, n=2))
    usages = [chunk["usage"] for chunk in sent]
    counts = [usage["completion_tokens"] for usage in usages]
    assert counts == sorted(counts) and counts[-1] == 10
    whole = ask(max_tokens=5, n=2).json()["usage"]
    assert {usage["prompt_tokens"] for usage in usages} == {whole["prompt_tokens"]}
    assert all(
        usage["total_tokens"] == usage["prompt_tokens"] + count for usage, count in zip(usages, counts, strict=True)
    )
    assert (sent[-1]["choices"] == []) == included
    assert not any("timings" in chunk for chunk in sent[:-1])


def test_no_chunk_but_the_last_has_usage_unless_asked(ask: Callable[..., httpx.Response]) -> None:
    options = {"include_usage": True, "continuous_usage_stats": False}
    *others, last = chunks(ask(stream=True, stream_options=options))
    assert {chunk["usage"] for chunk in others} == {None} and last["usage"]["completion_tokens"] == 5
    assert not any("usage" in chunk for chunk in chunks(ask(stream=True)))


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("keep", [True, False])
def test_a_stop_token_ends_an_answer(ask: Callable[..., httpx.Response], stream: bool, keep: bool) -> None:
    """And the answer ends with its text, if that was asked for. The fake engine: token = byte."""
    whole = text(ask().json()["choices"][0])
    options = {"stop_token_ids": [ord(whole[3]), 7], "include_stop_str_in_output": keep, "return_tokens": True}
    reply = ask(**options, stream=stream)
    told = list(choices(chunks(reply))) if stream else reply.json()["choices"]
    until = whole.index(whole[3])
    assert "".join(map(text, told)) == whole[: until + keep]
    assert bytes(token for choice in told for token in choice.get("tokens", [])).decode() == whole[: until + 1]
    assert told[-1]["finish_reason"] == "stop"


def test_what_may_be_a_stop_string_is_passed_on_before_a_stop_token(ask: Callable[..., httpx.Response]) -> None:
    whole = text(ask().json()["choices"][0])
    stops = {"stop": whole[1:3] + "!", "stop_token_ids": [ord(whole[3])]}
    assert text(ask(**stops).json()["choices"][0]) == whole[:3]


@pytest.mark.parametrize("stream", [True, False])
def test_the_stop_string_is_told_if_asked(ask: Callable[..., httpx.Response], stream: bool) -> None:
    whole = text(ask().json()["choices"][0])
    reply = ask(stop=whole[2:4], include_stop_str_in_output=True, stream=stream)
    told = list(choices(chunks(reply))) if stream else reply.json()["choices"]
    assert "".join(map(text, told)) == whole[:4] and told[-1]["finish_reason"] == "stop"


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"stop_token_ids": [-1]}, "stop_token_ids[0]"),
        ({"stop_token_ids": [5] * 257}, "stop_token_ids"),
        ({"stop_token_ids": ["a"]}, "stop_token_ids[0]"),
        ({"stop_token_ids": [5], "min_tokens": 2}, "stop_token_ids"),
    ],
)
def test_wrong_stop_tokens(ask: Callable[..., httpx.Response], fields: dict[str, Any], param: str) -> None:
    reply = ask(**fields)
    assert (reply.status_code, reply.json()["error"]["param"]) == (400, param)


def test_no_part_of_a_prompt_comes_from_the_cache(fake_server: RunningServer) -> None:
    def cached(**options: Any) -> int:
        body = {"prompt": "0123456789" * 30, "max_tokens": 2, **options}
        usage = httpx.post(f"{fake_server.url}/v1/completions", json=body, timeout=CEILING).json()["usage"]
        count: int = usage["prompt_tokens_details"]["cached_tokens"]
        return count

    cached()
    assert cached() > 250
    assert cached(cache_prompt=False) == cached(cache_prompt=False, n=3) == 0
    assert cached(cache_prompt=True) > 250, "what was computed is kept"


def test_nor_from_a_prompt_in_flight(serve: Callable[..., RunningServer], gate: Gate) -> None:
    """Three choices are three prefills; without, they share one."""
    server = serve(engine="runners:GatedRunner", model=gate.path, parallel=4)
    gate.accept().open()
    server.ready()
    for cache, least, most in ((False, 3 * 1500, 3 * 1500 + 6), (True, 1, 1500 + 10)):
        server.engine.steps.clear()
        body = {"prompt": f"{cache}"[0] + "z" * 1499, "max_tokens": 2, "n": 3, "cache_prompt": cache}
        assert httpx.post(f"{server.url}/v1/completions", json=body, timeout=CEILING).status_code == 200
        computed = sum(row.stop - row.start for record in server.engine.steps for row in record.rows)
        assert least <= computed <= most


def function(name: str, parameters: dict[str, Any]) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "parameters": {"type": "object", **parameters}}}


ODD = {"properties": {"a": {"type": "string", "format": "nonsense"}}}


def ignored(server: RunningServer, **options: Any) -> str:
    body = {"messages": [{"role": "user", "content": "␂x␃"}], "max_tokens": 2, **options}
    reply = httpx.post(f"{server.url}/v1/chat/completions", json=body, timeout=CEILING)
    assert reply.status_code == 200, reply.text
    return reply.headers["x-nitro-ignored"]


def test_what_has_no_effect_is_told_in_one_list(serve: Callable[..., RunningServer]) -> None:
    """What the reader does not know, the model's name, what the template has no use for, what the format of calls and
    what the grammar let through: in this order, joined by commas, each once."""
    server = serve(engine=SAYING, tool_format="qwen3_coder").ready()
    tools = [function("f", {"properties": {"a": {"type": "integer"}}, "minProperties": 1}), function("g", ODD)]
    options = {"model": "gpt-4o", "zzz": 1, "chat_template_kwargs": {"x": 1}, "tools": tools, "tool_choice": "required"}
    told = ignored(server, **options)
    names = told.split(", ")
    assert names[:3] == ["zzz", "model", "chat_template_kwargs.x"]
    assert names[3].startswith("tools[0].function.parameters: tool 'f': minProperties (at /) is not enforced")
    assert "tools[1].function.parameters: " in names[4] and "nonsense" in told
    assert len(names) == 5


def test_a_list_that_is_too_long_for_a_header_is_cut(serve: Callable[..., RunningServer]) -> None:
    """The names come in the order of the request, as many as the header holds; nothing longer is ever sent."""
    server = serve().ready()
    options = {f"unknown_{number:05}": 1 for number in range(500)}
    told = ignored(server, **options)
    assert told == ", ".join(options)[: ignored_parameters.MAX_HEADER]
    assert ignored(server, **{"u" * 5000: 1}) == "u" * ignored_parameters.MAX_HEADER
