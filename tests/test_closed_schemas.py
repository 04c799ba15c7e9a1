"""Objects have the properties that their schema lists and no others, unless a request wants JSON Schema's meaning."""

import json
from typing import Any

import httpx
import pytest
from running import RunningServer

from nitro.engines.backends.fake import FakeRunner
from nitro.engines.constraints.grammar import GrammarCompiler
from nitro.engines.types import Constraint, EngineSpec
from nitro.text.closed_schemas import closed

runner = FakeRunner(EngineSpec("fake", ""))
grammars = GrammarCompiler(runner.tokenizer, runner.info)


def has(*names: str, **others: Any) -> dict[str, Any]:
    """The schema of an object with these properties."""
    return {"type": "object", "properties": {name: {"type": "integer"} for name in names}, **others}


NODE = has("v", required=["v"])
NODE["properties"]["next"] = {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]}
UNION = {"anyOf": [has("a"), has("b")]}
# Schema, values that keep it when it is closed, values that do not.
SCHEMAS: dict[str, tuple[dict[str, Any], list[Any], list[Any]]] = {
    "properties": (has("a"), [{"a": 1}, {}], [{"b": 1}, {"a": 1, "b": 1}]),
    "no properties": ({"type": "object"}, [{"b": 1}], []),
    "none listed": (has(), [{}], [{"b": 1}]),
    "true": (has("a", additionalProperties=True), [{"a": 1, "b": 1}], []),
    "a schema": (has("a", additionalProperties={"type": "null"}), [{"b": None}], [{"b": 1}]),
    "patterns": (has("a", patternProperties={"^b": {}}), [{"b": 1, "c": 1}], []),
    "a map": ({"type": "object", "additionalProperties": has("a")}, [{"x": {"a": 1}}], [{"x": {"b": 1}}]),
    "inside": (
        {"type": "object", "properties": {"in": {"type": "array", "items": has("a")}}},
        [{"in": [{"a": 1}]}],
        [{"in": [{"b": 1}]}],
    ),
    "or null": ({"type": ["object", "null"], "properties": {"a": {}}}, [None, {"a": 1}], [{"b": 1}]),
    "required, not listed": (has("a", required=["b"]), [{"a": 1, "b": 1}, {"b": "x"}], [{"b": 1, "c": 1}]),
    "allOf": ({"allOf": [has("a"), has("b")]}, [{"a": 1, "b": 2}, {}], [{"c": 1}, {"a": 1, "b": 1, "c": 1}]),
    "allOf beside": ({**has("a"), "allOf": [has("b")]}, [{"a": 1, "b": 1}], [{"a": 1, "c": 1}]),
    "allOf with one that is open": ({"allOf": [has("a"), has("b", additionalProperties=True)]}, [{"a": 1, "c": 2}], []),
    "a reference": ({"$ref": "#/$defs/A", "$defs": {"A": has("a")}}, [{"a": 1}], [{"c": 1}]),
    "a reference in allOf": (
        {"allOf": [{"$ref": "#/$defs/A"}, has("b")], "$defs": {"A": has("a")}},
        [{"a": 1, "b": 2}],
        [{"a": 1, "b": 2, "c": 1}],
    ),
    "a reference beside properties": (
        {"$ref": "#/$defs/A", "properties": {"b": {}}, "$defs": {"A": has("a")}},
        [{"a": 1, "b": 1}],
        [{"c": 1}],
    ),
    "a reference alone and in allOf": (
        {
            "type": "object",
            "properties": {"x": {"$ref": "#/$defs/A"}, "y": {"allOf": [{"$ref": "#/$defs/A"}, has("b")]}},
            "$defs": {"A": has("a")},
        },
        [{"x": {"a": 1}, "y": {"a": 1, "b": 2}}],
        [{"x": {"b": 1}}, {"y": {"c": 1}}],
    ),
    "a reference to itself": (
        {"$defs": {"node": NODE}, "$ref": "#/$defs/node"},
        [{"v": 1, "next": {"v": 2, "next": None}}],
        [{"v": 1, "next": {"v": 2, "other": 1}}],
    ),
    "anyOf": (
        {"anyOf": [has("a", required=["a"]), has("b", required=["b"])]},
        [{"a": 1}, {"b": 1}],
        [{"a": 1, "c": 1}, {"b": 1, "c": 1}],
    ),
    "anyOf beside properties": (
        {**has("t"), "anyOf": [has("a", required=["a"]), has("b", required=["b"])]},
        [{"t": 1, "a": 1}, {"t": 1, "b": 1}],
        [{"t": 1, "a": 1, "c": 1}, {"t": 1}],
    ),
    "anyOf of what is required": (
        {**has("a", "b"), "anyOf": [{"required": ["a"]}, {"required": ["b"]}]},
        [{"a": 1}, {"a": 1, "b": 1}],
        [{"a": 1, "c": 1}, {}],
    ),
    "a union in allOf": ({"allOf": [{"$ref": "#/$defs/U"}], "$defs": {"U": UNION}}, [{"a": 1}, {"b": 1}], [{"c": 1}]),
    "anyOf in allOf": (
        {**has("a"), "allOf": [{"$ref": "#/$defs/B"}, {"anyOf": [has("c"), has("d")]}], "$defs": {"B": has("b")}},
        [{"a": 1, "b": 1}, {"a": 1, "b": 1, "c": 1}, {"d": 1}],
        [{"e": 1}],
    ),
}


def keeps(schema: dict[str, Any], value: Any) -> bool:
    matcher = grammars.matcher(Constraint("json_schema", json.dumps(schema), "json_schema"))
    return all(matcher.accept(token) for token in json.dumps(value).encode()) and matcher.allows(256)


