"""Calls that a grammar forces, in every format, without a model: whatever is drawn of what the grammar allows, its
parser reads, and the arguments keep their schemas."""

import json
import random
import re
from collections.abc import Callable
from datetime import date
from typing import Any

import jsonschema_rs
import pytest

from nitro.engines.backends.fake import EOG, FakeTokenizer
from nitro.engines.constraints.grammar import GrammarCompiler, GrammarError
from nitro.engines.constraints.grammar_matcher import GrammarMatcher
from nitro.engines.types import ModelInfo
from nitro.service.answer_constraint import after_thinking, with_tools
from nitro.service.requests import OfferedTools
from nitro.text import reasoning
from nitro.text.deltas import Parser
from nitro.text.family import ModelFamily
from nitro.text.tool_formats import known
from nitro.text.tool_formats.format import Layout
from nitro.text.tool_grammar import CallableTool
from nitro.text.tools import Tool

PLACE = {
    "type": "object",
    "properties": {"name": {"type": "string", "maxLength": 6}, "at": {"type": "array", "items": {"type": "number"}}},
    "required": ["name"],
    "additionalProperties": False,
}
SCHEMA = {
    "type": "object",
    "properties": {
        "city": {"type": "string"},
        "days": {"type": "integer", "minimum": 1, "maximum": 9},
        "unit": {"type": "string", "enum": ["c", "f"]},
        "exact": {"type": "boolean"},
        "place": {"$ref": "#/$defs/place"},
        "code": {"type": "string", "pattern": "^[A-Z]{3}$"},
        "note": {"type": "string", "maxLength": 5},
        "day": {"type": "string", "format": "date"},
        "nick": {"anyOf": [{"type": "string", "maxLength": 3}, {"type": "null"}]},
    },
    "required": ["city", "unit"],
    "additionalProperties": False,
    "$defs": {"place": PLACE},
}
NOTHING = {"type": "object", "properties": {}, "additionalProperties": False}
TOOLS = {"get_weather": Tool("get_weather", SCHEMA, strict=True), "get_time": Tool("get_time", NOTHING, strict=True)}
OFFERED = [CallableTool(tool, tool.name, enforced=True) for tool in TOOLS.values()]
LONGEST = 8000
NASTY = frozenset(b"ab1 <>/\"'\\[](){}|,=:\n")  # what formats are made of


class Tokenizer(FakeTokenizer):
    """One token per byte, and one for each of a format's marks."""

    def __init__(self, marks: list[str]):
        self._marks = [mark.encode() for mark in sorted(marks, key=len, reverse=True)]

    def encode(self, text: str) -> list[int]:
        data, found, at = text.encode(), [], 0
        while at < len(data):
            mark = next((i for i, mark in enumerate(self._marks) if data.startswith(mark, at)), None)
            found.append(data[at] if mark is None else EOG + 1 + mark)
            at += 1 if mark is None else len(self._marks[mark])
        return found

    def token_bytes(self, token: int) -> bytes:
        return b"" if token > EOG else super().token_bytes(token)

    def vocabulary_text(self, token: int) -> bytes:
        return self._marks[token - EOG - 1] if token > EOG else super().vocabulary_text(token)

    @property
    def size(self) -> int:
        return EOG + 1 + len(self._marks)


def info(vocabulary: int) -> ModelInfo:
    return ModelInfo(
        engine="none",
        device="none",
        layers="none",
        slots=1,
        parallel=1,
        context=LONGEST,
        trained_context=LONGEST,
        kv_tokens=LONGEST,
        kv_bytes=0,
        step_tokens=1,
        vocabulary=vocabulary,
        eog=frozenset({EOG}),
        template="",
    )


class Refused(Exception):
    """What was said, and a token that it was not to be followed by, though it was allowed."""


def drawn(
    matcher: GrammarMatcher, tokenizer: Tokenizer, ends: list[str], chance: random.Random, begun: str = ""
) -> str:
    """What somebody says who has `begun`, draws from what is allowed, and likes to say what may end something."""
    assert all(matcher.accept(token) for token in tokenizer.encode(begun)), begun
    said, pending = begun.encode(), []
    for _ in range(LONGEST):
        mask = int.from_bytes(matcher.first_mask(), "little")
        allowed = [token for token in range(tokenizer.size) if mask >> token & 1]
        if EOG in allowed and (len(allowed) == 1 or chance.random() < 0.1):
            return said.decode()
        if not pending and chance.random() < 0.25:
            pending = tokenizer.encode(chance.choice(ends))
        nasty = [token for token in allowed if token in NASTY or token > EOG]
        token = pending.pop(0) if pending else -1
        if token not in allowed:
            pending = []
            token = chance.choice(nasty if nasty and chance.random() < 0.8 else allowed)
        if token == EOG:
            return said.decode()
        if not matcher.accept(token):
            raise Refused(said, token)
        said += tokenizer.vocabulary_text(token)
    raise AssertionError(f"no end: {said!r}")


