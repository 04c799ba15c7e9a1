"""Tools: every form of a request, calls in answers that a script says, calls that a grammar forces out of any model;
through the OpenAI SDK."""

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import openai
import pytest
from asking import SAYING, Told, ask, both
from running import RunningServer

from nitro.errors import ApiError
from nitro.service.answer_constraint import unenforced_tools, with_tools
from nitro.service.requests import OfferedTools
from nitro.text.family import ModelFamily
from nitro.text.tool_formats import history, known
from nitro.text.tool_grammar import CallableTool
from nitro.text.tools import Tool

WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather in a city.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string", "maxLength": 20}, "unit": {"enum": ["c", "f"]}},
            "required": ["city", "unit"],
            "additionalProperties": False,
        },
    },
}
CLOCK = {"type": "function", "function": {"name": "get_time"}}
CALL = '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Oslo", "unit": "c"}}\n</tool_call>'
ARGUMENTS = '{"city": "Oslo", "unit": "c"}'


SAID = {
    "a call": (CALL, "", "", [["get_weather", ARGUMENTS]]),
    "text around it": (f"Let me see.\n{CALL}\nDone.", "Let me see.\nDone.", "", [["get_weather", ARGUMENTS]]),
    "two": (f"{CALL}\n{CALL}", "", "", [["get_weather", ARGUMENTS]] * 2),
    "no call": ("It is <cold>.", "It is <cold>.", "", []),
    "reasoning first": (f"<think>\nHm. \n</think>\n\n{CALL}", "", "Hm.", [["get_weather", ARGUMENTS]]),
    "a call in the reasoning": (f"<think>{CALL}</think>No.", "No.", CALL, []),
    "malformed": ('<tool_call>{"name": 5}</tool_call>', '<tool_call>{"name": 5}</tool_call>', "", []),
    "not finished": (CALL[:40], CALL[:40], "", []),
    "without its end": (CALL[:-13], "", "", [["get_weather", ARGUMENTS]]),
    "its marks in an argument": (
        '<tool_call>{"name": "f", "arguments": {"a": "</tool_call>\\"<tool_call> ř \\u0159"}}</tool_call>',
        "",
        "",
        [["f", '{"a": "</tool_call>\\"<tool_call> ř \\u0159"}']],
    ),
    "a raw line break": (
        '<tool_call>{"name": "f", "arguments": {"a": "x\ny"}}</tool_call>',
        "",
        "",
        [["f", '{"a": "x\\ny"}']],
    ),
}


@pytest.mark.parametrize("name", SAID)
def test_what_is_said_is_read(saying: RunningServer, name: str) -> None:
    script, content, reasoning, calls = SAID[name]
    told = both(saying, script, tools=[WEATHER, CLOCK])
    assert (told.content, told.reasoning, told.calls) == (content, reasoning, calls)
    assert told.finish == ("tool_calls" if calls else "stop")


def test_without_tools_nothing_is_a_call(saying: RunningServer) -> None:
    assert both(saying, CALL).content == CALL
    assert both(saying, CALL, tools=[WEATHER], tool_choice="none").content == CALL


def test_one_call_only(saying: RunningServer) -> None:
    told = both(saying, f"{CALL}\n{CALL} and more", tools=[WEATHER], parallel_tool_calls=False)
    assert (told.calls, told.content, told.finish) == ([["get_weather", ARGUMENTS]], "", "tool_calls")


def test_arguments_stream_where_they_are_certain(saying: RunningServer) -> None:
    assert ask(saying, CALL, stream=True, tools=[WEATHER], tool_choice="required").deltas > 5
    assert ask(saying, CALL, stream=True, tools=[WEATHER]).deltas == 1


@pytest.mark.parametrize(
    "choice",
    [
        "required",
        {"type": "function", "function": {"name": "get_weather"}},
        {"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": [WEATHER]}},
    ],
    ids=["required", "named", "allowed"],
)
def test_calls_are_forced(saying: RunningServer, choice: Any) -> None:
    """The model wants to say something else, then a call that does not keep the schema."""
    tools = [CLOCK, WEATHER] if choice != "required" else [WEATHER]
    for script in ("I would rather talk.", CALL.replace('"c"', '"k"'), CALL.replace("get_weather", "get_time")):
        told = both(saying, script, tools=tools, tool_choice=choice, max_tokens=200)
        assert told.content == ""
        if told.finish == "tool_calls":
            assert told.calls[0][0] == "get_weather"
            assert set(json.loads(told.calls[0][1])) == {"city", "unit"}
        else:
            assert told.finish == "length"


