"""What a chat template writes into the history for a call's argument, its family's format reads back as that value:
each template whose arguments stand in tags, and odd texts under schemas that allow more than a text, or say little."""

import json
from typing import Any

import pytest
import sdist
from hypothesis import given, settings
from hypothesis import strategies as st
from test_templates import compiled, read, said

from nitro.text.tools import Tool

quick = settings(deadline=None, database=None)
TEXT: dict[str, Any] = {"type": "string"}
TEXTS: dict[str, dict[str, Any]] = {
    "text": TEXT,
    "or null": {"type": ["string", "null"]},
    "any of": {"anyOf": [TEXT, {"type": "null"}]},
    "one of": {"oneOf": [TEXT, {"type": "integer"}]},
    "nullable": {"type": "string", "nullable": True},
    "format": {"type": "string", "format": "uri"},
    "annotated": {"type": "string", "x-ui": {"widget": "area"}},
    "referred": {"$ref": "#/$defs/text"},
    "choice": {"enum": ['"a"', "1", "None", "", 2, None]},
    "all of": {"allOf": [TEXT, {"description": "Any."}]},
    "nothing said": {},
}
VALUES: dict[str, tuple[dict[str, Any], list[Any]]] = {
    "integer": ({"type": "integer"}, [0, -7, 10**18]),
    "number": ({"type": "number"}, [1.5, -2, 1e30]),
    "boolean": ({"type": "boolean"}, [True, False]),
    "maybe a number": ({"type": ["integer", "null"]}, [5, None]),
    "maybe a text": ({"anyOf": [TEXT, {"type": "null"}]}, [None]),
    "list": ({"type": "array"}, [[], ["a", 'b"', "it's", None, True], [[1], {"x": "'"}]]),
    "object": ({"type": "object"}, [{}, {"a": "x, y", "b": [1.5, None, {"c": False}]}]),
}
ODD = [
    '"exact phrase"',
    "'single'",
    '"""Docs."""',
    '("a" "b")',
    "['a', 'b']",
    "[1, 2",
    '{"a": ',
    "f'{x}'",
    "b'a'",
    "1 + 1",
    "__import__('os')",
    "a\nb",
    "\n a\n",
    "  a  ",
    "5 > 3 & x < y",
    "C:\\new\\table",
    "`a`",
    "kůň 🐎",
    "null and void",
    "None of it",
    "0123",
    "",
]
TAGGED = [
    name
    for name in sdist.templates()
    if (family := compiled(name)[1]).native_tools and family.writes_calls and family.format.layout.parameter is not None
]


# What a template writes so that it can mean another thing
_QUOTES = "it writes quotes and backslashes in a text as they are"
_NULL = "it writes nothing for null"
EXPLAINED = {"LFM2.5-8B-A1B": _QUOTES, "MiniMax-M3": _NULL}


def is_unclear(name: str, value: Any) -> bool:
    reason = EXPLAINED.get(name)
    written = json.dumps(value)
    return (reason == _QUOTES and "\\\\" in written) or (reason == _NULL and "null" in written)


def tool(schema: dict[str, Any]) -> Tool:
    return Tool("f", {"type": "object", "properties": {"x": schema}, "$defs": {"text": TEXT}})


def read_back(name: str, value: Any, schema: dict[str, Any]) -> list[Any]:
    text, thinking = said(name, [("f", {"x": value})])
    parser = compiled(name)[1].parser({"f": tool(schema)}, stream_calls=False, in_reasoning=thinking)
    return [json.loads(arguments) for _, arguments in read(parser, [text])[2]]


def means_more(text: str, schema: dict[str, Any]) -> bool:
    """Whether the text is JSON of another type that the schema allows, or Jinja's word for it: then that is meant."""
    if text in schema.get("enum", ()) or schema in (TEXT, TEXTS["format"], TEXTS["annotated"], TEXTS["referred"]):
        return False
    try:
        value = json.loads({"None": "null", "True": "true", "False": "false"}.get(text.strip(), text))
    except (ValueError, RecursionError):
        return False
    return not isinstance(value, str)


def test_there_are_templates() -> None:
    assert len({compiled(name)[1].format.name for name in TAGGED}) >= 9


@pytest.mark.parametrize("name", TAGGED)
def test_odd_texts_are_read_back(name: str) -> None:
    for kind, schema in TEXTS.items():
        for text in ODD:
            if kind != "choice" and not means_more(text, schema) and not is_unclear(name, text):
                assert read_back(name, text, schema) == [{"x": text}], (kind, text)
    for text in ('"a"', "1", "None", ""):
        assert read_back(name, text, TEXTS["choice"]) == [{"x": text}]


@pytest.mark.parametrize("name", TAGGED)
def test_other_values_are_read_back(name: str) -> None:
    for kind, (schema, values) in VALUES.items():
        for value in values:
            if not is_unclear(name, value):
                assert read_back(name, value, schema) == [{"x": value}], kind


@pytest.mark.parametrize("name", TAGGED)
def test_any_text_is_read_back(name: str) -> None:
    @settings(quick, max_examples=25)
    @given(st.text("\"'`[]{}()\\,: \nab1.-ř", max_size=12), st.sampled_from(sorted(set(TEXTS) - {"choice"})))
    def any_text(text: str, kind: str) -> None:
        if not means_more(text, TEXTS[kind]) and not (EXPLAINED.get(name) == _QUOTES and set(text) & set("\\'")):
            assert read_back(name, text, TEXTS[kind]) == [{"x": text}]

    any_text()