def ends_of(layout: Layout) -> list[str]:
    """What ends a text, and what another call begins with."""
    text = layout.quote + (layout.parameter or "$VALUE").partition("$VALUE")[2].replace("$SPACE", "")
    another = f"\n{layout.begin}" if layout.call_separator is None else layout.call_separator
    return ['"', text, another + layout.call.partition("$")[0]]


def read(parser: Parser, text: str) -> tuple[str, list[list[str]]]:
    content, calls = "", []
    for delta in [*(one for sign in text for one in parser.feed(sign)), *parser.flush()]:
        if delta.channel == "content":
            content += delta.text
        elif delta.channel == "call":
            if delta.name is not None:
                calls.append([delta.name, ""])
            calls[delta.call][1] += delta.text
    return content, calls


def check(name: str, arguments: dict[str, Any]) -> None:
    """That they keep the tool's schema."""
    if name == "get_time":
        assert arguments == {}
        return
    assert name == "get_weather" and {"city", "unit"} <= set(arguments) <= set(SCHEMA["properties"])
    for key, value in arguments.items():
        assert KEEPS[key](value), (key, value)


def _is_place(value: Any) -> bool:
    named = isinstance(value["name"], str) and len(value["name"]) <= 6 and set(value) <= {"name", "at"}
    return named and all(isinstance(number, int | float) for number in value.get("at", []))


KEEPS: dict[str, Callable[[Any], bool]] = {
    "city": lambda value: isinstance(value, str),
    "days": lambda value: type(value) is int and 1 <= value <= 9,
    "unit": lambda value: value in ("c", "f"),
    "exact": lambda value: isinstance(value, bool),
    "place": _is_place,
    "code": lambda value: re.fullmatch("[A-Z]{3}", value) is not None,
    "note": lambda value: isinstance(value, str) and len(value) <= 5,
    "day": lambda value: date.fromisoformat(value) is not None,
    "nick": lambda value: value is None or (isinstance(value, str) and len(value) <= 3),
}


@pytest.mark.parametrize("as_tokens", [True, False], ids=["control tokens", "text"])
@pytest.mark.parametrize("name", sorted(known()))
def test_forced_calls_are_read_and_keep_their_schemas(name: str, as_tokens: bool) -> None:
    format = known()[name]
    family = ModelFamily(format, True, None)
    tokenizer = Tokenizer(list(format.special_tokens) if as_tokens else [])
    tools = OfferedTools([], OFFERED, required=True, parallel=True)
    matcher = GrammarCompiler(tokenizer, info(tokenizer.size)).matcher(with_tools(None, tools, format, True))
    most = 0
    for seed in range(30):
        if seed >= 6 and (most > 1 or not format.layout.parallel):
            break
        text = drawn(matcher.copy(), tokenizer, ends_of(format.layout), random.Random(f"{name} {seed}"))
        for live in (True, False):
            content, calls = read(family.parser(tools.by_name, live, False), text)
            assert calls and not content, text
            for called, arguments in calls:
                check(called, json.loads(arguments))
        most = max(most, len(calls))
    assert most > 1 or not format.layout.parallel


OPEN_SCHEMAS: dict[str, dict[str, Any]] = {
    "a name that is not listed": {"properties": {"a": {"type": "integer"}}, "required": ["a", "b"]},
    "another's schema": {
        "properties": {"a": {"type": "string", "enum": ["x", "yy"], "maxLength": 1}},
        "required": ["a", "b"],
        "additionalProperties": {"type": "boolean"},
    },
    "numbers only": {"additionalProperties": {"type": "integer"}},
    "a choice twice": {"properties": {"a": {"const": "x", "enum": ["x", "y"]}}, "required": ["a"]},
    "a choice of texts and others": {"properties": {"a": {"type": "string", "enum": ["x", 5]}}, "required": ["a"]},
    "any": {},
}


@pytest.mark.parametrize("schema", OPEN_SCHEMAS)
@pytest.mark.parametrize("name", sorted(known()))
def test_forced_calls_with_arguments_that_are_not_all_listed(name: str, schema: str) -> None:
    """Beside which a schema may say what it likes of them."""
    format, parameters = known()[name], {"type": "object", **OPEN_SCHEMAS[schema]}
    keeps = jsonschema_rs.validator_for(parameters).is_valid
    tokenizer = Tokenizer([])
    tool = Tool("f", parameters, strict=True)
    tools = OfferedTools([], [CallableTool(tool, "f", enforced=True)], required=True, parallel=False)
    matcher = GrammarCompiler(tokenizer, info(tokenizer.size)).matcher(with_tools(None, tools, format, False))
    for seed in range(4):
        text = drawn(matcher.copy(), tokenizer, ends_of(format.layout), random.Random(f"{name} {seed}"))
        content, calls = read(ModelFamily(format, True, None).parser(tools.by_name, True, False), text)
        assert len(calls) == 1 and not content, text
        assert keeps(json.loads(calls[0][1])), (text, calls)


