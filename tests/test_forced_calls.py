"""Calls that a grammar forces, in every format, without a model: whatever is drawn of what the grammar allows, its
parser reads, and the arguments keep their schemas."""

import json
import random
from typing import Any

import jsonschema
import pytest

from nitro.api.constraints import after_thinking, with_tools
from nitro.api.tools import Tools
from nitro.engines.fake import EOG, FakeTokenizer
from nitro.engines.grammar import GrammarMatcher, Grammars
from nitro.engines.types import ModelInfo
from nitro.text.channels import Parser
from nitro.text.family import Family
from nitro.text.formats import known
from nitro.text.reasoning import KNOWN
from nitro.text.tool_grammar import Called
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
    },
    "required": ["city", "unit"],
    "additionalProperties": False,
    "$defs": {"place": PLACE},
}
NOTHING = {"type": "object", "properties": {}, "additionalProperties": False}
TOOLS = {"get_weather": Tool("get_weather", SCHEMA, strict=True), "get_time": Tool("get_time", NOTHING, strict=True)}
OFFERED = [Called(tool, tool.name, enforced=True) for tool in TOOLS.values()]
LONGEST = 3000


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

    def piece(self, token: int) -> bytes:
        return b"" if token > EOG else super().piece(token)

    def written(self, token: int) -> bytes:
        return self._marks[token - EOG - 1] if token > EOG else super().written(token)

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


def drawn(matcher: GrammarMatcher, tokenizer: Tokenizer, chance: random.Random) -> str:
    """What somebody says who draws tokens that are allowed, and likes what ends something. Valid UTF-8: a token that is
    part of no letter is drawn as seldom as control tokens are in texts."""
    said = b""
    for _ in range(LONGEST):
        mask = int.from_bytes(matcher.first_mask(), "little")
        allowed = [token for token in range(tokenizer.size) if mask >> token & 1]
        if EOG in allowed and (len(allowed) == 1 or chance.random() < 0.5):
            return said.decode()
        plain = [token for token in allowed if token < 128]
        ends = [token for token in allowed if token > EOG or token in b'"<]})\n']
        pool = ends if ends and chance.random() < 0.3 else plain or allowed
        token = chance.choice(pool)
        assert matcher.accept(token), (said, token)
        said += tokenizer.written(token)
    raise AssertionError(f"no end: {said!r}")


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


def keeps(calls: list[list[str]], text: str) -> None:
    for name, arguments in calls:
        jsonschema.validate(json.loads(arguments), TOOLS[name].parameters)


@pytest.mark.parametrize("as_tokens", [True, False], ids=["control tokens", "text"])
@pytest.mark.parametrize("name", sorted(known()))
def test_forced_calls_are_read_and_keep_their_schemas(name: str, as_tokens: bool) -> None:
    format = known()[name]
    family = Family(format, True, None)
    tokenizer = Tokenizer(family.spoken(True) if as_tokens else [])
    tools = Tools([], OFFERED, required=True, several=True, legacy=False)
    matcher = Grammars(tokenizer, info(tokenizer.size)).matcher(with_tools(None, tools, format, True))
    most = 0
    for seed in range(6):
        text = drawn(matcher.copy(), tokenizer, random.Random(f"{name} {seed}"))
        for live in (True, False):
            content, calls = read(family.parser(TOOLS, live, False), text)
            assert calls and not content, text
            keeps(calls, text)
        most = max(most, len(calls))
    assert most > 1 or not format.layout.several