def test_forced_arguments_are_those_of_the_schema(saying: RunningServer) -> None:
    """Which need not say that there are no others."""
    parameters = {"type": "object", "properties": {"a": {"type": "integer"}}}
    tools = [{"type": "function", "function": {"name": "f", "parameters": parameters}}]
    script = '<tool_call>\n{"name": "f", "arguments": {"b": 1}}\n</tool_call>'
    told = both(saying, script, tools=tools, tool_choice="required", max_tokens=80)
    assert set(json.loads(told.calls[0][1])) <= {"a"} if told.finish == "tool_calls" else told.finish == "length"
    assert both(saying, script, tools=tools).calls == [["f", '{"b": 1}']]


def test_calls_are_forced_after_the_reasoning(saying: RunningServer) -> None:
    script = f"<think>I would rather not.</think>\n\n{CALL}"
    told = both(saying, script, tools=[WEATHER], tool_choice="required")
    assert (told.reasoning, told.calls) == ("I would rather not.", [["get_weather", ARGUMENTS]])
    opened = {"extra_body": {"enable_thinking": True}}
    told = both(saying, script.removeprefix("<think>"), tools=[WEATHER], tool_choice="required", **opened)
    assert (told.reasoning, told.calls) == ("I would rather not.", [["get_weather", ARGUMENTS]])


def test_a_strict_tool_keeps_its_schema_where_it_is_called(saying: RunningServer) -> None:
    strict = {"type": "function", "function": {**WEATHER["function"], "strict": True}}
    assert both(saying, "No call, thanks.", tools=[strict, CLOCK]).content == "No call, thanks."
    told = both(
        saying, "So: " + CALL.replace('"unit": "c"', '"unit": "k"') + " Bye.", tools=[strict, CLOCK], max_tokens=99
    )
    assert told.content.startswith("So:")
    for name, arguments in told.calls if told.finish == "tool_calls" else []:
        assert name == "get_weather" and json.loads(arguments)["unit"] in ("c", "f")
    free = both(saying, CALL.replace('"unit": "c"', '"unit": "k"'), tools=[WEATHER])
    assert json.loads(free.calls[0][1])["unit"] == "k"


def test_an_answer_in_json_beside_tools(saying: RunningServer) -> None:
    schema = {"type": "object", "properties": {"a": {"const": 1}}, "required": ["a"], "additionalProperties": False}
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    assert both(saying, '{"a":1}', tools=[WEATHER], response_format=form).content == '{"a":1}'
    assert both(saying, CALL, tools=[WEATHER], response_format=form).calls == [["get_weather", ARGUMENTS]]
    assert json.loads(both(saying, '{"a":2}', tools=[WEATHER], response_format=form).content) == {"a": 1}


def refused(server: RunningServer, **options: Any) -> openai.BadRequestError:
    with pytest.raises(openai.BadRequestError) as caught:
        ask(server, **options)
    assert caught.value.response.headers["x-should-retry"] == "false"
    return caught.value


