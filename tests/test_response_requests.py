"""`POST /v1/responses`: what becomes of every field and item that the SDK can send."""

import json
from collections.abc import Iterator
from typing import Any, get_args, get_type_hints

import openai.types.responses.response_create_params as params
import pytest
from msgspec import Raw
from openai.types.responses.response_includable import ResponseIncludable
from openai.types.responses.response_input_item_param import ResponseInputItemParam
from openai.types.responses.tool_param import ToolParam
from openai.types.shared_params import Reasoning
from sdk_fields import fields_of, objects_in, unknown
from test_names import SETUP

from nitro.api.names import Mapped, Opened
from nitro.api.responses import history, items, names, reply_options, tools
from nitro.api.responses.parse import read
from nitro.api.responses.requests import ResponsesRequest
from nitro.errors import ApiError
from nitro.service.requests import GenerationRequest

FUNCTION = {"type": "function", "name": "f", "parameters": {"type": "object", "properties": {}}, "strict": False}
CUSTOM = {"type": "custom", "name": "c", "description": "Runs it."}
SEARCH = {"type": "web_search", "external_web_access": False}
SPACE = {"type": "namespace", "name": "files", "description": "Of files.", "tools": [FUNCTION, CUSTOM | {"name": "d"}]}


def asked(**fields: Any) -> GenerationRequest:
    return read(json.dumps({"input": "Hello.", "seed": 1, **fields}).encode(), SETUP)


def refused(**fields: Any) -> ApiError:
    with pytest.raises(ApiError) as caught:
        asked(**fields)
    assert caught.value.status in (400, 404), caught.value
    return caught.value


def messages(*given: Any, **fields: Any) -> list[dict[str, Any]]:
    """In a short form: contents are texts, and only what is there."""
    prompt = asked(input=list(given), **fields).prompt
    told = []
    for message in prompt.messages:  # type: ignore[union-attr]
        short = {"role": message["role"], "content": "|".join(part["text"] for part in message["content"])}
        short |= {name: message[name] for name in ("reasoning_content", "tool_call_id") if name in message}
        if calls := message.get("tool_calls"):
            short["calls"] = [(call["id"], call["function"]["name"], call["function"]["arguments"]) for call in calls]
        told.append(short)
    return told


def says(role: str, content: Any, **more: Any) -> dict[str, Any]:
    return {"role": role, "content": content, **more}


def text(said: str, kind: str = "input_text") -> dict[str, Any]:
    return {"type": kind, "text": said}


def called(call: str = "1", name: str = "f", arguments: str = '{"a": 1}', **more: Any) -> dict[str, Any]:
    return {"type": "function_call", "call_id": call, "name": name, "arguments": arguments, **more}


def output(said: Any, id: str = "1", kind: str = "function") -> dict[str, Any]:
    return {"type": f"{'custom_tool' if kind == 'custom' else kind}_call_output", "call_id": id, "output": said}


# Every field of the SDK's types


def kind_of(type: Any) -> str | None:
    """What the `type` of an SDK's object is."""
    hint = get_type_hints(type, include_extras=False).get("type")
    found = [each for each in literals(hint) if isinstance(each, str)]
    return found[0] if found else None


def literals(hint: Any) -> Iterator[Any]:
    for arg in get_args(hint):
        yield from literals(arg) if get_args(arg) else [arg]


def test_every_parameter_is_known() -> None:
    free = ["input[]", "tools[]", "tool_choice", "text.format", "conversation"]
    types = (params.ResponseCreateParamsNonStreaming, params.ResponseCreateParamsStreaming)
    assert unknown(ResponsesRequest, *types, free=free) == set()
    assert set(fields_of(Reasoning)) <= {"effort", "summary"} | names.REASONING.keys()


ITEMS = {kind_of(type): type for type, _ in objects_in(ResponseInputItemParam)}


@pytest.mark.parametrize("kind", [kind for kind in ITEMS if kind], ids=str)
def test_every_item_is_read_or_refused_by_its_type(kind: str) -> None:
    if kind in items._READERS:
        own = items._READERS[kind][1]
        of_kind = [type for type, _ in objects_in(ResponseInputItemParam) if kind_of(type) == kind]
        assert {name for type in of_kind for name in fields_of(type)} <= own | names.ITEM.keys()
    elif kind != "item_reference":
        error = refused(input=[{"type": kind, "id": "x", "call_id": "x"}])
        assert error.param == "input[0].type" and f"'{kind}'" in str(error)


