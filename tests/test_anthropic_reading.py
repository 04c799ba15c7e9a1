"""Anthropic's requests as they are read: conversations, tools, thinking, and every name that the SDK's types have."""

import json
from collections.abc import Iterator
from typing import Any, Literal, get_args, get_origin

import pytest
from anthropic.types import message_create_params as stable
from anthropic.types.beta import message_create_params as beta
from msgspec import Struct
from msgspec.structs import fields
from test_names import SETUP
from typing_extensions import get_type_hints, is_typeddict

from nitro.api.anthropic import blocks, context_edits, names, requests, signatures, tools
from nitro.api.anthropic.parse import read, read_count
from nitro.errors import ApiError
from nitro.service.requests import Breakpoint, GenerationRequest

HELLO = [{"role": "user", "content": "Hello."}]
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}
WEATHER = {"name": "weather", "description": "Tells it.", "input_schema": SCHEMA}
SEARCH = {"type": "web_search_20250305", "name": "web_search", "max_uses": 3}


def asked(**more: Any) -> GenerationRequest:
    return read(json.dumps({"max_tokens": 9, "messages": HELLO, **more}).encode(), SETUP)


def said(request: GenerationRequest) -> list[tuple[str, str]]:
    """Roles and texts."""
    return [(m["role"], "|".join(part["text"] for part in m["content"])) for m in request.prompt.messages]


def refusal(**more: Any) -> ApiError:
    with pytest.raises(ApiError) as caught:
        asked(**more)
    assert caught.value.status == 400 and caught.value.param and f"'{caught.value.param}'" in str(caught.value)
    return caught.value


# Every name of the SDK's types


def dicts(annotation: Any) -> Iterator[Any]:
    """The TypedDicts in a type."""
    if is_typeddict(annotation):
        yield annotation
        return
    for arg in get_args(annotation):
        yield from dicts(arg)


def literals(annotation: Any) -> set[Any]:
    if get_origin(annotation) is Literal:
        return set(get_args(annotation))
    return {value for arg in get_args(annotation) for value in literals(arg)}


