"""Anthropic's Messages API over HTTP, by its own SDK: answers, streams, tools, errors and headers."""

import asyncio
import json
import re
from collections.abc import Iterator
from typing import Any

import anthropic
import httpx
import pytest
from anthropic import Anthropic, AsyncAnthropic, beta_tool
from running import CEILING, RunningServer

from nitro.api.anthropic import signatures
from nitro.api.anthropic.schema import EVENTS
from nitro.api.openapi.document import document

CALL = '<tool_call>\n{"name": "weather", "arguments": {"city": "Oslo"}}\n</tool_call>'
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
WEATHER: Any = {"name": "weather", "description": "Tells it.", "input_schema": SCHEMA}
THINKS: Any = {"thinking": {"type": "enabled", "budget_tokens": 1024}}


@pytest.fixture
def client(saying: RunningServer) -> Iterator[Anthropic]:
    with Anthropic(base_url=saying.url, api_key="none", max_retries=0, timeout=CEILING) as client:
        yield client


def asks(script: str, **more: Any) -> Any:
    """The arguments of a request whose answer is this script."""
    return {"model": "", "max_tokens": 200, "messages": [{"role": "user", "content": f"␂{script}␃"}], **more}


def both(client: Anthropic, script: str, **more: Any) -> Any:
    """The message, whole and as a stream, which are the same."""
    arguments = asks(script, **more)
    whole = client.messages.create(**arguments)
    with client.messages.stream(**arguments) as stream:
        streamed = stream.get_final_message()
    assert len({counted(message) for message in (whole, streamed)}) == 1
    told, again = (without_ids(message.model_dump(exclude_none=True)) for message in (whole, streamed))
    assert told == again
    return whole


def counted(message: Any) -> tuple[int, int]:
    """Tokens of the prompt, cached or not, and of the answer."""
    usage = message.usage
    prompt = usage.input_tokens + usage.cache_read_input_tokens + usage.cache_creation_input_tokens
    return prompt, usage.output_tokens


def without_ids(message: dict[str, Any]) -> dict[str, Any]:
    kept = {name: value for name, value in message.items() if name not in ("id", "usage")}
    for block in kept["content"]:
        block.pop("id", None)
    return kept


def test_a_text(client: Anthropic) -> None:
    message = both(client, "Hello, wörld 🌊")
    assert [block.text for block in message.content] == ["Hello, wörld 🌊"]
    assert (message.stop_reason, message.stop_sequence, message.role) == ("end_turn", None, "assistant")


def test_an_async_client(saying: RunningServer) -> None:
    async def ask() -> tuple[str, str]:
        async with AsyncAnthropic(base_url=saying.url, auth_token="none", max_retries=0) as client:
            whole = await client.messages.create(**asks("Hello"))
            async with client.messages.stream(**asks("Hello")) as stream:
                text = "".join([text async for text in stream.text_stream])
            return whole.content[0].text, text

    assert asyncio.run(ask()) == ("Hello", "Hello")


def test_thinking(client: Anthropic) -> None:
    message = both(client, "I add.</think>Four.", **THINKS)
    thought, text = message.content
    assert (thought.type, thought.thinking, text.text) == ("thinking", "I add.", "Four.")
    assert thought.signature and 0 < message.usage.output_tokens_details.thinking_tokens < message.usage.output_tokens
    history = [*asks("")["messages"], {"role": "assistant", "content": message.content}]
    again = client.messages.create(**asks("", messages=[*history, *asks("So.")["messages"]]))
    assert again.content[0].text == "So."


def test_thinking_that_is_not_shown_comes_back_in_its_signature(client: Anthropic) -> None:
    message = both(client, "I add.</think>Four.", thinking={"type": "adaptive", "display": "omitted"})
    thought, text = message.content
    assert (thought.thinking, text.text) == ("", "Four.")
    assert signatures.text_of("", thought.signature) == "I add."


def test_a_call_and_its_result(client: Anthropic) -> None:
    message = both(client, f"Let me see.{CALL}", tools=[WEATHER])
    text, call = message.content
    assert (text.text, message.stop_reason) == ("Let me see.", "tool_use")
    assert (call.type, call.name, call.input) == ("tool_use", "weather", {"city": "Oslo"})
    result = {"type": "tool_result", "tool_use_id": call.id, "content": "␂It rains.␃"}
    messages = [*asks("")["messages"], {"role": "assistant", "content": message.content}]
    messages.append({"role": "user", "content": [result]})
    assert both(client, "", messages=messages, tools=[WEATHER]).content[0].text == "It rains."