@pytest.mark.parametrize(
    "options, param",
    [
        ({"tools": [{"type": "function"}]}, "tools[0].function"),
        ({"tools": [WEATHER, {"type": "function", "function": {"name": ""}}]}, "tools[1].function.name"),
        ({"tools": [WEATHER, WEATHER]}, "tools[1].function.name"),
        ({"tools": [{"type": "custom", "custom": {"name": "f"}}]}, "tools[0].type"),
        (
            {"tools": [{"type": "function", "function": {"name": "f", "parameters": []}}]},
            "tools[0].function.parameters",
        ),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tools": [WEATHER], "tool_choice": "maybe"}, "tool_choice"),
        ({"tools": [WEATHER], "tool_choice": {"type": "function", "function": {"name": "f"}}}, "tool_choice"),
        ({"tools": [WEATHER], "extra_body": {"grammar": 'root ::= "a"'}}, "grammar"),
        ({"functions": [{"name": "f"}], "function_call": {"name": "g"}}, "function_call"),
        ({"function_call": {"name": "f"}}, "function_call"),
        ({"tools": [WEATHER], "function_call": {"name": "get_weather"}}, "function_call"),
        ({"functions": [{"name": "f"}], "tool_choice": "required"}, "tool_choice"),
        ({"tools": [WEATHER], "functions": [{"name": "f"}]}, "functions"),
        ({"tools": [WEATHER], "tool_choice": "required", "extra_body": {"ignore_eos": True}}, "ignore_eos"),
    ],
)
def test_errors_name_the_field(saying: RunningServer, options: dict[str, Any], param: str) -> None:
    assert refused(saying, **options).param == param


def test_a_schema_that_cannot_be_enforced(saying: RunningServer) -> None:
    """Is refused where it must be kept, told where it need not, and nobody's matter otherwise."""
    odd = {"type": "object", "properties": {"a": {"type": "string", "format": "nonsense"}}}
    function = {"name": "f", "parameters": odd}
    tools = [{"type": "function", "function": {**function, "strict": True}}]
    error = refused(saying, tools=tools)
    assert error.param == "tools[0].function.parameters" and "/properties/a" in str(error) and "format" in str(error)
    tools = [{"type": "function", "function": function}]
    raw = saying.client().chat.completions.with_raw_response
    said = {"model": "", "messages": [{"role": "user", "content": "␂x␃"}], "tools": tools, "max_tokens": 5}
    assert "x-nitro-ignored" not in raw.create(**said).headers
    header = raw.create(**said, tool_choice="required").headers["x-nitro-ignored"]
    assert "tools[0].function.parameters" in header and "format %22nonsense%22 (at /properties/a)" in header


def test_the_deprecated_pair(saying: RunningServer) -> None:
    options = {"functions": [WEATHER["function"]], "function_call": {"name": "get_weather"}}
    body = {"model": "", "messages": [{"role": "user", "content": f"␂{CALL}␃"}], **options}
    choice = saying.client().chat.completions.create(**body).choices[0]
    assert (choice.finish_reason, choice.message.tool_calls, choice.message.content) == ("function_call", None, None)
    assert (choice.message.function_call.name, choice.message.function_call.arguments) == ("get_weather", ARGUMENTS)
    name = arguments = ""
    for chunk in saying.client().chat.completions.create(stream=True, **body):
        if call := chunk.choices[0].delta.function_call:
            name, arguments = name + (call.name or ""), arguments + call.arguments
    assert (name, arguments, chunk.choices[0].finish_reason) == ("get_weather", ARGUMENTS, "function_call")


