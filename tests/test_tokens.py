"""Tokens without a generation: counted, listed, turned into text, and the prompt itself, on both engines.

What is counted is what a generation of the same request says in its usage.
"""

import os
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from runners import Gate
from running import CEILING, RunningServer

HELLO = [{"role": "user", "content": "Hello, wörld 🌊"}]
TOOLS = [
    {"type": "function", "function": {"name": "count", "description": "Counts.", "parameters": {"type": "object"}}}
]


def post(server: RunningServer, path: str, **body: Any) -> httpx.Response:
    return httpx.post(server.url + path, json=body, timeout=CEILING)


def reply(server: RunningServer, path: str, **body: Any) -> Any:
    response = post(server, path, **body)
    assert response.status_code == 200, response.text
    return response.json()


def refusal(server: RunningServer, path: str, **body: Any) -> tuple[str | None, str | None]:
    response = post(server, path, **body)
    assert response.status_code == 400, response.text
    return response.json()["error"]["param"], response.json()["error"]["code"]


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"tools": TOOLS},
        {"messages": [{"role": "system", "content": "Be brief."}, *HELLO, {"role": "assistant", "content": "Well, "}]},
        {"tools": TOOLS, "tool_choice": "required", "enable_thinking": False},
        {"response_format": {"type": "json_object"}, "n": 2},
    ],
)
def test_a_conversation_is_counted_as_its_usage_counts_it(server: RunningServer, fields: dict[str, Any]) -> None:
    body = {"messages": HELLO, **fields}
    told = reply(server, "/v1/chat/completions", **body, max_tokens=1)
    counted = reply(server, "/v1/chat/completions/input_tokens", **body)
    assert counted == {"input_tokens": told["usage"]["prompt_tokens"], "object": "response.input_tokens"}
    prompt = reply(server, "/apply-template", **body)["prompt"]
    tokens = reply(server, "/tokenize", content=prompt)["tokens"]
    assert len(tokens) == told["usage"]["prompt_tokens"]
    assert reply(server, "/detokenize", tokens=tokens) == {"content": prompt}


def test_anthropics_and_the_responses_api_count_the_same(server: RunningServer) -> None:
    told = reply(server, "/v1/messages", messages=HELLO, max_tokens=1, model="")["usage"]
    counts = told["input_tokens"], told["cache_read_input_tokens"], told["cache_creation_input_tokens"]
    tool = {"name": "count", "description": "Counts.", "input_schema": {"type": "object"}}
    assert reply(server, "/v1/messages/count_tokens", messages=HELLO, model="") == {"input_tokens": sum(counts)}
    body = {"messages": HELLO, "model": "", "tools": [tool]}
    told = reply(server, "/v1/messages", **body, max_tokens=1)["usage"]
    counted = reply(server, "/v1/messages/count_tokens", **body)["input_tokens"]
    assert counted == told["input_tokens"] + told["cache_read_input_tokens"] > sum(counts)
    told = reply(server, "/v1/responses", input=HELLO, max_output_tokens=16, store=False)["usage"]
    counted = reply(server, "/v1/responses/input_tokens", input=HELLO)
    assert counted == {"input_tokens": told["input_tokens"], "object": "response.input_tokens"}


def test_what_a_response_goes_on_with_is_counted(server: RunningServer) -> None:
    first = reply(server, "/v1/responses", input="Hello.", max_output_tokens=16)["id"]
    counted = reply(server, "/v1/responses/input_tokens", input="And?", previous_response_id=first)["input_tokens"]
    told = reply(server, "/v1/responses", input="And?", previous_response_id=first, max_output_tokens=16)
    assert counted == told["usage"]["input_tokens"]
    response = post(server, "/v1/responses/input_tokens", input="And?", previous_response_id="resp_none")
    assert response.status_code == 404


def test_anthropic_marks_what_stays(server: RunningServer) -> None:
    """What is written to the cache is read from it, and neither is input."""
    text = "You watch the river, and you write down each and every ship that comes by, whatever it carries."
    system = [{"type": "text", "text": text, "cache_control": {"type": "ephemeral", "ttl": "1h"}}]
    body = {"system": system, "max_tokens": 1, "model": ""}
    counts = []
    for question in ("Who came?", "Who left, and when?"):
        asked = {"messages": [{"role": "user", "content": question}], **body}
        told = reply(server, "/v1/messages", **asked)["usage"]
        counts.append([told[f"{name}input_tokens"] for name in ("", "cache_creation_", "cache_read_")])
        assert sum(counts[-1]) == reply(server, "/v1/messages/count_tokens", **asked)["input_tokens"]
    (_, written, before), (_, again, found) = counts
    assert written > 20 and again == 0 and found >= written + before
    wrong = [{**system[0], "cache_control": {"type": "ephemeral", "ttl": "2h"}}]
    response = post(server, "/v1/messages", messages=HELLO, max_tokens=1, system=wrong)
    assert response.status_code == 400 and "system[0].cache_control.ttl" in response.text