def kinds(annotation: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    """What a union of objects holds: the type of each, and its fields."""
    for each in dicts(annotation):
        hints = get_type_hints(each)
        for kind in literals(hints["type"]) if "type" in hints else {""}:
            yield kind, hints


def known(struct: type[Struct]) -> set[str]:
    return {field.encode_name for field in fields(struct)} | set(getattr(struct, "known", {}))


def check_blocks(annotation: Any, taken: tuple[str, ...], struct: type[Struct]) -> None:
    for kind, hints in kinds(annotation):
        assert kind in taken or kind in names.REFUSED_BLOCKS, kind
        if kind in taken:
            assert set(hints) <= known(struct), kind


PARAMS = [
    stable.MessageCreateParamsNonStreaming,
    stable.MessageCreateParamsStreaming,
    beta.MessageCreateParamsNonStreaming,
    beta.MessageCreateParamsStreaming,
]


@pytest.mark.parametrize("params", PARAMS, ids=lambda params: f"{params.__module__.split('.')[2]} {params.__name__}")
def test_all_that_the_sdk_sends_is_known(params: Any) -> None:
    hints = get_type_hints(params)
    assert set(hints) <= known(requests.MessagesRequest)
    check_blocks(hints["system"], ("text",), requests.SystemBlock)
    for message in map(get_type_hints, dicts(hints["messages"])):
        (role,) = literals(message["role"])
        assert set(message) <= known(requests.Turn)
        every = tuple({kind for taken in blocks.ALLOWED.values() for kind in taken})
        check_blocks(message["content"], every, requests.Block)  # what stands where is the API's matter
        for kind, block in kinds(message["content"]):
            if kind == "tool_result":
                check_blocks(block["content"], ("text", "image", "tool_reference"), requests.ResultBlock)
            if kind in ("tool_addition", "tool_removal") and role == "system":
                for change, its in kinds(block["tool"]):
                    assert set(its) <= known(requests.ToolChange) and change.startswith(("tool_", "mcp_tool"))
    for kind, thinking in kinds(hints["thinking"]):
        assert kind in (*requests.THINKING_TYPES, "between_tools") and set(thinking) <= known(requests.Thinking)
    for _, config in kinds(hints["output_config"]):
        assert set(config) <= known(requests.OutputConfig)
        assert literals(config["effort"]) == set(requests.EFFORTS)
    for kind, choice in kinds(hints["tool_choice"]):
        assert kind in tools.CHOICES and set(choice) <= known(requests.ToolChoice)
    for kind, tool in kinds(hints["tools"]):
        if kind == "custom":
            assert set(tool) <= names.TOOL_FIELDS | set(names.TOOL)
        else:
            assert tools._why(kind, "")
    if "context_management" in hints:
        (management,) = map(get_type_hints, dicts(hints["context_management"]))
        edits = {kind for kind, _ in kinds(management["edits"])}
        assert edits == {context_edits.THINKING, *context_edits.WITHOUT_EFFECT}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("metadata", {"user_id": "a"}),
        ("service_tier", "auto"),
        ("cache_control", {"type": "ephemeral"}),
        ("inference_geo", "eu"),
        ("speed", "fast"),
        ("diagnostics", {"previous_message_id": None}),
        ("container", None),
        ("mcp_servers", []),
        ("system", [{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral", "ttl": "1h"}}]),
    ],
)
def test_what_is_harmless(name: str, value: Any) -> None:
    assert asked(**{name: value}).ignored == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("container", "c1"),
        ("mcp_servers", [{"type": "url", "name": "a", "url": "http://a"}]),
        ("compaction", {"type": "summarize"}),
        ("thread", {"type": "create"}),
        ("max_tokens", None),
        ("max_tokens", -1),
        ("temperature", 1000),
        ("stop_sequences", ["a"] * 17),
        ("thinking.type", {"type": "between_tools"}),
        ("thinking.display", {"type": "adaptive", "display": "updates"}),
        ("thinking.budget_tokens", {"type": "enabled", "budget_tokens": 0}),
        ("output_config.effort", {"effort": "huge"}),
        ("output_config.task_budget", {"task_budget": {"type": "tokens", "total": 1}}),
        ("output_config.format.type", {"format": {"type": "text"}}),
        ("output_config.format.schema", {"format": {"type": "json_schema"}}),
        ("tool_choice", {"type": "any"}),
        ("tool_choice.type", {"type": "some"}),
        ("context_management.edits[0].type", {"edits": [{"type": "new"}]}),
        ("context_management.edits[0].keep", {"edits": [{"type": "clear_thinking_20251015", "keep": 5}]}),
        ("messages", []),
        ("messages[0].role", [{"role": "tool", "content": "a"}]),
        ("messages[0].content[0].type", [{"role": "user", "content": [{"type": "image", "source": {}}]}]),
        ("messages[0].content[0].type", [{"role": "user", "content": [{"type": "tool_use", "id": "a", "name": "b"}]}]),
        ("messages[0].content[0].text", [{"role": "user", "content": [{"type": "text"}]}]),
        ("messages[0].content[0].tool_use_id", [{"role": "user", "content": [{"type": "tool_result"}]}]),
        ("messages[0].content[0].name", [{"role": "assistant", "content": [{"type": "tool_use", "id": "a"}]}]),
        ("messages[0].content[0].type", [{"role": "assistant", "content": [{"type": "server_tool_use", "id": "a"}]}]),
    ],
)
def test_what_is_refused_by_name(name: str, value: Any) -> None:
    assert refusal(**{name.partition(".")[0].partition("[")[0]: value}).param == name


def test_what_is_unknown_is_told_with_its_path() -> None:
    messages = [{"role": "user", "content": [{"type": "text", "text": "a", "foo": 1}]}]
    told = asked(messages=messages, bar=2, tools=[{**WEATHER, "baz": 3}]).ignored
    assert sorted(told) == ["bar", "messages[0].content[0].foo", "tools[0].baz"]


def test_tokens_are_counted_without_a_limit() -> None:
    assert read_count(json.dumps({"messages": HELLO}).encode(), SETUP).max_tokens is None


# Conversations