@pytest.mark.parametrize("choice", [{"type": "any"}, {"type": "tool", "name": "weather"}])
def test_a_call_that_must_be(client: Anthropic, choice: Any) -> None:
    message = both(client, CALL, tools=[WEATHER], tool_choice=choice)
    assert [block.type for block in message.content] == ["tool_use"] and message.stop_reason == "tool_use"


def test_several_calls_or_one(client: Anthropic) -> None:
    assert len(both(client, f"{CALL}\n{CALL}", tools=[WEATHER]).content) == 2
    choice: Any = {"type": "auto", "disable_parallel_tool_use": True}
    assert len(both(client, f"{CALL}\n{CALL}", tools=[WEATHER], tool_choice=choice).content) == 1


def test_the_tool_runner(client: Anthropic) -> None:
    asked = []

    @beta_tool
    def weather(city: str) -> str:
        """Tells the weather.

        Args:
            city: Its name.
        """
        asked.append(city)
        return "␂It rains.␃"

    runner = client.beta.messages.tool_runner(tools=[weather], **asks(CALL))
    assert runner.until_done().content[0].text == "It rains." and asked == ["Oslo"]


def test_a_schema(client: Anthropic) -> None:
    form: Any = {"format": {"type": "json_schema", "schema": SCHEMA}}
    assert json.loads(both(client, '{"city": "Oslo"}', output_config=form).content[0].text) == {"city": "Oslo"}


@pytest.mark.parametrize(
    ("more", "text", "reason", "sequence"),
    [
        ({"stop_sequences": ["l", "z"]}, "He", "stop_sequence", "l"),
        ({"stop_sequences": ["z"]}, "Hello", "end_turn", None),
        ({"max_tokens": 3}, "Hel", "max_tokens", None),
        ({"max_tokens": 32_000_000}, "Hello", "end_turn", None),
        ({"max_tokens": 0}, "", "max_tokens", None),
    ],
)
def test_why_it_ended(client: Anthropic, more: Any, text: str, reason: str, sequence: str | None) -> None:
    message = both(client, "Hello", **more)
    assert "".join(block.text for block in message.content) == text
    assert (message.stop_reason, message.stop_sequence) == (reason, sequence)


def test_the_context_ends_an_answer(serve) -> None:
    server = serve(context=64).ready()
    with Anthropic(base_url=server.url, api_key="none") as client:
        asked: Any = [{"role": "user", "content": "abc"}]
        message = client.messages.create(model="", max_tokens=32_000, messages=asked, timeout=CEILING)
    assert message.stop_reason == "model_context_window_exceeded"


def test_what_is_cached_is_no_input(client: Anthropic) -> None:
    arguments = asks("One.", system="A system prompt of some length. " * 20)
    first, second = (client.messages.create(**arguments).usage for _ in range(2))
    assert second.cache_read_input_tokens > 600 > second.input_tokens > 0
    assert first.input_tokens + first.cache_read_input_tokens == second.input_tokens + second.cache_read_input_tokens


def test_tokens_are_counted_as_usage_tells_them(client: Anthropic) -> None:
    asked = asks("Hello", system="Be brief.", tools=[WEATHER], **THINKS)
    prompt, _ = counted(client.messages.create(**asked))
    del asked["max_tokens"]
    assert client.messages.count_tokens(**asked).input_tokens == prompt
    with pytest.raises(anthropic.BadRequestError) as caught:
        client.messages.count_tokens(**{**asked, "messages": []})
    assert caught.value.type == "invalid_request_error"


def test_what_is_kept_in_the_cache_is_told(client: Anthropic) -> None:
    kept: Any = [{"type": "text", "text": "Kept. " * 100, "cache_control": {"type": "ephemeral", "ttl": "1h"}}]
    first = client.messages.create(**asks("One.", system=kept)).usage
    again = client.messages.create(**asks("Two, and more.", system=kept)).usage
    assert first.cache_creation_input_tokens > 600 and again.cache_read_input_tokens > 600
    assert again.cache_creation_input_tokens == 0 and again.input_tokens < 100


