"""What of tools is enforced, over HTTP: patterns that cannot be, tools in large numbers, and what is too large."""

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import cache
from typing import Any

import httpx
import pytest
from asking import SAYING, ask
from running import RunningServer
from test_tools import CLOCK, WEATHER, refused

from nitro.config import ServeConfig
from nitro.text.tool_formats import history, known

PATTERNS = {
    "a look-ahead": {"to": {"type": "string", "pattern": r"^(?!\.)[a-z.]+@[a-z]+$"}},
    "a look-behind": {"to": {"type": "string", "pattern": "(?<!a)b"}},
    "a back reference": {"to": {"type": "string", "pattern": r"^(a)\1$"}},
    "an unknown Unicode property": {"to": {"type": "string", "pattern": r"^\p{Nonsense}$"}},
    "a word boundary": {"to": {"$ref": "#/$defs/address"}},
}
AT = {"a word boundary": "/$defs/address"}
BRIEF = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}{{ tools | length if tools }}<assistant>"


@pytest.fixture(scope="module")
def calling(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], RunningServer]]:
    """Servers of models that call in a format, and whose prompts are short however many tools there are."""
    template = tmp_path_factory.mktemp("template") / "brief.jinja"
    template.write_text(BRIEF)
    with ExitStack() as stack:

        @cache
        def start(name: str) -> RunningServer:
            config = ServeConfig(engine=SAYING, port=0, chat_template=template, tool_format=name)
            return stack.enter_context(RunningServer(config)).ready()

        yield start


TAGGED = ["hermes", "qwen3_coder", "gemma4"]


@pytest.mark.parametrize("reason", PATTERNS)
@pytest.mark.parametrize("name", TAGGED)
def test_a_pattern_that_cannot_be_enforced(calling: Callable[[str], RunningServer], name: str, reason: str) -> None:
    """Is told with its tool and place where the tool is not strict, and else refused: never in words of a grammar."""
    parameters = {"type": "object", "properties": PATTERNS[reason], "required": ["to"]}
    parameters["$defs"] = {"address": {"type": "string", "pattern": r"\bfoo"}}
    call = history.write_calls([("send", {"to": "x y"})], known()[name].layout)
    body = {"messages": [{"role": "user", "content": f"␂{call}␃"}], "max_tokens": 200}
    for form, named in ((WEATHER, "required"), (CLOCK, {"type": "function", "function": {"name": "send"}})):
        for strict in (None, True):
            function = {"name": "send", "parameters": parameters, "strict": strict}
            asked = {**body, "tools": [form, {"type": "function", "function": function}], "tool_choice": named}
            reply = httpx.post(f"{calling(name).url}/v1/chat/completions", json=asked, timeout=60)
            place = f"(at {AT.get(reason, '/properties/to')})"
            if strict:
                error = reply.json()["error"]
                assert (reply.status_code, error["param"]) == (400, "tools[1].function.parameters"), error
                assert "'send'" in error["message"] and f"pattern has {reason}" in error["message"]
                assert place in error["message"] and "schema_" not in error["message"]
            else:
                told = f"tool 'send': pattern {place} is not enforced: it has {reason}"
                told = f"tools[1].function.parameters: {told}"
                assert reply.status_code == 200 and reply.headers["x-nitro-ignored"] == told, reply.text
                (made,) = reply.json()["choices"][0]["message"]["tool_calls"]
                given = json.loads(made["function"]["arguments"])
                assert given == {"to": "x y"} or (reason in AT and isinstance(given["to"], str))


