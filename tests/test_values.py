"""Arguments that models write without JSON's quotes: what they mean, by the tool's schema."""

import json
from typing import Any

import pytest

from nitro.text.tool_formats.argument_values import allowed_types, is_raw_text, text_to_json

TEXT: dict[str, Any] = {"type": "string"}
MAYBE: dict[str, Any] = {"anyOf": [TEXT, {"type": "null"}]}
DEEP = {"$defs": {"name": TEXT, "self": {"$ref": "#/$defs/self"}, "a/b": {"type": "integer"}}}


@pytest.mark.parametrize(
    "schema, text, value",
    [
        (TEXT, "0123", "0123"),
        (TEXT, "null", "null"),
        (TEXT, ' "a" \n', ' "a" \n'),
        ({"$ref": "#/$defs/name"}, "5", "5"),
        ({"enum": ["1", "2"]}, "1", "1"),
        ({"enum": [1, 2]}, "1", 1),
        ({"const": "1"}, "1", "1"),
        ({"type": "integer"}, "12", 12),
        ({"type": "integer"}, "3.0", 3.0),
        ({"type": "integer"}, "three", "three"),
        ({"type": "boolean"}, "True", True),
        ({"type": "boolean"}, " false\n", False),
        ({"type": "array"}, "['a', 'it\\'s']", ["a", "it's"]),
        ({"type": "object"}, '{"a": [1.50, null]}', {"a": [1.5, None]}),
        ({"type": "object"}, "[1]", "[1]"),
        (MAYBE, "null", None),
        (MAYBE, "None", None),
        (MAYBE, "12", "12"),
        (MAYBE, "a b", "a b"),
        ({"type": ["string", "null"]}, "null", None),
        ({"type": "string", "format": "date"}, "2024-01-31", "2024-01-31"),
        ({"type": "string", "format": "date"}, '"2024-01-31"', '"2024-01-31"'),
        ({"type": "string", "nullable": True}, "null", None),
        ({"type": "string", "nullable": True}, '"a b"', '"a b"'),
        ({"type": "string", "x-ui": {}}, '"""Docs."""', '"""Docs."""'),
        (MAYBE, '"exact phrase"', '"exact phrase"'),
        (MAYBE, '("a" "b")', '("a" "b")'),
        (MAYBE, "['a']", "['a']"),
        ({"type": ["string", "array"]}, "['a']", "['a']"),
        ({"type": ["string", "array"]}, '["a"]', ["a"]),
        ({"type": ["string", "integer"]}, "12", 12),
        ({"type": ["string", "boolean"]}, "True", True),
        ({"enum": ["1", 2, None]}, "1", "1"),
        ({"enum": ["1", 2, None]}, "2", 2),
        ({"enum": ["1", 2, None]}, "3", 3),
        ({"enum": ["None", None]}, "None", "None"),
        ({"type": ["integer", "null"]}, "", None),
        ({"type": "array"}, "", []),
        ({"type": "object"}, "\n", {}),
        (None, '"a b"', '"a b"'),
        (None, "{'a': 1}", "{'a': 1}"),
        (None, "12", 12),
        (None, "a b", "a b"),
        (None, "NaN", "NaN"),
        (None, "1e999", "1e999"),
        (True, "[1, 2", "[1, 2"),
        ({"$ref": "#/$defs/self"}, "1", 1),
        ({"$ref": "#/nowhere"}, "1", 1),
    ],
)
def test_what_a_value_means(schema: Any, text: str, value: Any) -> None:
    made = json.loads(text_to_json(text, schema, DEEP))
    assert (made, type(made)) == (value, type(value))


@pytest.mark.parametrize("name", ["integer", "number", "boolean"])
def test_an_empty_number_says_nothing(name: str) -> None:
    for text in ("", " \n"):
        assert text_to_json(text, {"type": name}, {}) is None


def test_what_a_grammar_has_had_written_in_json() -> None:
    """What is no raw text has its quotes then."""
    for schema in ({"type": "string", "format": "date"}, MAYBE, {"enum": ["a", 1]}, {}):
        assert text_to_json('"a"', schema, {}, enforced=True) == '"a"'
    assert text_to_json('"a"', TEXT, {}, enforced=True) == text_to_json('"a"', None, {}, enforced=True) == r'"\"a\""'


def test_numbers_stay_as_they_are_written() -> None:
    assert text_to_json(" 12345678901234567890.10 ", {"type": "number"}, {}) == "12345678901234567890.10"


@pytest.mark.parametrize(
    "text", ["[" * 5000, "9" * 5000, "{1: {2}}", "\ud800", "b'a'", "(1, 2)", "1j", "__import__('os')"]
)
def test_nothing_raises(text: str) -> None:
    for schema in (None, TEXT, {"type": "array"}, {"type": "integer"}, {"enum": [1, "a"]}):
        json.loads(text_to_json(text, schema, {}) or "0").__repr__().encode()


def test_a_schema_that_refers_to_itself_again_and_again() -> None:
    """Each part is looked at once, or this would not end."""
    parts = {
        str(i): {"anyOf": [{"$ref": f"#/$defs/{(i + 1) % 30}"}, {"$ref": f"#/$defs/{(i + 2) % 30}"}] * 5}
        for i in range(30)
    }
    assert "array" in allowed_types({"$ref": "#/$defs/0"}, {"$defs": parts})


def test_odd_schemas_say_nothing() -> None:
    """They may be refused elsewhere, where they are to be kept."""
    for odd in ({"type": 5}, {"enum": 5}, {"anyOf": 5}, {"allOf": 5}, {"$ref": 5}, {"type": [[1]]}):
        assert json.loads(text_to_json("a", odd, {"properties": 5})) == "a"


def test_types() -> None:
    assert allowed_types({"$ref": "#/$defs/a~1b"}, DEEP) == {"integer"}
    assert allowed_types({"allOf": [{"type": ["string", "null"]}, {"enum": ["a", 1]}]}, {}) == {"string"}
    assert "array" in allowed_types({"oneOf": [{"type": "number"}, {}]}, {})
    assert not is_raw_text({"type": "string", "format": "date"}, {}) and is_raw_text({"const": "a", "title": "A"}, {})