TOOLS = {kind_of(type): type for type, path in objects_in(ToolParam) if path == ""}


@pytest.mark.parametrize("kind", [kind for kind in TOOLS if kind])
def test_every_tool_can_be_called_or_is_left_out(kind: str) -> None:
    if own := tools._OWN.get(kind):
        assert set(fields_of(TOOLS[kind])) <= own | names.TOOL.keys()
        return
    request = asked(tools=[FUNCTION, {"type": kind}])
    assert request.ignored == [f"tools[1].type: {kind} cannot run here"]
    assert [tool.tool.name for tool in request.prompt.tools.callable] == ["f"]  # type: ignore[union-attr]
    for more in ({"tools": [{"type": kind}]}, {"tool_choice": "required"}, {"tool_choice": {"type": kind}}):
        assert f"'{kind}'" in str(refused(**{"tools": [FUNCTION, {"type": kind}], **more}))
    assert asked(tools=[{"type": kind}], tool_choice="none").prompt.tools is None  # type: ignore[union-attr]


def test_every_include_is_known() -> None:
    assert asked(include=list(get_args(ResponseIncludable))).ignored == []
    assert refused(include=["x"]).param == "include[0]"


def test_what_names_mean_is_ours() -> None:
    own = set(ResponsesRequest.__struct_fields__)
    rows = [*names.RESPONSE.items()]
    for row in names.RESPONSE.values():
        rows += row.inside.items() if isinstance(row, Opened) else []
    for name, row in rows:
        if isinstance(row, Mapped) and row.to:
            assert row.to.partition(".")[0] in own, name
    assert not own & names.RESPONSE.keys()


# Parameters


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"input": None}, "input"),
        ({"input": 1}, "input"),
        ({"prompt": {"id": "x"}}, "prompt"),
        ({"context_management": [{"type": "compaction"}]}, "context_management"),
        ({"moderation": {"model": "x"}}, "moderation"),
        ({"truncation": "some"}, "truncation"),
        ({"text": {"format": {"type": "xml"}}}, "text.format.type"),
        ({"text": {"format": {"type": "json_schema", "name": "x"}}}, "text.format.schema"),
        ({"text": {"verbosity": "some"}}, "text.verbosity"),
        ({"reasoning": {"summary": "concise"}}, "reasoning.summary"),
        ({"reasoning": {"effort": 1}}, "reasoning.effort"),
        ({"reasoning": {"mode": "pro"}}, "reasoning.mode"),
        ({"reasoning": {"effort": "none"}, "enable_thinking": True}, "enable_thinking"),
        ({"max_output_tokens": 0}, "max_output_tokens"),
        ({"max_output_tokens": 4, "min_tokens": 5}, "min_tokens"),
        ({"top_logprobs": 21}, "top_logprobs"),
        ({"temperature": -1}, "temperature"),
        ({"metadata": {"a": 1}}, "metadata.a"),
        ({"max_tool_calls": 0}, "max_tool_calls"),
        ({"n": 2}, "n"),
        ({"messages": []}, "messages"),
        ({"continue_final_message": True}, "continue_final_message"),
        ({"tool_choice": "required", "tools": [FUNCTION], "ignore_eos": True}, "ignore_eos"),
        ({"text": {"format": {"type": "json_object"}}, "regex": "a"}, "regex"),
        ({"previous_response_id": "resp_1"}, "previous_response_id"),
        ({"background": True}, "background"),
    ],
    ids=json.dumps,
)
def test_what_is_wrong_is_refused_by_its_name(fields: dict[str, Any], param: str) -> None:
    error = refused(**fields)
    assert error.param == param and f"'{param}" in str(error)


