"""`POST /v1/responses` as the OpenAI SDK takes it: whole, as a stream of events, by its accumulators and parsers."""

import asyncio
import json
from typing import Any, get_args

import httpx
import msgspec
import openai
import pytest
from asking import SAYING
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import BaseModel, TypeAdapter
from running import RunningServer

from nitro.api.responses import events, schema
from nitro.api.responses.custom_input import CustomInput
from nitro.errors import ApiError

FUNCTION = {
    "type": "function",
    "name": "weather",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    "strict": False,
}
CUSTOM = {"type": "custom", "name": "run"}
SPACE = {"type": "namespace", "name": "files", "description": "", "tools": [FUNCTION | {"name": "read"}]}
TOOLS = [FUNCTION, CUSTOM, SPACE, {"type": "web_search"}]
THOUGHT = "<think>I think.</think>"


def call(name: str, arguments: dict[str, Any]) -> str:
    return f"<tool_call>\n{json.dumps({'name': name, 'arguments': arguments})}\n</tool_call>"


CALLS = [call("weather", {"city": "Oslo"}), call("run", {"input": 'a "b"'}), call("read", {})]
RICH = f"{THOUGHT}Words.\n" + "\n".join(CALLS)
ANY_EVENT = TypeAdapter(ResponseStreamEvent)  # which takes half a second to make


def ask(server: RunningServer, script: str, **options: Any) -> Response:
    client = server.client(_strict_response_validation=True)
    return client.responses.create(model="", input=f"␂{script}␃", store=False, **options)


def stream(server: RunningServer, script: str, **options: Any) -> list[dict[str, Any]]:
    """The events as they come over the wire, each held to the SDK's type."""
    body = {"input": f"␂{script}␃", "store": False, "stream": True, **options}
    reply = httpx.post(f"{server.url}/v1/responses", json=body, timeout=60)
    assert reply.status_code == 200 and reply.headers["content-type"].startswith("text/event-stream"), reply.text
    told = []
    for frame in reply.text.removesuffix("\n\n").split("\n\n"):
        kind, data = frame.split("\n")
        event = json.loads(data.removeprefix("data: "))
        assert kind == f"event: {event['type']}"
        told.append(event)
    for number, event in enumerate(told):
        assert event["sequence_number"] == number
        ANY_EVENT.validate_python(event, strict=True)
    return told


def short(told: list[dict[str, Any]]) -> list[str]:
    """Their types, with runs of deltas as one."""
    kinds = [event["type"].removeprefix("response.") for event in told]
    return [kind for i, kind in enumerate(kinds) if i == 0 or kind != kinds[i - 1] or not kind.endswith("delta")]


# Every field of every event, by the SDK's types

THEIRS: dict[str, type[BaseModel]] = {
    get_args(type.model_fields["type"].annotation)[0]: type for type in get_args(get_args(ResponseStreamEvent)[0])
}
OURS = {
    each.__struct_config__.tag: each
    for each in vars(events).values()
    if isinstance(each, type) and issubclass(each, events.Event) and each.__struct_config__.tag
}
MORE = {"response.function_call_arguments.done": {"name"}, "error": set()}  # what older SDKs want


def names_of(type: type[BaseModel]) -> tuple[set[str], set[str]]:
    """All of its fields, and those that are required."""
    fields = {field.alias or name: field.is_required() for name, field in type.model_fields.items()}
    return set(fields), {name for name, required in fields.items() if required}


@pytest.mark.parametrize("kind", OURS)
def test_an_event_has_the_fields_of_the_sdk_s(kind: str) -> None:
    every, required = names_of(THEIRS[kind])
    own = {"type", *OURS[kind].__struct_fields__}
    assert required <= own <= every | MORE.get(kind, set())