@pytest.mark.parametrize("name", SCHEMAS)
def test_objects_are_closed_and_can_be_kept(name: str) -> None:
    schema, kept, broken = SCHEMAS[name]
    given = json.dumps(schema)
    changed = closed(schema)
    assert json.dumps(schema) == given
    assert [keeps(changed, value) for value in kept] == [True] * len(kept)
    assert [keeps(changed, value) for value in broken] == [False] * len(broken)
    assert all(keeps(schema, value) for value in kept)  # no more than what the schema itself allows


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object", "properties": 5},
        {"type": "string", "properties": {"a": {}}},
        has("a", minProperties=2),
        has("a", propertyNames={"maxLength": 3}),
        {"properties": {"a": {}}, "const": {"b": 1}},
        {"not": has("a")},
        {"type": "object", "$ref": "https://example.org/a", "properties": {"a": {}}},
        {"properties": {"a": {}}, "allOf": [{"$ref": "#nowhere"}]},
        {"allOf": [5, None, True]},
        {"$ref": "#"},
    ],
    ids=str,
)
def test_what_stays_as_it_is(schema: dict[str, Any]) -> None:
    assert closed(schema) == schema


def test_many_that_describe_one_object_do_not_make_a_schema_large() -> None:
    """Each part of so many would list what all others do: of ten thousand characters, three quarters of a million."""
    schema = {"allOf": [has(*(f"p{i}_{j}" for j in range(5))) for i in range(100)]}
    assert closed(schema) == schema
    few = closed({"allOf": [has("a"), has("b")]})
    assert all(part["additionalProperties"] is False for part in few["allOf"])


def test_deep_schemas_and_long_ones_are_closed_in_no_time() -> None:
    deep: dict[str, Any] = {}
    for i in range(400):
        deep = {"properties": {"a": deep}} if i % 2 else {"allOf": [deep], "properties": {}}
    assert closed(deep)["additionalProperties"] is False
    definitions = {f"d{i}": {"allOf": [{"$ref": f"#/$defs/d{i + 1}"}, has(f"p{i}")]} for i in range(300)}
    long = {"$ref": "#/$defs/d0", "$defs": definitions}
    assert closed(long) == long  # each would have to be written for each other
    some = {"$ref": "#/$defs/d290", "$defs": {f"d{i}": definitions[f"d{i}"] for i in range(290, 300)} | {"d300": {}}}
    assert keeps(closed(some), {"p299": 1, "p290": 1}) and not keeps(closed(some), {"p299": 1, "p1": 1})


ASKED = {
    "response_format": {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": has("a")}}},
    "json_schema": {"json_schema": has("a")},
}


@pytest.mark.parametrize("name", ASKED)
def test_a_request_may_want_the_meaning_of_json_schema(saying: RunningServer, name: str) -> None:
    """The model wants to say a property that is not listed."""
    body = {"messages": [{"role": "user", "content": '␂{"b":1}␃'}], "max_tokens": 60, **ASKED[name]}

    def said(**more: Any) -> str:
        reply = httpx.post(f"{saying.url}/v1/chat/completions", json={**body, **more}, timeout=60).json()
        return reply["choices"][0]["message"]["content"]

    assert not said().startswith('{"b"') and not said(disable_additional_properties=True).startswith('{"b"')
    assert said(disable_additional_properties=False) == '{"b":1}'


@pytest.mark.parametrize("choice", ["auto", "required"])
def test_arguments_are_closed_too(saying: RunningServer, choice: str) -> None:
    call = '<tool_call>\n{"name": "f", "arguments": {"in": {"b": 1}}}\n</tool_call>'
    parameters = {"type": "object", "properties": {"in": has("a")}}
    function = {"name": "f", "parameters": parameters, "strict": choice == "auto"}
    body = {
        "messages": [{"role": "user", "content": f"␂{call}␃"}],
        "tools": [{"type": "function", "function": function}],
        "tool_choice": choice,
        "max_tokens": 100,
    }

    def arguments(**more: Any) -> list[Any]:
        reply = httpx.post(f"{saying.url}/v1/chat/completions", json={**body, **more}, timeout=60).json()
        calls = reply["choices"][0]["message"].get("tool_calls") or []
        return [json.loads(call["function"]["arguments"]) for call in calls]

    assert all(set(one.get("in", {})) <= {"a"} for one in arguments())
    assert arguments(disable_additional_properties=False) == [{"in": {"b": 1}}]


def test_answers_of_a_small_model_end(smollm_server: RunningServer) -> None:
    """SmolLM2 as `llm --schema` asks it, without additionalProperties: it has written the list by then."""
    dog = {"type": "object", "properties": {"name": {"type": "string"}, "bio": {"type": "string"}}}
    dog["required"] = ["name", "bio"]
    schema = {"type": "object", "properties": {"items": {"type": "array", "items": dog, "maxItems": 3}}}
    form = {"type": "json_schema", "json_schema": {"name": "output", "schema": {**schema, "required": ["items"]}}}
    for seed in range(3):
        body = {
            "messages": [{"role": "user", "content": "Invent three cool dogs."}],
            "response_format": form,
            "max_tokens": 600,
            "temperature": 0.7,
            "seed": seed,
        }
        reply = httpx.post(f"{smollm_server.url}/v1/chat/completions", json=body, timeout=300).json()
        (choice,) = reply["choices"]
        assert choice["finish_reason"] == "stop", choice
        items = json.loads(choice["message"]["content"])["items"]
        assert len(items) <= 3 and all(set(item) == {"name", "bio"} for item in items)