def test_where_prefixes_end_that_stay_in_the_cache() -> None:
    short, long = {"type": "ephemeral"}, {"type": "ephemeral", "ttl": "1h"}
    system = [{"type": "text", "text": "x-anthropic-billing-header: a"}, {"type": "text", "text": "You help."}]
    system.append({"type": "text", "text": "Be brief.", "cache_control": long})
    content = [result([{"type": "text", "text": "Rain."}], cache_control=short), {"type": "text", "text": "So?"}]
    content[1]["cache_control"] = short
    messages = [*HELLO, {"role": "assistant", "content": [USE]}, {"role": "user", "content": content}]
    request = asked(system=system, messages=messages, tools=[{**WEATHER, "cache_control": short}], cache_control=long)
    tools, prompt, rain, so = request.prefix_breakpoints
    assert (tools, prompt) == (Breakpoint(300), Breakpoint(3600, 0, 1))
    assert (rain, so) == (Breakpoint(300, 3), Breakpoint(300, 4, 0)) and request.prefix_seconds == 3600
    for where in ("cache_control.ttl", "tools[0].cache_control.ttl", "system[0].cache_control.ttl"):
        wrong = {"cache_control": {"type": "ephemeral", "ttl": "9y"}}
        shape = {"c": wrong, "t": {"tools": [WEATHER | wrong]}, "s": {"system": [system[1] | wrong]}}[where[0]]
        assert refusal(**shape).param == where


def test_the_system_prompt() -> None:
    assert said(asked(system="Be brief.")) == [("system", "Be brief."), ("user", "Hello.")]
    billing = "x-anthropic-billing-header: cc_version=2.1.332.0b8; cc_entrypoint=sdk-cli;"
    parts = [{"type": "text", "text": text} for text in (billing, "You help.", "Be brief.")]
    assert said(asked(system=parts))[0] == ("system", "You help.|Be brief.")
    assert said(asked(system=f"{billing}\nBe brief."))[0] == ("system", "Be brief.")
    assert said(asked(system=parts[:1])) == [("user", "Hello.")]
    assert said(asked(system=[*parts[1:], parts[0]]))[0][1].endswith(billing)


def test_a_system_message_may_stand_anywhere_and_be_cleared() -> None:
    later = {"role": "system", "content": [{"type": "text", "text": "Now hurry."}], "clear_at": "next_user_message"}
    assert said(asked(messages=[*HELLO, later])) == [("user", "Hello."), ("system", "Now hurry.")]
    assert said(asked(messages=[*HELLO, later, *HELLO])) == [("user", "Hello."), ("user", "Hello.")]
    kept = {**later, "clear_at": "never"}
    assert len(said(asked(messages=[*HELLO, kept, *HELLO]))) == 3


USE = {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {"city": "Oslo"}}


def result(content: Any, **more: Any) -> dict[str, Any]:
    return {"type": "tool_result", "tool_use_id": "toolu_1", "content": content, **more}


def test_calls_and_their_results() -> None:
    content = [result([{"type": "text", "text": "Rain."}]), {"type": "text", "text": "So?"}]
    answer = [{"type": "text", "text": "Let me see."}, USE]
    messages = [*HELLO, {"role": "assistant", "content": answer}, {"role": "user", "content": content}]
    _, call, rain, _ = asked(messages=messages).prompt.messages
    assert call["tool_calls"] == [
        {"id": "toolu_1", "type": "function", "function": {"name": "weather", "arguments": {"city": "Oslo"}}}
    ]
    assert rain["role"] == "tool" and rain["tool_call_id"] == "toolu_1"
    assert [text for _, text in said(asked(messages=messages))] == ["Hello.", "Let me see.", "Rain.", "So?"]


def test_a_failed_call_says_so() -> None:
    for content, text in [("No net.", "Error: No net."), ("Error 5", "Error 5"), (None, "Error: "), ([], "Error: ")]:
        messages = [{"role": "user", "content": [result(content, is_error=True)]}]
        assert said(asked(messages=messages)) == [("tool", text)]
    assert said(asked(messages=[{"role": "user", "content": [result("Fine.", is_error=False)]}])) == [("tool", "Fine.")]


def thinking(text: str, signature: str = "") -> dict[str, Any]:
    return {"type": "thinking", "thinking": text, "signature": signature}


def test_thinking_comes_back() -> None:
    shown, hidden = thinking("I add.", signatures.of("I add.", False)), thinking("", signatures.of("Hm…", True))
    for block, text in [(shown, "I add."), (hidden, "Hm…"), (thinking("Mine.", "another server's"), "Mine.")]:
        content = [block, {"type": "redacted_thinking", "data": "x"}, {"type": "text", "text": "Four."}]
        (_, answer) = asked(messages=[*HELLO, {"role": "assistant", "content": content}]).prompt.messages
        assert answer["reasoning_content"] == text and answer["content"][0]["text"] == "Four."
    foreign = asked(messages=[*HELLO, {"role": "assistant", "content": [thinking("", "EqQB"), USE]}])
    assert "reasoning_content" not in foreign.prompt.messages[1]