def events(server: RunningServer, **body: Any) -> list[dict[str, Any]]:
    """The events of a stream; each has its name and its data."""
    reply = httpx.post(f"{server.url}/v1/messages?beta=true", json={**body, "stream": True}, timeout=CEILING)
    assert reply.status_code == 200 and reply.headers["content-type"].startswith("text/event-stream")
    found = []
    for frame in reply.text.removesuffix("\n\n").split("\n\n"):
        name, data = frame.split("\n")
        found.append(json.loads(data.removeprefix("data: ")))
        assert name == f"event: {found[-1]['type']}"
    return found


def test_the_events_of_a_stream(saying: RunningServer) -> None:
    found = events(saying, **asks(f"Hm.</think>Well.{CALL}", tools=[WEATHER], **THINKS))
    kinds = [event["type"] for event in found]
    assert (kinds[0], kinds[-2:]) == ("message_start", ["message_delta", "message_stop"])
    assert found[0]["message"]["content"] == [] and found[0]["message"]["usage"]["input_tokens"] > 0
    begun = [(event["index"], event["content_block"]["type"]) for event in found if "content_block" in event]
    assert begun == [(0, "thinking"), (1, "text"), (2, "tool_use")]
    open_block, said = None, {0: "", 1: "", 2: ""}
    for event in found[1:-2]:
        match event["type"]:
            case "content_block_start":
                assert open_block is None
                open_block = event["index"]
            case "content_block_stop":
                assert open_block == event["index"]
                open_block = None
            case "content_block_delta":
                assert open_block == event["index"]
                kind = event["delta"]["type"]
                part = {"thinking_delta": "thinking", "text_delta": "text", "input_json_delta": "partial_json"}
                said[event["index"]] += event["delta"].get(part.get(kind, ""), "")
    assert said == {0: "Hm.", 1: "Well.", 2: '{"city": "Oslo"}'}
    assert [e["delta"]["type"] for e in found if "delta" in e and e.get("index") == 0][-1] == "signature_delta"
    assert set(kinds) | {"ping"} == {kind.__struct_config__.tag for kind in EVENTS}


def test_the_document_describes_them(saying: RunningServer) -> None:
    from jsonschema_rs import validator_for

    schemas = {kind.__struct_config__.tag: kind.__name__ for kind in EVENTS}
    for event in events(saying, **asks("Hm.</think>Well.", **THINKS)):
        check = validator_for({**document(), "$ref": f"#/components/schemas/{schemas[event['type']]}"})
        assert check.is_valid(event), event


def test_edits_of_the_context_are_told_in_the_reply(client: Anthropic) -> None:
    edits: Any = {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]}
    reply = client.beta.messages.create(**asks("Hello"), context_management=edits)
    assert reply.context_management is not None and reply.context_management.applied_edits == []


# Errors and headers


def test_errors_are_those_of_the_sdk(client: Anthropic) -> None:
    with pytest.raises(anthropic.BadRequestError) as caught:
        client.messages.create(**asks("", extra_body={"container": "c1"}))
    assert caught.value.type == "invalid_request_error" and "'container'" in str(caught.value.api_message)
    assert caught.value.body["error"]["details"] == {"error_code": "unsupported_parameter", "param": "container"}
    assert caught.value.request_id and caught.value.body["request_id"] == caught.value.request_id
    with pytest.raises(anthropic.NotFoundError) as missing:
        client.models.retrieve("nowhere")
    assert missing.value.type == "not_found_error"
    with pytest.raises(anthropic.NotFoundError):
        client.messages.batches.list()


def test_a_prompt_that_is_too_long_is_told_as_claude_code_reads_it(serve) -> None:
    server = serve(context=64).ready()
    body = {"max_tokens": 9, "messages": [{"role": "user", "content": "a" * 200}]}
    error = httpx.post(f"{server.url}/v1/messages", json=body).json()["error"]
    assert re.fullmatch(r"prompt is too long: \d{3} tokens > 64 maximum", error["message"])
    assert error["details"] == {"error_code": "context_length_exceeded", "param": "messages"}