def test_parameters_mean_what_those_of_chat_mean() -> None:
    request = asked(
        max_output_tokens=7, temperature=0.5, top_p=0.25, top_k=3, stop="x", keep_alive="5m", grammar="root ::= 'a'"
    )
    assert (request.max_tokens, request.stops, request.keep_alive) == (7, ["x"], 300)
    assert (request.sampling.temperature, request.sampling.top_p, request.sampling.top_k) == (0.5, 0.25, 3)
    assert request.constraint and request.constraint.kind == "grammar" and request.param("prompt") == "input"
    assert asked(max_tokens=7).max_tokens == 7 == asked(max_completion_tokens=7).max_tokens
    assert refused(max_tokens=-3).param == "max_tokens"
    assert asked(new_name=1).ignored == ["new_name"]


def test_a_format_is_a_constraint_called_by_its_name_here() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}}
    request = asked(text={"format": {"type": "json_schema", "name": "x", "schema": schema}})
    assert request.constraint and request.constraint.param == "text.format"
    like_chat = asked(response_format={"type": "json_schema", "json_schema": {"name": "x", "schema": schema}})
    assert like_chat.constraint and like_chat.constraint.source == request.constraint.source
    assert like_chat.constraint.param == "response_format"


def test_reasoning_and_verbosity_go_to_the_template() -> None:
    prompt = asked(reasoning={"effort": "low"}, text={"verbosity": "high"}).prompt
    assert prompt.variables == {  # type: ignore[union-attr]
        "enable_thinking": True,
        "thinking": True,
        "reasoning_effort": "low",
        "verbosity": "high",
    }
    assert {"reasoning.effort", "text.verbosity"} == prompt.variables_set_by.keys()  # type: ignore[union-attr]
    assert asked(text={"verbosity": "medium"}).prompt.variables == {}  # type: ignore[union-attr]


# Items


def test_a_text_is_a_user_s_message_after_the_instructions() -> None:
    prompt = asked(instructions="Be brief.").prompt
    assert [message["role"] for message in prompt.messages] == ["system", "user"]  # type: ignore[union-attr]
    assert messages(says("user", "a")) == [{"role": "user", "content": "a"}]
    assert messages() == [{"role": "user", "content": ""}]


def test_messages_in_all_their_forms() -> None:
    assert messages(
        says("developer", "a"),
        says("user", [text("b"), text("c")], type="message", id="msg_1", status="completed"),
        says("assistant", [text("d", "output_text") | {"annotations": [], "logprobs": []}], phase="final_answer"),
        says("assistant", [{"type": "refusal", "refusal": "No."}]),
        says("user", text("e")),
    ) == [
        {"role": "developer", "content": "a"},
        {"role": "user", "content": "b|c"},
        {"role": "assistant", "content": "d"},
        {"role": "assistant", "content": "No."},
        {"role": "user", "content": "e"},
    ]


def test_reasoning_words_and_calls_are_one_turn() -> None:
    thought = {"type": "reasoning", "id": "rs_1", "summary": [text("Hm.", "summary_text")]}
    assert messages(
        says("user", "a"),
        thought,
        says("assistant", "I look."),
        called("1"),
        called("2", "g", "no JSON", id="fc_2", status="completed"),
        output("x", "1"),
        output([text("y"), text("z")], "2"),
        {"type": "reasoning", "id": "rs_2", "summary": [], "content": [text("So.", "reasoning_text")]},
        says("assistant", "Done."),
    ) == [
        {"role": "user", "content": "a"},
        {
            "role": "assistant",
            "content": "I look.",
            "reasoning_content": "Hm.",
            "calls": [("1", "f", {"a": 1}), ("2", "g", "no JSON")],
        },
        {"role": "tool", "content": "x", "tool_call_id": "1"},
        {"role": "tool", "content": "y|z", "tool_call_id": "2"},
        {"role": "assistant", "content": "Done.", "reasoning_content": "So."},
    ]


def test_encrypted_reasoning_is_read_where_it_is_ours() -> None:
    from nitro.api.responses.sealed import sealed

    whole = {"type": "reasoning", "summary": [text("Short.", "summary_text")], "encrypted_content": sealed("Long.")}
    assert messages(whole, called())[0]["reasoning_content"] == "Long."
    foreign = whole | {"encrypted_content": "gAAAAABo"}
    assert messages(foreign, called())[0]["reasoning_content"] == "Short."
    assert "reasoning_content" not in messages({"type": "reasoning", "summary": []}, called())[0]


