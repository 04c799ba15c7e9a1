"""Calls of tools as a grammar in llguidance's Lark, in the model's own format.

The source refers to rules that only an engine can write, since it knows which texts are control tokens: `mark_I` is the
I-th mark, `until_I` any text up to it and with it, `schema_I` JSON that keeps the I-th schema.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from nitro.text.formats.format import Format
from nitro.text.tools import Tool

ANY_OBJECT = {"type": "object"}
_TEXT = r"/(.|\n)*/"
_SPACE = r"/[ \n]{0,2}/"
_HOLES = re.compile(r"(\$NAME|\$ARGUMENTS|\$INDEX)")


@dataclass(frozen=True, slots=True)
class Called:
    """A tool that may be called. `schema` None: with any arguments. `param`: what the request calls its schema."""

    tool: Tool
    param: str
    enforced: bool

    @property
    def schema(self) -> dict[str, Any]:
        return self.tool.parameters if self.enforced else ANY_OBJECT


@dataclass(slots=True)
class Grammar:
    source: str = ""
    marks: list[str] = field(default_factory=list)
    schemas: list[tuple[dict[str, Any], Called | None]] = field(default_factory=list)  # None: no tool's


def required(format: Format, tools: Sequence[Called], several: bool) -> Grammar:
    """The answer is calls."""
    return _Writer(format, tools, several).grammar("start: calls")


def after_opening(format: Format, tools: Sequence[Called], several: bool) -> Grammar:
    """What follows the first opening of calls: what an answer may say before is free, and so is what it says between
    calls and after them."""
    writer = _Writer(format, tools, several)
    opening = format.opens[0]
    rest = writer.section(format.layout.begin.removeprefix(opening).lstrip())
    again = f"(until_{writer.mark(opening)} {_SPACE} {rest})*" if several else ""
    return writer.grammar(f"start: {_SPACE} {rest} {again} TEXT\nTEXT: {_TEXT}")


def calls_or_text(format: Format, tools: Sequence[Called], several: bool) -> Grammar:
    """For formats without an opening: calls, or an answer that does not begin as they do."""
    first = re.escape(format.layout.call[0])
    return _Writer(format, tools, several).grammar(f"start: calls | TEXT\nTEXT: /[^{first}]{_TEXT[1:]}")


def calls_or_answer(format: Format, tools: Sequence[Called], several: bool, answer: dict[str, Any]) -> Grammar:
    """Calls, or an answer in JSON that keeps a schema."""
    writer = _Writer(format, tools, several)
    return writer.grammar(f"start: calls | {writer.schema(answer, None)}")


class _Writer:
    def __init__(self, format: Format, tools: Sequence[Called], several: bool):
        self._format, self._tools = format, tools
        self._several = several and format.layout.several
        self._made = Grammar()
        self._rules: list[str] = []

    def grammar(self, start: str) -> Grammar:
        if "calls" in start:
            layout, one = self._format.layout, self.section(self._format.layout.begin)
            again = f' ("\\n" {one})*' if self._several and layout.between is None else ""
            self._rules.append(f"calls: {one}{again}")
        self._made.source = "\n".join([start, *self._rules])
        return self._made

    def section(self, begin: str) -> str:
        """A section of calls, of which `begin` is still to come."""
        layout = self._format.layout
        calls = "(" + " | ".join(self._call(called) for called in self._tools) + ")"
        if self._several and layout.between is not None:
            calls += f" ({self._literal(layout.between)} {calls})*"
        return " ".join(part for part in (self._literal(begin), calls, self._literal(layout.end)) if part)

    def mark(self, text: str) -> int:
        if text not in self._made.marks:
            self._made.marks.append(text)
        return self._made.marks.index(text)

    def schema(self, schema: dict[str, Any], called: Called | None) -> str:
        self._made.schemas.append((schema, called))
        return f"schema_{len(self._made.schemas) - 1}"

    def _call(self, called: Called) -> str:
        return " ".join(self._part(part, called) for part in _HOLES.split(self._format.layout.call) if part)

    def _part(self, part: str, called: Called) -> str:
        if part == "$NAME":
            return json.dumps(called.tool.name)
        if part == "$INDEX":
            return "/[0-9]{1,3}/"
        return self._arguments(called) if part == "$ARGUMENTS" else self._literal(part)

    def _arguments(self, called: Called) -> str:
        if self._format.layout.parameter is None:
            return self.schema(called.schema, called)
        properties = called.schema.get("properties") or {}
        needed = called.schema.get("required") or [] if called.enforced else []
        each = [
            self._parameter(self._format.layout.parameter, key, schema, called) + ("" if key in needed else "?")
            for key, schema in properties.items()
        ]
        return " ".join(each) or '""'

    def _parameter(self, layout: str, key: str, schema: Any, called: Called) -> str:
        """One argument. A text goes on until what follows it; everything else is JSON."""
        before, after = layout.replace("$KEY", key).split("$VALUE")
        if isinstance(schema, dict) and schema.get("type") == "string" and "enum" not in schema:
            return f"({self._literal(before)} until_{self.mark(after)})"
        if isinstance(schema, dict) and schema.get("type") == "string":
            value = "(" + " | ".join(json.dumps(text) for text in schema["enum"]) + ")"
        else:
            value = self.schema({**_shared(called.schema), **(schema if isinstance(schema, dict) else {})}, called)
        return f"({self._literal(before)} {value} {self._literal(after)})"

    def _literal(self, text: str) -> str:
        """The format's marks in it as rules, the rest as it is."""
        marks = sorted(self._format.marks, key=len, reverse=True)
        parts = re.split("(" + "|".join(map(re.escape, marks)) + ")", text) if marks else [text]
        return " ".join(f"mark_{self.mark(part)}" if part in marks else json.dumps(part) for part in parts if part)


def _shared(schema: dict[str, Any]) -> dict[str, Any]:
    """What parts of a schema may refer to."""
    return {key: schema[key] for key in ("$defs", "definitions") if key in schema}