@pytest.mark.parametrize(
    "name",
    [
        "Response",
        "ResponseUsage",
        "OutputText",
        "MessageItem",
        "ReasoningItem",
        "FunctionCallItem",
        "CustomToolCallItem",
        "ResponseError",
    ],
)
def test_an_object_has_the_fields_of_the_sdk_s(name: str) -> None:
    from openai.types import responses

    theirs = {
        "Response": responses.Response,
        "ResponseUsage": responses.ResponseUsage,
        "OutputText": responses.ResponseOutputText,
        "MessageItem": responses.ResponseOutputMessage,
        "ReasoningItem": responses.ResponseReasoningItem,
        "FunctionCallItem": responses.ResponseFunctionToolCall,
        "CustomToolCallItem": responses.ResponseCustomToolCall,
        "ResponseError": responses.ResponseError,
    }
    every, required = names_of(theirs[name])
    own = {field.encode_name for field in msgspec.structs.fields(getattr(schema, name))} | {"type"}
    assert required <= own <= every | {"type", "store", "status"}


# Streams


def test_the_whole_sequence(saying: RunningServer) -> None:
    told = stream(saying, RICH, tools=TOOLS, reasoning={"summary": "auto"})
    assert short(told) == [
        "created",
        "in_progress",
        "output_item.added",
        "reasoning_summary_part.added",
        "reasoning_summary_text.delta",
        "reasoning_summary_text.done",
        "reasoning_summary_part.done",
        "output_item.done",
        "output_item.added",
        "content_part.added",
        "output_text.delta",
        "output_text.done",
        "content_part.done",
        "output_item.done",
        "output_item.added",
        "function_call_arguments.delta",
        "function_call_arguments.done",
        "output_item.done",
        "output_item.added",
        "custom_tool_call_input.delta",
        "custom_tool_call_input.done",
        "output_item.done",
        "output_item.added",
        "function_call_arguments.delta",
        "function_call_arguments.done",
        "output_item.done",
        "completed",
    ]
    last = told[-1]["response"]
    assert [item["type"] for item in last["output"]] == [
        "reasoning",
        "message",
        "function_call",
        "custom_tool_call",
        "function_call",
    ]
    done = [event for event in told if event["type"] == "response.output_item.done"]
    assert [event["item"] for event in done] == last["output"]
    assert [event["output_index"] for event in done] == list(range(5))
    assert last["output"][3]["input"] == 'a "b"' and last["output"][4]["namespace"] == "files"
    assert {event["response"]["id"] for event in (told[0], told[1], told[-1])} == {last["id"]}
    assert last["tools"] == TOOLS[:3]
    for event in told:  # all that belongs to an item names it
        if "item_id" in event:
            assert event["item_id"] == last["output"][event["output_index"]]["id"]


def deltas(told: list[dict[str, Any]], index: int) -> str:
    return "".join(e["delta"] for e in told if e.get("output_index") == index and "delta" in e)


def test_deltas_make_the_items(saying: RunningServer) -> None:
    told = stream(saying, RICH, tools=TOOLS)
    output = told[-1]["response"]["output"]
    whole = ["I think.", "Words.", '{"city": "Oslo"}', 'a "b"', "{}"]
    assert [deltas(told, index) for index in range(5)] == whole
    assert output[0]["content"] == [{"type": "reasoning_text", "text": "I think."}] and output[0]["summary"] == []
    assert "reasoning_text.delta" in short(told) and "reasoning_summary_text.delta" not in short(told)