def test_a_history_with_calls(saying: RunningServer, fake_server: RunningServer) -> None:
    """Rendered by a template that knows them, and told in words to a model whose template does not."""
    call = {"id": "c1", "type": "function", "function": {"name": "get_weather", "arguments": ARGUMENTS}}
    history = [
        {"role": "user", "content": "Weather?"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": "12 degrees"},
        {"role": "user", "content": "␂Fine.␃"},
    ]
    assert ask(saying, messages=history, tools=[WEATHER]).content == "Fine."
    legacy = [
        {"role": "assistant", "content": None, "function_call": call["function"]},
        {"role": "function", "name": "get_weather", "content": "12 degrees"},
        {"role": "user", "content": "␂Fine.␃"},
    ]
    assert ask(saying, messages=legacy, functions=[WEATHER["function"]]).content == "Fine."
    usage = [
        fake_server.client().chat.completions.create(model="", messages=history[:k], max_tokens=1).usage.prompt_tokens
        for k in (1, 2, 3, 4)
    ]
    assert usage == sorted(set(usage))


def test_what_the_model_can_is_told(saying: RunningServer, fake_server: RunningServer) -> None:
    def told(server: RunningServer) -> tuple[Any, ...]:
        (model,) = httpx.get(f"{server.url}/v1/models").json()["data"]
        can = model["capabilities"]
        return model["tool_format"], can["tools"], can["native_tools"], can["reasoning"]

    assert told(saying) == ("hermes", True, True, True)
    assert told(fake_server) == ("generic", True, False, False)


@pytest.mark.parametrize("choice", ["required", "auto"])
def test_a_small_model_calls_well(smollm_server: RunningServer, choice: str) -> None:
    """SmolLM2, at temperature 1, knows no tools."""
    strict = {"type": "function", "function": {**WEATHER["function"], "strict": True}}

    def one(seed: int) -> Told:
        messages = [{"role": "user", "content": "What is the weather in Oslo? Call get_weather."}]
        options = {"tools": [strict], "tool_choice": choice, "temperature": 1, "seed": seed, "max_tokens": 60}
        return ask(smollm_server, stream=seed % 2 == 1, messages=messages, **options)

    with ThreadPoolExecutor(4) as pool:
        told = list(pool.map(one, range(8)))
    for answer in told:
        if answer.finish == "length":
            continue
        assert answer.finish == ("tool_calls" if answer.calls else "stop")
        assert answer.calls or choice == "auto"
        for name, arguments in answer.calls:
            given = json.loads(arguments)
            assert name == "get_weather" and set(given) == {"city", "unit"} and given["unit"] in ("c", "f")
            assert len(given["city"]) <= 20
    assert any(answer.calls for answer in told) or choice == "auto"


@pytest.mark.parametrize("name", sorted(known()))
def test_the_layout_is_what_the_parser_reads(name: str) -> None:
    """A call written by a format's layout is read back by its parser."""
    format = known()[name]
    calls = [("f", {"a": 1, "b": "x, y", "c": {"d": [True, None, 1.5]}}), ("g", {})][: 1 + format.layout.parallel]
    parser = ModelFamily(format, True, None).parser({}, stream_calls=False, in_reasoning=False)
    deltas = [*parser.feed(history.write_calls(calls, format.layout)), *parser.flush()]
    assert [delta.name for delta in deltas] == [name for name, _ in calls]
    assert [json.loads(delta.text) for delta in deltas] == [arguments for _, arguments in calls]


@pytest.mark.parametrize("live", [False, True])
@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("hermes", '<tool_call>{"name": "f", "arguments": {"a": NaN}}</tool_call>'),
        ("hermes", '<tool_call>{"name": "f", "arguments": {"a": -Infinity, "b": "x\ny"}}</tool_call>'),
        ("hermes", '<tool_call>{"name": "f", "arguments": {"a": ' + "7" * 5000 + "}}</tool_call>"),
        ("functiongemma", "<start_function_call>call:f{a:" + "[" * 99 + "]" * 99 + "}<end_function_call>"),
    ],
)
def test_values_that_are_no_json_are_no_call(name: str, body: str, live: bool) -> None:
    """Nor are numbers that Python cannot read, and neither is an error."""
    parser = ModelFamily(known()[name], True, None).parser({}, live, in_reasoning=False)
    deltas = [delta for piece in (*body, "") for delta in parser.feed(piece)] + parser.flush()
    if not live:  # else some of it has been passed on by then
        assert {delta.channel for delta in deltas} == {"content"} and "".join(delta.text for delta in deltas) == body


@pytest.mark.parametrize("arguments", ['{"a": 1}', '"{\\"a\\": \\"\\ud83d\\"}"'])
def test_what_utf_8_cannot_say_is_replaced(arguments: str) -> None:
    parser = ModelFamily(known()["hermes"], True, None).parser({}, stream_calls=False, in_reasoning=False)
    body = f'<tool_call>{{"name": "\\ud83d", "arguments": {arguments}}}</tool_call>'
    (call,) = [*parser.feed(body), *parser.flush()]
    assert call.name == "?" and isinstance(json.loads(call.text.encode()), dict)


OF_THE_WHOLE: dict[str, Any] = {
    "minProperties": 1,
    "dependentRequired": {"a": ["b"]},
    "propertyNames": {"pattern": "^a"},
    "not": {"required": ["b"]},
    "oneOf": [{"required": ["a"]}, {"required": ["b"]}],
    "patternProperties": {"^a": {"type": "integer"}},
    "enum": [{"a": 1}],
}