@pytest.mark.parametrize("name", sorted(known()))
def test_an_argument_that_breaks_its_schema_when_it_is_read(name: str) -> None:
    """Its only key stands twice, as the letters of the grammar allow; that is found before the call is whole."""
    twice = {"type": "object", "patternProperties": {"^a$": {"const": 1}}, "additionalProperties": False}
    parameters = {"type": "object", "properties": {"x": {**twice, "minProperties": 2}}, "required": ["x"]}
    tools = OfferedTools([], [CallableTool(Tool("f", parameters), "tools[0]", enforced=True)], True, False)
    tokenizer, family = Tokenizer([]), ModelFamily(known()[name], True, None)
    matcher = GrammarCompiler(tokenizer, info(tokenizer.size)).matcher(with_tools(None, tools, family.format, False))
    with pytest.raises(Refused) as caught:
        drawn(matcher, tokenizer, ends_of(family.format.layout), random.Random(name))
    assert matcher.schema_violated and matcher.param == "tools[0]" and "twice" in matcher.problem, caught.value
    said, _ = caught.value.args
    assert not any(arguments for _, arguments in read(family.parser({}, False, False), said.decode())[1])


@pytest.mark.parametrize("as_tokens", [True, False], ids=["control tokens", "text"])
@pytest.mark.parametrize("name", sorted(known()))
def test_calls_that_need_not_be_keep_their_schemas(name: str, as_tokens: bool) -> None:
    """From where the answer opens them, or as the answer itself. What is not read as a call is content."""
    format = known()[name]
    family = ModelFamily(format, True, None)
    tokenizer = Tokenizer(list(format.special_tokens) if as_tokens else [])
    tools = OfferedTools([], OFFERED, required=False, parallel=True)
    constraint = with_tools(None, tools, format, True)
    matcher = GrammarCompiler(tokenizer, info(tokenizer.size)).matcher(constraint)
    begun = (
        f"So: {format.open_tags[0]}" if constraint.after else format.layout.begin + format.layout.call.partition("$")[0]
    )
    for seed in range(5):
        text = drawn(matcher.copy(), tokenizer, ends_of(format.layout), random.Random(f"{name} {seed}"), begun)
        content, calls = read(family.parser(tools.by_name, True, False), text)
        assert calls or not constraint.after, text
        assert content.startswith("So:") or not constraint.after, text
        for called, arguments in calls:
            check(called, json.loads(arguments))


@pytest.mark.parametrize("name", ["gpt_oss", "hermes", "gemma4", "solar", "kimi_k3", "muse"])
def test_calls_that_follow_a_reasoning(name: str) -> None:
    format = known()[name]
    signs = {"gpt_oss": "analysis", "hermes": "<think>", "gemma4": "<|channel>"}
    signs |= {"solar": "<|think|>", "kimi_k3": "<|open|>think", "muse": "to=self"}
    markers = next(markers for markers in reasoning.KNOWN if signs[name] in markers.open_tag)
    family = ModelFamily(format, True, markers)
    tokenizer = Tokenizer(
        [mark for mark in family.visible_special_tokens(True) if mark in format.special_tokens or "|" in mark]
    )
    tools = OfferedTools([], OFFERED, required=True, parallel=False)
    asked = after_thinking(with_tools(None, tools, format, False), markers, opened=False)
    matcher = GrammarCompiler(tokenizer, info(tokenizer.size)).matcher(asked)
    begun = f"{markers.open_tag}First ({{this}}).{markers.to_answer}"
    for seed in range(5):
        text = drawn(matcher.copy(), tokenizer, ends_of(format.layout), random.Random(seed), begun)
        content, calls = read(family.parser(tools.by_name, True, False), text)
        assert len(calls) == 1 and not content
        check(calls[0][0], json.loads(calls[0][1]))