def test_a_stream_tells_what_the_whole_tells(saying: RunningServer) -> None:
    def told(item: dict[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in item.items() if name not in ("id", "call_id")}

    mixed = f"{THOUGHT}{CALLS[0]}\nBetween.\n{CALLS[1]}\nAfter."
    for script in ("Hello.", RICH, THOUGHT, mixed, ""):
        whole = ask(saying, script, tools=TOOLS).to_dict()
        last = stream(saying, script, tools=TOOLS)[-1]["response"]
        assert list(map(told, whole["output"])) == list(map(told, last["output"])), script  # type: ignore[arg-type]
        assert whole["usage"]["output_tokens"] == last["usage"]["output_tokens"]  # type: ignore[index]


def test_an_empty_answer_is_an_empty_message(saying: RunningServer) -> None:
    reply = ask(saying, "")
    assert reply.output_text == "" and reply.output[0].type == "message" and reply.status == "completed"


@pytest.mark.parametrize("streamed", [False, True])
def test_an_answer_that_is_cut_is_incomplete(saying: RunningServer, streamed: bool) -> None:
    options = {"max_output_tokens": 3}
    if streamed:
        told = stream(saying, "Hello.", **options)
        assert short(told)[-1] == "incomplete"
        reply = told[-1]["response"]
    else:
        reply = ask(saying, "Hello.", **options).to_dict()
    assert reply["status"] == "incomplete" and reply["incomplete_details"] == {"reason": "max_output_tokens"}
    assert reply["output"][0]["status"] == "incomplete" and reply["output"][0]["content"][0]["text"] == "Hel"
    assert reply["completed_at"] is None and reply["usage"]["output_tokens"] == 3


def test_reasoning_that_is_cut(saying: RunningServer) -> None:
    (item,) = ask(saying, THOUGHT, max_output_tokens=9).output
    assert item.type == "reasoning" and item.status == "incomplete"


def test_the_oldest_items_are_left_out_where_that_is_asked_for(saying: RunningServer) -> None:
    turns = [
        {"role": role, "content": f"{role} {i} " + "x" * 500} for i in range(200) for role in ("user", "assistant")
    ]
    items = [{"role": "developer", "content": "Stay."}, *turns, {"role": "user", "content": "␂Yes.␃"}]
    options = {"model": "", "input": items, "store": False}
    with pytest.raises(openai.BadRequestError) as caught:
        saying.client().responses.create(**options)
    assert caught.value.code == "context_length_exceeded"
    reply = saying.client().responses.create(**options, truncation="auto")
    context = saying.client().models.list().data[0].context_length  # type: ignore[attr-defined]
    assert reply.output_text == "Yes." and context / 3 < reply.usage.input_tokens < context
    with pytest.raises(openai.BadRequestError):  # the last one stays
        saying.client().responses.create(model="", input="x" * 200_000, store=False, truncation="auto")


def test_what_is_left_out() -> None:
    from nitro.service.intake.shortened import shortened

    def said(role: str, **more: Any) -> dict[str, Any]:
        return {"role": role, "content": [{"type": "text", "text": "x" * 100}], **more}

    roles = ["system", "user", "assistant", "tool", "tool", "assistant", "user", "assistant", "tool"]
    messages = [said(role) for role in roles]
    assert shortened(messages, 1.0) == messages
    assert [m["role"] for m in shortened(messages, 0.75)] == ["system", "assistant", "user", "assistant", "tool"]
    assert [m["role"] for m in shortened(messages, 0.0)] == ["system", "user", "assistant", "tool"]


# The SDK's helpers


class Person(BaseModel):
    name: str
    age: int


ANNA = '{"name": "Anna", "age": 30}'


def test_the_accumulator(saying: RunningServer) -> None:
    client = saying.client()
    with client.responses.stream(model="", input=f"␂{RICH}␃", tools=TOOLS) as events:
        kinds = [event.type for event in events]
        final = events.get_final_response()
    assert kinds[0] == "response.created" and kinds[-1] == "response.completed"
    assert final.output_text == "Words." and final.output[2].type == "function_call"
    assert final.output[2].arguments == '{"city": "Oslo"}'
    with client.responses.stream(model="", input=f"␂{ANNA}␃", text_format=Person) as events:
        assert events.get_final_response().output_parsed == Person(name="Anna", age=30)


def test_the_asynchronous_accumulator(saying: RunningServer) -> None:
    async def final() -> Any:
        async with (
            openai.AsyncOpenAI(base_url=f"{saying.url}/v1", api_key="none") as client,
            client.responses.stream(model="", input=f"␂{RICH}␃", tools=TOOLS) as events,
        ):
            texts = [event.snapshot async for event in events if event.type == "response.output_text.delta"]
            return texts, await events.get_final_response()

    texts, response = asyncio.run(final())
    assert texts[-1] == "Words." == response.output_text


def test_parse(saying: RunningServer) -> None:
    reply = saying.client().responses.parse(model="", input=f"␂{ANNA}␃", text_format=Person)
    assert reply.output_parsed == Person(name="Anna", age=30)
    tool = openai.pydantic_function_tool(Person)["function"]
    person = {"type": "function", "strict": True, "name": "Person", "parameters": tool["parameters"]}
    made = call("Person", json.loads(ANNA))
    reply = saying.client().responses.parse(model="", input=f"␂{made}␃", tools=[person])
    assert reply.output[0].type == "function_call" and json.loads(reply.output[0].arguments) == json.loads(ANNA)


def test_an_output_goes_back_as_input(saying: RunningServer) -> None:
    first = ask(saying, RICH, tools=TOOLS, reasoning={"summary": "auto"}, include=["reasoning.encrypted_content"])
    results = [
        {"type": f"{each.type}_output", "call_id": each.call_id, "output": "␂Cold.␃"}
        for each in first.output
        if each.type in ("function_call", "custom_tool_call")
    ]
    client = saying.client()
    items = [{"role": "user", "content": "Hello."}, *first.output, *results]
    raw = client.responses.with_raw_response.create(model="", input=items, tools=TOOLS, store=False)
    assert (
        raw.parse().output_text == "Cold."
        and raw.headers["x-nitro-ignored"] == "tools[3].type: web_search cannot run here"
    )
    assert first.output[0].encrypted_content


# What comes with a reply


def test_logprobs(saying: RunningServer) -> None:
    include = ["message.output_text.logprobs"]
    part = ask(saying, f"{THOUGHT}Hi", include=include, top_logprobs=2).output[1].content[0]
    assert [entry.token for entry in part.logprobs] == ["H", "i"] and len(part.logprobs[0].top_logprobs) == 2
    assert bytes(part.logprobs[0].bytes) == b"H"
    told = stream(saying, f"{THOUGHT}Hi", include=include)
    scored = [event["logprobs"] for event in told if event["type"] == "response.output_text.delta"]
    assert [entry["token"] for each in scored for entry in each] == ["H", "i"]
    assert ask(saying, "Hi").output[0].content[0].logprobs == []


def test_what_was_asked_comes_back(saying: RunningServer) -> None:
    given = {
        "instructions": "Be brief.",
        "max_output_tokens": 50,
        "max_tool_calls": 3,
        "metadata": {"a": "b"},
        "parallel_tool_calls": False,
        "prompt_cache_key": "key",
        "reasoning": {"effort": "low", "summary": "auto"},
        "safety_identifier": "who",
        "temperature": 0.5,
        "text": {"format": {"type": "json_object"}, "verbosity": "low"},
        "tool_choice": {"type": "function", "name": "weather"},
        "tools": [FUNCTION],
        "top_logprobs": 1,
        "top_p": 0.5,
        "truncation": "disabled",
        "user": "me",
    }
    del given["text"]["format"]  # type: ignore[attr-defined]
    reply = ask(saying, call("weather", {"city": "Oslo"}), **given).to_dict()
    for name, value in given.items():
        told = reply[name]
        assert (told | value if isinstance(value, dict) else told) == told, name
    assert reply["service_tier"] == "default" and reply["background"] is False and reply["error"] is None


def test_a_format_comes_back_as_the_sdk_has_it(saying: RunningServer) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}}
    inner = {"name": "x", "schema": schema, "strict": True}
    for given in ({"text": {"format": {"type": "json_schema", **inner}}}, {"extra_body": _chats(inner)}):
        assert ask(saying, '{"a": 1}', **given).text.format.to_dict() == {"type": "json_schema", **inner}