@pytest.mark.parametrize("keyword", OF_THE_WHOLE)
def test_what_arguments_in_tags_cannot_be_held_to(keyword: str) -> None:
    """They are written one by one, so that no grammar looks at the whole: refused where strict, else told."""
    param, known_formats = "tools[0].function.parameters", known()
    for strict, enforced in ((True, True), (False, True), (False, False)):
        tool = Tool("f", {"type": "object", "properties": {"a": {}}, keyword: OF_THE_WHOLE[keyword]}, strict)
        tools = OfferedTools([], [CallableTool(tool, param, enforced)], required=enforced, parallel=False)
        assert with_tools(None, tools, known_formats["hermes"], False) or not enforced
        assert unenforced_tools(tools, known_formats["hermes"]) == []
        if strict:
            with pytest.raises(ApiError, match=f"'{keyword}'") as caught:
                with_tools(None, tools, known_formats["qwen3_coder"], False)
            assert (caught.value.status, caught.value.param, caught.value.code) == (400, param, "invalid_json_schema")
        else:
            told = [f"{param}: tool 'f': {keyword} (at /) is not enforced in the format qwen3_coder"]
            told = told if enforced else []
            assert unenforced_tools(tools, known_formats["qwen3_coder"]) == told


def test_what_is_let_through_is_told(serve: Callable[..., RunningServer]) -> None:
    server = serve(engine=SAYING, tool_format="qwen3_coder").ready()
    script = "<tool_call>\n<function=f>\n<parameter=a>\n1\n</parameter>\n</function>\n</tool_call>"
    parameters = {"type": "object", "properties": {"a": {"type": "integer"}}, "minProperties": 1}
    body = {
        "model": "",
        "messages": [{"role": "user", "content": f"␂{script}␃"}],
        "tools": [{"type": "function", "function": {"name": "f", "parameters": parameters}}],
        "tool_choice": "required",
    }
    reply = server.client().chat.completions.with_raw_response.create(**body)
    assert reply.parse().choices[0].message.tool_calls[0].function.arguments == '{"a": 1}'
    told = reply.headers["x-nitro-ignored"]
    assert told.startswith("tools[0].function.parameters: tool 'f'")
    assert told.endswith("minProperties (at /) is not enforced in the format qwen3_coder")


@pytest.mark.parametrize("stop", ['"city"', "Os", "}", "tool_call"])
def test_a_stop_in_a_call_breaks_none(saying: RunningServer, stop: str) -> None:
    """It ends the content, and a call is none; what looks like a call and is none, is."""
    for choice in ("required", "auto"):
        told = both(saying, CALL, tools=[WEATHER], tool_choice=choice, stop=stop)
        assert (told.calls, told.finish, told.content) == ([["get_weather", ARGUMENTS]], "tool_calls", "")
    told = both(saying, CALL, stop=stop)
    assert (told.content, told.finish) == (CALL.partition(stop)[0], "stop")


@pytest.mark.parametrize("name", sorted(known()))
def test_arguments_stream_in_every_format(name: str) -> None:
    """Each as soon as it is whole, or sooner; what has come is at any time a beginning of the whole."""
    format = known()[name]
    schema = {
        key: {"type": kind} for key, kind in (("a", "string"), ("b", "integer"), ("c", "object"), ("d", "string"))
    }
    given = {"a": 'x "y"\n{z}, <i>', "b": 12, "c": {"d": ["e", True]}, "d": "last"}
    tools = {"f": Tool("f", {"type": "object", "properties": schema, "additionalProperties": False})}
    text = history.write_calls([("f", given), ("f", {})][: 1 + format.layout.parallel], format.layout)
    parser = ModelFamily(format, True, None).parser(tools, stream_calls=True, in_reasoning=False)
    told = [delta for deltas in [*map(parser.feed, text), parser.flush()] for delta in deltas]
    assert all(delta.channel == "call" for delta in told)
    first = [delta.text for delta in told if delta.call == 0 and delta.text]
    assert json.loads("".join(first)) == given and len(first) >= len(given)
    assert sum(delta.name is not None for delta in told) == 1 + format.layout.parallel
