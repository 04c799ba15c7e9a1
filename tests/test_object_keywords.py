"""Which keywords of a whole object cannot be left to its properties, in formats that write them one by one."""

from typing import Any

import pytest

from nitro.text.object_keywords import with_effect

PROPERTIES = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}
CLOSED = {**PROPERTIES, "additionalProperties": False}


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"$schema": "x", "$id": "x", "id": "x", "$defs": {}, "title": "x", "example": {}, "$vocabulary": {}},
        {"x-ui": 1, "xml": {}, "externalDocs": {}, "nullable": False, "discriminator": {}, "minLength": 5},
        {"minProperties": 0},
        {"minProperties": 1},
        {"patternProperties": {}, "dependentRequired": {}, "dependentSchemas": {}, "dependencies": {}, "allOf": []},
        {"propertyNames": True, "unevaluatedProperties": True, "not": False},
        {"if": {"required": ["a"]}},
        {"then": False, "else": False},
    ],
    ids=str,
)
def test_what_says_nothing(more: dict[str, Any]) -> None:
    assert with_effect({**PROPERTIES, **more}) == []


def test_what_says_nothing_of_a_closed_object() -> None:
    assert with_effect({**CLOSED, "unevaluatedProperties": False, "maxProperties": 1}) == []


@pytest.mark.parametrize(
    "keyword, value",
    [
        ("minProperties", 2),
        ("minProperties", "1"),
        ("maxProperties", 1),
        ("patternProperties", {"^x": {}}),
        ("propertyNames", False),
        ("unevaluatedProperties", False),
        ("dependentRequired", {"a": ["b"]}),
        ("dependencies", 5),
        ("anyOf", []),
        ("oneOf", [{}]),
        ("not", {}),
        ("not", True),
        ("enum", []),
        ("const", {}),
        ("$ref", "#/$defs/a"),
    ],
)
def test_what_says_something(keyword: str, value: Any) -> None:
    assert with_effect({**PROPERTIES, keyword: value}) == [keyword]


def test_conditions_say_something_together() -> None:
    assert with_effect({**PROPERTIES, "if": {}, "then": {"required": ["b"]}}) == ["if", "then"]
    assert with_effect({**CLOSED, "maxProperties": 0}) == ["maxProperties"]