def test_a_signature_carries_no_more_than_it_may() -> None:
    bomb = signatures.of("a" * (signatures.MAX_TEXT + 1), True)
    assert len(bomb) < 10_000 and signatures.text_of("", bomb) == ""
    for broken in (bomb[:50], signatures.MARK + "!", signatures.MARK + "é"):
        assert signatures.text_of("", broken) == ""


def test_all_signatures_together_have_a_bound() -> None:
    """What does not fit any more is left out, as one that is too large alone is."""
    block = thinking("", signatures.of("a" * (signatures.MAX_TEXT // 2), True))
    shown = thinking("b" * 100, signatures.of("", False))
    turns = [*HELLO, {"role": "assistant", "content": [block, block, block, shown]}, *HELLO]
    thought = asked(messages=turns).prompt.messages[1]["reasoning_content"]
    assert (thought.count("a"), thought.count("b")) == (signatures.MAX_TEXT, 100)


def test_thinking_of_earlier_turns_is_cleared() -> None:
    turn = [*HELLO, {"role": "assistant", "content": [thinking("a"), {"type": "text", "text": "b"}]}]
    for keep, left in [({}, 1), ({"keep": "all"}, 3), ({"keep": {"type": "thinking_turns", "value": 2}}, 2)]:
        edits = {"edits": [{"type": "clear_thinking_20251015", **keep}]}
        request = asked(messages=[*turn, *turn, *turn, *HELLO], context_management=edits)
        assert sum("reasoning_content" in message for message in request.prompt.messages) == left
        assert request.ignored == []
    edits = {"edits": [{"type": "clear_tool_uses_20250919"}]}
    assert asked(context_management=edits).ignored == ["context_management.edits[0]: clear_tool_uses_20250919"]


def test_an_answer_is_continued() -> None:
    assert asked(messages=[*HELLO, {"role": "assistant", "content": "The"}]).prompt.continues
    assert not asked(messages=[*HELLO, {"role": "assistant", "content": [USE]}]).prompt.continues


# Tools


def offered(**more: Any) -> list[str]:
    found = asked(**more).prompt.tools
    return [tool["function"]["name"] for tool in found.offered] if found else []


def test_tools_in_the_form_of_templates() -> None:
    found = asked(tools=[{**WEATHER, "strict": True, "type": "custom"}]).prompt.tools
    function = {"name": "weather", "description": "Tells it.", "parameters": SCHEMA}
    assert found.offered == [{"type": "function", "function": function}]
    assert (found.required, found.parallel, found.callable[0].enforced) == (False, None, True)
    (shown,) = asked(tools=[{**WEATHER, "input_examples": [{"city": "Oslo"}]}]).prompt.tools.offered
    assert shown["function"]["description"] == 'Tells it.\n\nExamples of its input:\n{"city":"Oslo"}'


@pytest.mark.parametrize(
    ("choice", "required", "parallel", "callable"),
    [
        ({"type": "auto", "disable_parallel_tool_use": True}, False, False, 2),
        ({"type": "any"}, True, None, 2),
        ({"type": "any", "disable_parallel_tool_use": True}, True, False, 2),
        ({"type": "tool", "name": "other"}, True, False, 1),
    ],
)
def test_the_choice(choice: dict[str, Any], required: bool, parallel: bool | None, callable: int) -> None:
    found = asked(tools=[WEATHER, {**WEATHER, "name": "other"}], tool_choice=choice).prompt.tools
    assert (found.required, found.parallel, len(found.callable)) == (required, parallel, callable)
    assert len(found.offered) == 2


def test_none_may_be_called() -> None:
    assert asked(tools=[WEATHER], tool_choice={"type": "none"}).prompt.tools is None
    assert asked(tools=[SEARCH], tool_choice={"type": "none"}).prompt.tools is None


@pytest.mark.parametrize(
    ("name", "more"),
    [
        ("tools[0].input_schema", {"tools": [{"name": "a"}]}),
        ("tools[0].input_schema", {"tools": [{"name": "a", "input_schema": {"type": "string"}}]}),
        ("tools[0].name", {"tools": [{**WEATHER, "name": "a b"}]}),
        ("tools[1].name", {"tools": [WEATHER, WEATHER]}),
        ("tools[0].type", {"tools": [{"type": "new_20270101", "name": "new"}]}),
        ("tools[0].allowed_callers", {"tools": [{**WEATHER, "allowed_callers": ["code_execution_20250825"]}]}),
        ("tools[0]", {"tools": [SEARCH]}),
        ("tools[1]", {"tools": [WEATHER, SEARCH], "tool_choice": {"type": "any"}}),
        ("tool_choice.name", {"tools": [WEATHER, SEARCH], "tool_choice": {"type": "tool", "name": "web_search"}}),
        ("tool_choice.name", {"tools": [WEATHER], "tool_choice": {"type": "tool", "name": "other"}}),
        ("tool_choice.name", {"tools": [WEATHER], "tool_choice": {"type": "tool"}}),
    ],
)
def test_tools_that_are_refused(name: str, more: dict[str, Any]) -> None:
    assert refusal(**more).param == name


def test_a_tool_that_cannot_be_run_here_is_left_out_and_told() -> None:
    request = asked(tools=[WEATHER, SEARCH, {"type": "bash_20250124", "name": "bash"}])
    assert [tool["function"]["name"] for tool in request.prompt.tools.offered] == ["weather"]
    assert [told.partition(":")[0] for told in request.ignored] == ["tools[1]", "tools[2]"]


LATER = {**WEATHER, "name": "later", "defer_loading": True}


def test_a_deferred_tool_is_shown_once_it_is_found() -> None:
    found = {"role": "user", "content": [result([{"type": "tool_reference", "tool_name": "later"}])]}
    assert offered(tools=[WEATHER, LATER]) == ["weather"]
    assert offered(tools=[WEATHER, LATER], messages=[*HELLO, found]) == ["weather", "later"]
    assert offered(tools=[WEATHER, LATER], tool_choice={"type": "tool", "name": "later"}) == ["weather", "later"]
    hosted = {"type": "tool_search_tool_bm25_20251119", "name": "tool_search_tool_bm25"}
    assert offered(tools=[WEATHER, LATER, hosted]) == ["weather", "later"], "nobody would find it"


def test_tools_come_and_go_in_a_conversation() -> None:
    def change(kind: str, **tool: Any) -> dict[str, Any]:
        return {"role": "system", "content": [{"type": kind, "tool": tool}]}

    named = {"type": "tool_reference", "name": "later"}
    added, removed = change("tool_addition", **named), change("tool_removal", **named)
    tools = [WEATHER, LATER]
    assert offered(tools=tools, messages=[*HELLO, added]) == ["weather", "later"]
    assert offered(tools=tools, messages=[*HELLO, added, *HELLO, removed]) == ["weather"]
    assert offered(tools=tools, messages=[*HELLO, removed, *HELLO, added]) == ["weather", "later"]
    whole = change("tool_addition", type="tool_definition", definition={**WEATHER, "name": "new"})
    assert offered(tools=[WEATHER], messages=[*HELLO, whole]) == ["weather", "new"]
    assert said(asked(tools=[WEATHER], messages=[*HELLO, whole])) == [("user", "Hello.")]
    assert refusal(messages=[*HELLO, change("tool_addition", type="mcp_tool_reference", name="a")]).param == (
        "messages[1].content[0].tool.type"
    )


# Thinking and the form of the answer


def test_thinking_switches() -> None:
    on, off = {"enable_thinking": True, "thinking": True}, {"enable_thinking": False, "thinking": False}
    request = asked(thinking={"type": "enabled", "budget_tokens": 2000}, output_config={"effort": "high"})
    assert request.prompt.variables == {**on, "reasoning_effort": "high"}
    assert request.prompt.thinking_budget == 2000
    assert set(request.prompt.variables_set_by) == {"thinking", "output_config.effort"}
    assert asked(thinking={"type": "adaptive"}).prompt.variables == on
    assert asked(thinking={"type": "disabled"}).prompt.variables == off
    assert asked().prompt.variables == {}


def test_a_form_of_the_answer() -> None:
    constraint = asked(output_config={"format": {"type": "json_schema", "schema": SCHEMA}}).constraint
    assert constraint.kind == "json_schema" and json.loads(constraint.source)["properties"] == SCHEMA["properties"]
    older = asked(output_format={"type": "json_schema", "schema": SCHEMA}).constraint
    assert (older.source, older.param) == (constraint.source, "output_format.schema")
    assert refusal(output_format={"type": "text"}).param == "output_format.type"