def test_custom_calls_are_calls_with_one_argument() -> None:
    made = {"type": "custom_tool_call", "call_id": "1", "name": "c", "input": "a\nb"}
    assert messages(made, output("ok", kind="custom"), tools=[CUSTOM]) == [
        {"role": "assistant", "content": "", "calls": [("1", "c", {"input": "a\nb"})]},
        {"role": "tool", "content": "ok", "tool_call_id": "1"},
    ]


@pytest.mark.parametrize(
    ("item", "param"),
    [
        (says("tool", "x"), "input[0].role"),
        (says("user", [{"type": "input_image", "image_url": "data:"}]), "input[0].content[0].type"),
        (says("user", [{"type": "input_file", "file_id": "x"}]), "input[0].content[0].type"),
        (says("user", [{"type": "input_text"}]), "input[0].content[0].text"),
        (says("user", ["x"]), "input[0].content[0]"),
        (output("x"), "input[0].call_id"),
        ({"type": "function_call_output", "output": "x"}, "input[0].call_id"),
        (called(arguments={}), "input[0].arguments"),  # type: ignore[arg-type]
        ({"type": "function_call", "call_id": "1"}, "input[0].name"),
        ({"type": "custom_tool_call", "call_id": "1", "name": "c"}, "input[0].input"),
        ({"type": "item_reference", "id": "msg_1"}, "input[0].id"),
        ({"id": "msg_1"}, "input[0].id"),
    ],
)
def test_a_wrong_item_is_refused_by_its_place(item: dict[str, Any], param: str) -> None:
    error = refused(input=[item])
    assert error.param == param


def test_unknown_names_in_items_are_told() -> None:
    request = asked(input=[says("user", [text("a") | {"new": 1}], other=2)])
    assert request.ignored == ["input[0].other", "input[0].content[0].new"]


# Tools


def offered(**fields: Any) -> Any:
    return asked(**fields).prompt.tools  # type: ignore[union-attr]


def test_functions_custom_tools_and_namespaces_are_offered() -> None:
    found = offered(tools=[FUNCTION | {"name": "g", "strict": True}, CUSTOM, SPACE, SEARCH])
    assert [(t.tool.name, t.enforced, t.tool.strict) for t in found.callable] == [
        ("g", True, True),
        ("c", True, True),
        ("f", False, False),
        ("d", True, True),
    ]
    shown = {tool["function"]["name"]: tool["function"] for tool in found.offered}
    assert shown["f"]["description"] == "Part of files: Of files."
    assert shown["c"]["parameters"]["required"] == ["input"] and shown["c"]["description"] == "Runs it."


def test_a_function_that_does_not_say_is_held_to_its_schema_as_far_as_that_can_be() -> None:
    (found,) = offered(tools=[{key: value for key, value in FUNCTION.items() if key != "strict"}]).callable
    assert (found.enforced, found.tool.strict) == (True, False)


def test_names_that_two_namespaces_have() -> None:
    request = asked(input=[called(namespace="files"), output("x")], tools=[FUNCTION, SPACE, SPACE | {"name": "more"}])
    names = [tool.tool.name for tool in request.prompt.tools.callable]  # type: ignore[union-attr]
    assert names == ["f", "files__f", "files__d", "more__f", "more__d"]
    (call,) = request.prompt.messages[0]["tool_calls"]  # type: ignore[union-attr]
    assert call["function"]["name"] == "files__f"
    known = reply_options.decode(request.reply_options).called["files__d"]
    assert (known.name, known.namespace, known.custom) == ("d", "files", True)


def test_grammars_of_custom_tools() -> None:
    lark = {"type": "grammar", "syntax": "lark", "definition": 'start: "a"+'}
    regex = {"type": "grammar", "syntax": "regex", "definition": "a+"}
    found = offered(tools=[CUSTOM | {"format": lark}, CUSTOM | {"name": "d", "format": regex}])
    assert [tool.grammar for tool in found.callable] == ['start: "a"+', None]
    assert found.callable[1].schema["properties"]["input"]["pattern"] == "^(?:a+)$"
    assert [tool.param for tool in found.callable] == [f"tools[{i}].format.definition" for i in range(2)]
    for tool, definition in zip(found.offered, ('start: "a"+', "a+"), strict=True):
        assert tool["function"]["parameters"]["properties"]["input"]["description"].endswith(definition)
        assert "pattern" not in tool["function"]["parameters"]["properties"]["input"]


