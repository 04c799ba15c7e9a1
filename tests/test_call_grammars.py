"""Grammars of many calls: they grow by names, each name can be called, and what tools share is said of each."""

import json
import random
from typing import Any

import jsonschema_rs
import pytest
from test_forced_calls import NOTHING, Refused, Tokenizer, drawn, ends_of, info, read

from nitro.engines.backends.fake import EOG
from nitro.engines.constraints.grammar import GrammarCompiler
from nitro.service.answer_constraint import with_tools
from nitro.service.requests import OfferedTools
from nitro.text.family import ModelFamily
from nitro.text.tool_formats import known
from nitro.text.tool_formats.history import write_calls
from nitro.text.tool_grammar import CallableTool
from nitro.text.tools import Tool

NAMES = ["get", "get_time", "get_time_in", "gets", "a", "ab", "abc", "a.b", "a:1", "z-9", "Get"]


@pytest.mark.parametrize("name", sorted(known()))
def test_names_that_begin_alike_can_all_be_called(name: str) -> None:
    """And nothing that only begins like them."""
    format = known()[name]
    tools = {called: Tool(called, NOTHING) for called in NAMES}
    offered = OfferedTools([], [CallableTool(tool, tool.name, enforced=True) for tool in tools.values()], True, False)
    tokenizer = Tokenizer([])
    matcher = GrammarCompiler(tokenizer, info(tokenizer.size)).matcher(with_tools(None, offered, format, False))
    for called in [*NAMES, "ge", "get_", "get_time_i", "abcd", "g"]:
        copy = matcher.copy()
        text = write_calls([(called, {})], format.layout)
        said = all(copy.accept(token) for token in tokenizer.encode(text)) and copy.allows(EOG)
        assert said == (called in NAMES), text


def grammar_size(count: int, name: str) -> int:
    """Of so many tools, whose arguments are alike but for names."""
    schema = {"type": "object", "properties": {"q": {"type": "string"}, "n": {"type": "integer", "minimum": 1}}}
    tools = [Tool(f"tool_number_{i}", {**schema, "description": f"The tool {i}."}) for i in range(count)]
    offered = OfferedTools([], [CallableTool(tool, tool.name, enforced=True) for tool in tools], True, True)
    constraint = with_tools(None, offered, known()[name], True)
    return sum(map(len, [constraint.source, *constraint.marks, *(schema.source for schema in constraint.schemas)]))


@pytest.mark.parametrize("name", sorted(known()))
def test_a_grammar_grows_by_names(name: str) -> None:
    """What is written alike is written once."""
    assert grammar_size(300, name) - grammar_size(100, name) < 200 * 40


def test_a_schema_that_several_tools_have_names_each_of_them() -> None:
    """Where it is not enforced, and where it is refused; but a call that breaks it might be of any."""
    odd = {"type": "object", "properties": {"x": {"type": "string", "pattern": "(?=a)"}, "y": {"type": "integer"}}}
    tokenizer = Tokenizer([])
    compiler = GrammarCompiler(tokenizer, info(tokenizer.size))
    for name in ("hermes", "qwen3_coder"):
        tools = [CallableTool(Tool(f"f{i}", odd), f"tools[{i}]", enforced=True) for i in range(3)]
        constraint = with_tools(None, OfferedTools([], tools, True, False), known()[name], False)
        assert len(constraint.schemas) == 1 and len(constraint.schemas[0].places) == 3
        told = compiler.unenforced(constraint)
        assert [one.partition("':")[0] for one in told] == [f"tools[{i}]: tool 'f{i}" for i in range(3)]
        assert all("pattern (at /properties/x)" in one for one in told)


ROOT: dict[str, Any] = {
    "type": "object",
    "properties": {
        "word": {"type": "string", "maxLength": 3},
        "words": {"type": "array", "items": {"$ref": "#/properties/word"}, "maxItems": 2},
        "more": {"type": "array", "items": {"$ref": "#"}, "maxItems": 1},
    },
    "required": ["words"],
}


@pytest.mark.parametrize("name", sorted(known()))
def test_arguments_that_refer_to_the_whole(name: str) -> None:
    """They are written one by one, and each has what it refers to."""
    format, tokenizer, tool = known()[name], Tokenizer([]), Tool("f", ROOT, strict=True)
    keeps = jsonschema_rs.validator_for(ROOT).is_valid
    tools = OfferedTools([], [CallableTool(tool, "f", enforced=True)], required=True, parallel=False)
    matcher = GrammarCompiler(tokenizer, info(tokenizer.size)).matcher(with_tools(None, tools, format, False))
    for given in ({"words": ["abc"]}, {"words": [], "more": [{"words": ["a", "b"]}]}):
        copy = matcher.copy()
        text = write_calls([("f", given)], format.layout)
        assert all(copy.accept(token) for token in tokenizer.encode(text)), text
        content, calls = read(ModelFamily(format, True, None).parser({"f": tool}, True, False), text)
        assert not content and keeps(given) and json.loads(calls[0][1]) == given
    copy = matcher.copy()
    text = write_calls([("f", {"words": ["abcd"]})], format.layout)
    assert not all(copy.accept(token) for token in tokenizer.encode(text)), text


@pytest.mark.parametrize(("count", "param"), [(1, "tools[0]"), (2, "tools")])
@pytest.mark.parametrize("name", ["hermes", "qwen3_coder", "gemma4"])
def test_whose_schema_a_call_breaks(name: str, count: int, param: str) -> None:
    """Its only key stands twice. Where two tools have the schema, it is not known whose it is."""
    twice = {"type": "object", "patternProperties": {"^a$": {"const": 1}}, "additionalProperties": False}
    parameters = {"type": "object", "properties": {"x": {**twice, "minProperties": 2}}, "required": ["x"]}
    tools = [CallableTool(Tool(f"f{i}", parameters), f"tools[{i}]", enforced=True) for i in range(count)]
    tokenizer, format = Tokenizer([]), known()[name]
    constraint = with_tools(None, OfferedTools([], tools, True, False), format, False)
    matcher = GrammarCompiler(tokenizer, info(tokenizer.size)).matcher(constraint)
    with pytest.raises(Refused):
        drawn(matcher, tokenizer, ends_of(format.layout), random.Random(name))
    assert matcher.schema_violated and matcher.param == param