# llama-server's routes


def test_pieces_are_texts_or_bytes(server: RunningServer) -> None:
    told = reply(server, "/tokenize", content="a 🌊", with_pieces=True)["tokens"]
    data = b"".join(bytes(t["piece"]) if isinstance(t["piece"], list) else t["piece"].encode() for t in told)
    assert data == "a 🌊".encode() and any(isinstance(token["piece"], list) for token in told)
    assert [token["id"] for token in told] == reply(server, "/tokenize", content="a 🌊")["tokens"]
    assert reply(server, "/tokenize", content="") == {"tokens": []}


def test_control_tokens_are_parsed_unless_told(server: RunningServer) -> None:
    (one,) = reply(server, "/tokenize", content="<|im_end|>")["tokens"]
    several = reply(server, "/tokenize", content="<|im_end|>", parse_special=False)["tokens"]
    assert one not in several and len(several) > 3
    for tokens in ([one], several):
        assert reply(server, "/detokenize", tokens=tokens) == {"content": "<|im_end|>"}


def test_a_content_of_texts_and_tokens(server: RunningServer) -> None:
    ship = reply(server, "/tokenize", content="ship")["tokens"]
    assert reply(server, "/tokenize", content=["ship", 5, 6, "ship"])["tokens"] == [*ship, 5, 6, *ship]
    assert reply(server, "/tokenize", prompt="ship", add_special_tokens=False)["tokens"] == ship, "as vLLM has it"


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        ("/tokenize", {}, "content"),
        ("/tokenize", {"content": 5}, "content"),
        ("/tokenize", {"content": ["a", -1]}, "content[1]"),
        ("/tokenize", {"content": [10**9]}, "content"),
        ("/tokenize", {"content": "a", "with_pieces": []}, "with_pieces"),
        ("/tokenize", {"messages": HELLO}, "messages"),
        ("/tokenize", {"content": "a " * 200_000}, "content"),
        ("/detokenize", {}, "tokens"),
        ("/detokenize", {"tokens": "a"}, "tokens"),
        ("/detokenize", {"tokens": [1, 2**40]}, "tokens[1]"),
        ("/detokenize", {"tokens": [10**6]}, "tokens"),
        ("/detokenize", {"tokens": [1] * 600}, "tokens"),
        ("/apply-template", {"messages": []}, "messages"),
        ("/apply-template", {"messages": HELLO, "top_k": -5}, "top_k"),
        ("/v1/chat/completions/input_tokens", {"messages": [{"role": "king"}]}, "messages[0].role"),
        ("/v1/chat/completions/input_tokens", {"messages": [{"role": "user", "content": "a " * 200_000}]}, "messages"),
    ],
)
def test_what_is_wrong_is_named(server: RunningServer, path: str, body: dict[str, Any], param: str) -> None:
    assert refusal(server, path, **body)[0] == param


def test_a_prompt_that_leaves_no_room_is_counted(server: RunningServer) -> None:
    talk = [{"role": "user", "content": "ship " * 500}]
    assert refusal(server, "/v1/chat/completions", messages=talk)[1] == "context_length_exceeded"
    assert reply(server, "/v1/chat/completions/input_tokens", messages=talk)["input_tokens"] > 512


def test_what_has_no_effect_is_listed(server: RunningServer) -> None:
    response = post(server, "/tokenize", content="a", foo=1, model="other")
    assert set(response.headers["x-nitro-ignored"].split(", ")) == {"foo", "model"}
    response = post(server, "/v1/chat/completions/input_tokens", messages=HELLO, foo=1)
    assert response.headers["x-nitro-ignored"] == "foo"


def test_a_question_ends_with_its_engine(serve: Callable[..., RunningServer], gate: Gate) -> None:
    server = serve(engine="runners:PonderingRunner", model=gate.path)
    gate.accept()
    server.ready()
    with ThreadPoolExecutor(1) as pool:
        asking = pool.submit(post, server, "/tokenize", content="abc")
        gate.wait_inside()
        os.kill(server.engine.pid, signal.SIGKILL)
        response = asking.result(CEILING)
    assert (response.status_code, response.json()["error"]["code"]) == (503, "engine_died")