def _chats(inner: dict[str, Any]) -> dict[str, Any]:
    return {"response_format": {"type": "json_schema", "json_schema": inner}}


def test_usage(saying: RunningServer) -> None:
    usage = ask(saying, f"{THOUGHT}Hi").usage
    assert usage and usage.total_tokens == usage.input_tokens + usage.output_tokens
    assert 0 < usage.output_tokens_details.reasoning_tokens < usage.output_tokens


# Faults


def test_a_refusal_before_the_reply(saying: RunningServer) -> None:
    for streamed in (False, True):
        with pytest.raises(openai.BadRequestError) as caught:
            ask(saying, "a", temperature=-1, stream=streamed)
        assert caught.value.param == "temperature" and caught.value.type == "invalid_request_error"
    with pytest.raises(openai.BadRequestError) as caught:
        ask(saying, "a" * 200_000)
    assert caught.value.code == "context_length_exceeded" and caught.value.param == "input"


def test_a_fault_in_the_middle_is_a_failed_response() -> None:
    from nitro.api.responses import reply_options
    from nitro.api.responses.keeping import Keeping, KeptResponse
    from nitro.api.responses.renderer import ResponsesRenderer
    from nitro.service.events import Started, TextDelta

    kept: list[KeptResponse] = []
    keeping = Keeping(store=True, keep=kept.append)
    renderer = ResponsesRenderer(
        Started("m", "fp", 1, 1, 5), reply_options.encode(reply_options.ReplyOptions()), keeping
    )
    data = renderer.opening() + renderer.events([TextDelta(0, "Hel")])
    data += renderer.error(ApiError(500, "It broke.", type="server_error")) + renderer.closing()
    told = [json.loads(frame.split("data: ")[1]) for frame in data.decode().strip().split("\n\n")]
    assert [event["sequence_number"] for event in told] == list(range(len(told)))
    last = ANY_EVENT.validate_python(told[-1])
    assert last.type == "response.failed" and last.response.error.code == "server_error"
    assert last.response.output[0].content[0].text == "Hel" and last.response.output[0].status == "incomplete"
    assert [(each.status, json.loads(each.body)["id"]) for each in kept] == [("failed", last.response.id)]