def test_keys_whose_pattern_cannot_be_enforced(saying: RunningServer) -> None:
    """Let other keys through, too, though there were to be none."""
    keyed = {"type": "object", "patternProperties": {"^(?!a)b": {"type": "integer"}}, "additionalProperties": False}
    function = {"name": "f", "parameters": {"type": "object", "properties": {"to": keyed}}}
    call = '<tool_call>\n{"name": "f", "arguments": {"to": {"bc": 1}}}\n</tool_call>'
    body = {"model": "", "messages": [{"role": "user", "content": f"␂{call}␃"}], "tool_choice": "required"}
    raw = saying.client().chat.completions.with_raw_response
    reply = raw.create(**body, tools=[{"type": "function", "function": function}])
    assert reply.parse().choices[0].message.tool_calls[0].function.arguments == '{"to": {"bc": 1}}'
    told = reply.headers["x-nitro-ignored"]
    assert "patternProperties (at /properties/to) is not enforced" in told and "additionalProperties" in told


def many(count: int, properties: int) -> list[dict[str, Any]]:
    """Tools as servers of tools have them, no two of them alike."""
    kinds = [{"type": "string"}, {"type": "integer"}, {"type": "boolean"}, {"enum": ["up", "down"]}]
    kinds += [
        {"type": "array", "items": {"type": "string"}},
        {"type": "object", "properties": {"a": {"type": "number"}}},
    ]
    return [
        {
            "type": "function",
            "function": {
                "name": f"server{i % 9}_do_{i}",
                "description": f"Does the thing number {i}.",
                "parameters": {
                    "type": "object",
                    "properties": {
                        f"argument_{j}_of_{i % 50}": {**kinds[j % 6], "description": f"What is number {j} of {i}."}
                        for j in range(properties)
                    },
                    "required": [f"argument_0_of_{i % 50}"],
                },
            },
        }
        for i in range(count)
    ]


@pytest.mark.parametrize("name", ["hermes", "qwen3_coder", "minimax_m3"])
@pytest.mark.parametrize(("count", "properties"), [(110, 8), (1000, 2)])
def test_many_tools(calling: Callable[[str], RunningServer], name: str, count: int, properties: int) -> None:
    """Any of them can be called, and no other."""
    tools, layout = many(count, properties), known()[name].layout
    for called in (f"server{count // 3 % 9}_do_{count // 3}", "server0_do_5"):
        arguments = {f"argument_0_of_{count // 3 % 50}": "x"}
        call = history.write_calls([(called, arguments)], layout)
        told = ask(calling(name), call, tools=tools, tool_choice="required", max_tokens=300)
        if called == "server0_do_5":  # there is none
            assert all(made != called for made, _ in told.calls)
        else:
            assert [(made, json.loads(given)) for made, given in told.calls] == [(called, arguments)]


LIMITS = {
    "a schema": (
        [{"type": "object", "properties": {"a": {"enum": ["x" * 50_000, "y" * 50_000, "z" * 50_000]}}}],
        "tools[0].function.parameters",
        "131072",
    ),
    "all schemas": (
        [{"type": "object", "properties": {f"a{i}": {"enum": ["x" * 60_000, "y" * 60_000]}}} for i in range(5)],
        "tools",
        "524288",
    ),
    "arguments": (
        [{"type": "object"}, {"type": "object", "properties": {f"a{i}": {"type": "string"} for i in range(601)}}],
        "tools[1].function.parameters",
        "601",
    ),
}


@pytest.mark.parametrize("limit", LIMITS)
def test_what_is_too_large_is_named_with_its_size(calling: Callable[[str], RunningServer], limit: str) -> None:
    """What describes a schema does not count."""
    server = calling("qwen3_coder")
    schemas, param, number = LIMITS[limit]
    tools = [
        {"type": "function", "function": {"name": f"f{i}", "parameters": {**schema, "description": "long" * 9999}}}
        for i, schema in enumerate(schemas)
    ]
    error = refused(server, tools=tools, tool_choice="required")
    assert error.param == param and number in str(error)
    function = {"name": "f", "parameters": {"type": "object", "description": "x" * 600_000}}
    options = {"tools": [{"type": "function", "function": function}], "tool_choice": "required", "max_tokens": 5}
    assert ask(server, **options).finish in ("length", "tool_calls")