def test_a_message_that_the_template_refuses_has_the_client_s_place(serve, tmp_path) -> None:
    template = tmp_path / "picky.jinja"
    refuses = "{% if 'nonsense' in m.content %}{{ raise_exception('No nonsense.') }}{% endif %}"
    template.write_text(f"{{% for m in messages %}}{refuses}{{{{ m.content }}}}{{% endfor %}}")
    server = serve(chat_template=template).ready()
    asked = {"max_tokens": 1, "system": "Be brief.", "messages": [{"role": "user", "content": "Some nonsense."}]}
    error = httpx.post(f"{server.url}/v1/messages", json=asked).json()["error"]
    assert error["details"]["param"] == "messages[0]" and "messages[0]" in error["message"]
    error = httpx.post(f"{server.url}/v1/messages", json={**asked, "system": "nonsense"}).json()["error"]
    assert error["details"]["param"] == "system", error


def test_keys_by_either_header(serve) -> None:
    server = serve(api_key="sk-ä").ready()
    url, body = f"{server.url}/v1/messages", {"max_tokens": 1, "messages": [{"role": "user", "content": "a"}]}
    key, bearer = {"x-api-key": "sk-ä"}, {"Authorization": "Bearer sk-ä"}
    for headers in (key, bearer, {**key, "Authorization": "Bearer x"}, {**bearer, "x-api-key": "x"}):
        encoded = {name: value.encode() for name, value in headers.items()}
        assert httpx.post(url, json=body, headers=encoded).status_code == 200
    for headers in ({}, {"x-api-key": "x"}, {"x-api-key": ""}, {"Authorization": "Basic x"}):
        reply = httpx.post(url, json=body, headers=headers)
        assert reply.status_code == 401 and reply.json()["error"]["type"] == "authentication_error"
        assert reply.json()["request_id"] == reply.headers["request-id"] == reply.headers["x-request-id"]
    reply = httpx.get(f"{server.url}/v1/models", headers={"anthropic-version": "2023-06-01"})
    assert reply.json()["error"]["type"] == "authentication_error"


def test_a_body_that_is_too_large(serve) -> None:
    server = serve(max_body=1).ready()
    reply = httpx.post(f"{server.url}/v1/messages", content=b" " * (2**20 + 1))
    assert (reply.status_code, reply.json()["error"]["type"]) == (413, "request_too_large")


def test_an_error_within_a_stream(gate, serve) -> None:
    server = serve(engine="runners:FaultyRunner").ready()
    (*_, last) = events(server, max_tokens=9, messages=[{"role": "user", "content": "!row"}])
    assert last["type"] == "error" and last["error"] == {"type": "api_error", "message": last["error"]["message"]}


def test_models(client: Anthropic) -> None:
    page = client.models.list(limit=1)
    (model,) = page.data
    assert (model.id, model.type, page.has_more) == ("SayingRunner", "model", False)
    assert model.created_at.year >= 1970 and model.max_input_tokens and model.lifecycle == "active"
    assert [each.id for each in client.models.list()] == ["SayingRunner"]
    assert client.models.retrieve("SayingRunner").display_name == "SayingRunner"
    assert client.models.list(after_id="SayingRunner").data == []
    with pytest.raises(anthropic.BadRequestError, match="after_id"):
        client.models.list(after_id="nowhere")
    for limit in ("0", "9" * 5000):
        with pytest.raises(anthropic.BadRequestError, match="'limit'"):
            client.models.list(extra_query={"limit": limit})


@pytest.mark.parametrize("path", ["/messages", "//v1/messages", "/v1/v1/messages?beta=true"])
def test_other_paths_and_headers(saying: RunningServer, path: str) -> None:
    headers = {"anthropic-version": "2019-01-01", "anthropic-beta": "a-2030-01-01,b"}
    reply = httpx.post(saying.url + path, json=asks("Hello"), headers=headers)
    assert reply.json()["content"] == [{"type": "text", "text": "Hello"}]
    assert reply.headers["request-id"] == reply.headers["x-request-id"]


def test_something_answers_at_the_root(saying: RunningServer) -> None:
    assert httpx.head(saying.url).status_code == 200 and "/v1" in httpx.get(saying.url).text