def test_strict_servers_refuse_hosted_tools(serve: Any) -> None:
    server = serve(engine=SAYING, strict=True)
    body = {"input": "␂Hi␃", "tools": [FUNCTION, {"type": "web_search"}], "store": False}
    reply = httpx.post(f"{server.url}/v1/responses", json=body, timeout=60)
    assert reply.status_code == 400 and reply.json()["error"]["param"] == "tools[1].type"


# Pieces of a custom tool's input


@pytest.mark.parametrize("said", ["", "a", 'x "y" \\ \n\t/ é 😀 \u0001', "line\n" * 5])
@pytest.mark.parametrize("ascii", [True, False])
def test_an_input_is_read_however_its_arguments_are_cut(said: str, ascii: bool) -> None:
    arguments = json.dumps({"input": said}, ensure_ascii=ascii)
    for size in (1, 2, 3, 7, 1000):
        reader = CustomInput()
        pieces = [reader.feed(arguments[at : at + size]) for at in range(0, len(arguments), size)]
        assert "".join([*pieces, reader.flush()]) == said


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ('{ "input" : "a"}', "a"),
        ('{"other": 1, "input": "a"}', "a"),
        ('{"other": 1}', '{"other": 1}'),
        ("no JSON", "no JSON"),
        ('{"input": "a\\x', "a\\x"),
        ('{"input": "cut \\u00', "cut "),
        ('{"input": "\\ud83d."}', "?."),
    ],
)
def test_arguments_in_other_forms(arguments: str, said: str) -> None:
    for size in (1, 100):
        reader = CustomInput()
        pieces = [reader.feed(arguments[at : at + size]) for at in range(0, len(arguments), size)]
        assert "".join([*pieces, reader.flush()]) == said