@pytest.mark.parametrize("as_tokens", [True, False], ids=["control tokens", "text"])
@pytest.mark.parametrize("opened", [True, False])
@pytest.mark.parametrize("required", [True, False])
@pytest.mark.parametrize("name", ["hermes", "qwen3_coder", "glm", "kimi_k2", "minimax_m2", "deepseek_v31", "gpt_oss"])
def test_calls_in_a_reasoning_that_is_open(name: str, required: bool, opened: bool, as_tokens: bool) -> None:
    """They end it, and keep their schemas: without its closing the sequence may end. Where the grammar has the
    reasoning itself, control tokens are none of it."""
    format = known()[name]
    sign = "analysis" if name == "gpt_oss" else "<think>"
    markers = next(markers for markers in reasoning.KNOWN if sign in markers.open_tag)
    family = ModelFamily(format, True, markers)
    tokenizer = Tokenizer(list(format.special_tokens) if as_tokens else [])
    tools = OfferedTools([], OFFERED, required=required, parallel=False)
    asked = after_thinking(with_tools(None, tools, format, False), markers, opened, format)
    matcher = GrammarCompiler(tokenizer, info(tokenizer.size)).matcher(asked)
    opening = format.open_tags[0]
    mention = "" if name == "gpt_oss" else f"a {opening[:-1]}, or {{this}}.\n"
    begun = f"{'' if opened else markers.open_tag}First, {mention}"
    if as_tokens and required and not opened:
        assert all(matcher.accept(token) for token in tokenizer.encode(begun))
        assert not matcher.allows(tokenizer.encode(opening)[0])
        return
    begun += opening
    for seed in range(3):
        text = drawn(matcher.copy(), tokenizer, ends_of(format.layout), random.Random(f"{name} {seed}"), begun)
        content, calls = read(family.parser(tools.by_name, True, opened), text)
        assert calls and (not required or (len(calls) == 1 and not content)), text
        for called, arguments in calls:
            check(called, json.loads(arguments))


@pytest.mark.parametrize("opened", [True, False])
def test_a_reasoning_that_is_closed_opens_nothing_itself(opened: bool) -> None:
    format = known()["hermes"]
    markers = next(markers for markers in reasoning.KNOWN if markers.open_tag == "<think>")
    tokenizer = Tokenizer([])
    constraint = with_tools(None, OfferedTools([], OFFERED, required=True, parallel=False), format, False)
    matcher = GrammarCompiler(tokenizer, info(tokenizer.size)).matcher(
        after_thinking(constraint, markers, opened, format)
    )
    begun = f"{'' if opened else '<think>'}As <tool_cal or so.</think>\n<tool_call>\n"
    assert all(matcher.accept(token) for token in tokenizer.encode(begun))
    assert matcher.allows(ord("{")) and not matcher.allows(ord("<"))


@pytest.mark.parametrize("as_tokens", [True, False], ids=["control tokens", "text"])
def test_a_second_call_keeps_its_schema_too(as_tokens: bool) -> None:
    """Wherever in the answer it stands."""
    format = known()["hermes"]
    tokenizer = Tokenizer(list(format.special_tokens) if as_tokens else [])
    tools = OfferedTools([], OFFERED, required=False, parallel=True)
    matcher = GrammarCompiler(tokenizer, info(tokenizer.size)).matcher(with_tools(None, tools, format, True))
    call = '<tool_call>\n{"name": "get_time", "arguments": {}}\n</tool_call>'
    for between in ("\n", " And:\n", " <b>"):
        begun = f"So: {call}{between}{call}{between}"
        for end, allowed in ((call, True), (call.replace("get_time", "get_weather"), False), ("Done.", True)):
            copy = matcher.copy()
            assert all(copy.accept(token) for token in tokenizer.encode(begun)), between
            assert all(copy.accept(token) for token in tokenizer.encode(end)) == allowed, (between, end)


@pytest.mark.parametrize(
    "schema",
    [
        {"properties": 5},
        {"properties": {"a": {"type": "string"}}, "required": 5},
        {"properties": {"a": {"type": "string", "maxLength": "x"}}},
        {"properties": {"a": {"type": "string", "pattern": "(("}}},
        {"properties": {"a": {"type": "string", "format": "nonsense"}}},
        {"properties": {"a": 5}},
        {"properties": {"a": False}, "required": ["a"]},
        {"properties": {"a": {}}, "required": ["b"], "additionalProperties": False},
    ],
    ids=str,
)
@pytest.mark.parametrize("name", ["hermes", "qwen3_coder", "gemma4", "lfm2"])
def test_a_schema_that_cannot_be_kept_is_refused(name: str, schema: dict[str, Any]) -> None:
    called = CallableTool(Tool("f", {"type": "object", **schema}, strict=True), "tools[0]", enforced=True)
    constraint = with_tools(None, OfferedTools([], [called], required=True, parallel=True), known()[name], True)
    with pytest.raises(GrammarError):
        GrammarCompiler(Tokenizer([]), info(EOG + 1)).matcher(constraint)