@pytest.mark.parametrize(
    ("choice", "names", "required"),
    [
        (None, "f c", False),
        ("auto", "f c", False),
        ("required", "f c", True),
        ({"type": "function", "name": "f"}, "f", True),
        ({"type": "custom", "name": "c"}, "c", True),
        ({"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "f"}]}, "f", False),
        ({"type": "allowed_tools", "mode": "required", "tools": [{"type": "custom", "name": "c"}]}, "c", True),
    ],
)
def test_choices(choice: Any, names: str, required: bool) -> None:
    found = offered(tools=[FUNCTION, CUSTOM], tool_choice=choice)
    assert (" ".join(tool.tool.name for tool in found.callable), found.required) == (names, required)


def test_a_namespace_may_be_chosen() -> None:
    choice = {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "namespace", "name": "files"}]}
    assert [t.tool.name for t in offered(tools=[CUSTOM, SPACE], tool_choice=choice).callable] == ["f", "d"]


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"tools": [{"name": "f"}]}, "tools[0].type"),
        ({"tools": [{"type": "function"}]}, "tools[0].name"),
        ({"tools": [FUNCTION | {"name": "a b"}]}, "tools[0].name"),
        ({"tools": [FUNCTION | {"parameters": {"type": "array"}}]}, "tools[0].parameters"),
        ({"tools": [FUNCTION | {"strict": 1}]}, "tools[0].strict"),
        ({"tools": [FUNCTION | {"async": True}]}, "tools[0].async"),
        ({"tools": [FUNCTION, FUNCTION]}, "tools[1].name"),
        ({"tools": [CUSTOM | {"format": {"type": "x"}}]}, "tools[0].format.type"),
        ({"tools": [CUSTOM | {"format": {"type": "grammar", "syntax": "bnf"}}]}, "tools[0].format.syntax"),
        ({"tools": [CUSTOM | {"format": {"type": "grammar", "syntax": "lark"}}]}, "tools[0].format.definition"),
        ({"tools": [SPACE | {"tools": [SEARCH]}]}, "tools[0].tools[0].type"),
        ({"tools": [SPACE | {"tools": None}]}, "tools[0].tools"),
        ({"tool_choice": "some"}, "tool_choice"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tools": [FUNCTION], "tool_choice": {"type": "function", "name": "g"}}, "tool_choice"),
        ({"tools": [FUNCTION], "tool_choice": {"type": "custom", "name": "f"}}, "tool_choice"),
        ({"tools": [FUNCTION], "tool_choice": {"type": "mcp", "server_label": "x"}}, "tool_choice.type"),
        ({"tools": [FUNCTION], "tool_choice": {"type": "allowed_tools", "mode": "x"}}, "tool_choice.mode"),
        ({"tools": [FUNCTION], "tool_choice": {"type": "allowed_tools", "mode": "auto"}}, "tool_choice.tools"),
        ({"tools": [FUNCTION, SEARCH], "tool_choice": "required"}, "tools[1].type"),
    ],
    ids=lambda value: json.dumps(value)[:60],
)
def test_a_wrong_tool_is_refused_by_its_place(fields: dict[str, Any], param: str) -> None:
    assert refused(**fields).param == param


def test_places_of_messages() -> None:
    """A template's complaint is told of an item, wherever its message has come from."""
    call = {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"}
    output = {"type": "function_call_output", "call_id": "c", "output": "x"}
    given = [says("user", "a"), call, says("assistant", "b"), output]
    prompt = asked(instructions="i", input=given).prompt
    assert prompt.places == ["instructions", "input[0]", "input[1]", "input[3]"]  # type: ignore[union-attr]
    before = history.encode(history.History([Raw(json.dumps(says("user", "z")).encode())]))
    body = {"input": "a", "previous_response_id": "resp_1"}
    prompt = read(json.dumps(body).encode(), SETUP, before).prompt
    assert prompt.places == ["previous_response_id[0]", "input[0]"]  # type: ignore[union-attr]
