"""Tools in every shape that the API takes reach every chat template."""

from typing import Any

import pytest
import sdist
from test_templates import compiled

from nitro.errors import TemplateError
from nitro.text.template import ChatTemplate

PLACE = {"type": "string", "description": "Its name."}
ARGUMENTS: dict[str, Any] = {
    "no words": {"type": "string"},
    "null for words": {"type": "string", "description": None},
    "no type": {"description": "Its name."},
    "nothing": {},
    "true": True,
    "a type or null": {"type": ["string", "null"], "description": "Its name."},
    "null or a type": {"type": ["null", "string"]},
    "null": {"type": "null"},
    "a union": {"anyOf": [{"type": "string"}, {"type": "null"}], "default": None},
    "values": {"enum": ["Oslo", 1, None]},
    "a reference": {"$ref": "#/$defs/place"},
    "a list of anything": {"type": "array"},
    "a list or null": {"type": ["array", "null"], "items": {"type": ["string", "null"]}},
    "an object": {"type": "object", "properties": {"name": {"type": ["string", "null"]}}},
    "a list of objects": {"type": "array", "items": {"type": "object", "properties": {"name": {}}}},
}
FUNCTIONS: list[dict[str, Any]] = [
    {"name": "only_a_name"},
    {"name": "no_description", "parameters": {"type": "object", "properties": {"place": PLACE}}},
    {"name": "nulls", "description": None, "strict": None, "parameters": None},
    {"name": "an_empty_schema", "description": "Goes.", "parameters": {}},
    {"name": "no_properties", "description": "Goes.", "parameters": {"type": "object"}},
    {
        "name": "arguments",
        "description": "Goes.",
        "parameters": {"type": "object", "properties": ARGUMENTS, "$defs": {"place": {"type": "string"}}},
    },
]
LEFT_OUT = {("meetkai-functionary-medium-v3.2", "true")}  # it writes arguments that are objects


@pytest.mark.parametrize("name", sdist.templates())
def test_a_template_takes_tools_in_every_shape(name: str) -> None:
    template, family = compiled(name)
    tools = [{"type": "function", "function": function} for function in FUNCTIONS]
    text = family.prompt(template, [{"role": "user", "content": "Go."}], tools)
    words = [function["name"] for function in FUNCTIONS] + [key for key in ARGUMENTS if (name, key) not in LEFT_OUT]
    assert all(word in text for word in words)


def test_a_template_that_takes_the_tools_sees_them_as_they_are() -> None:
    source = "{{ tools | tojson }}"
    tools = [{"type": "function", "function": {"name": "f", "parameters": {"properties": {"a": {"type": ["null"]}}}}}]
    text = '[{"type": "function", "function": {"name": "f", "parameters": {"properties": {"a": {"type": ["null"]}}}}}]'
    assert ChatTemplate(source).render([], tools) == text


def test_a_template_that_refuses_all_shapes_says_why() -> None:
    deep: dict[str, Any] = {}
    for _ in range(2000):
        deep = {"type": "object", "properties": {"a": deep}}
    for schema in ({"type": "object"}, deep):
        tools = [{"type": "function", "function": {"name": "f", "parameters": schema}}]
        with pytest.raises(TemplateError):
            ChatTemplate("{{ raise_exception('No tools.') if tools }}").render([{"role": "user", "content": ""}], tools)


def test_tools_by_the_name_that_the_template_has() -> None:
    tools = [{"type": "function", "function": {"name": "f"}}]
    loop = "{% for tool in xml_tools or [] %}{{ tool.function.name }}{% endfor %}"
    assert ChatTemplate(loop).render([], tools) == "f" and ChatTemplate(loop).render([]) == ""
    assert ChatTemplate("{{ tools | length }}" + loop).render([], tools) == "1"
