"""Calls of tools as a grammar in llguidance's Lark, in the model's own format.

The source refers to rules that only an engine can write, since it knows which texts are control tokens: `mark_I` is the
I-th mark, `until_I` any text up to it and with it, `text_I` the I-th text with the mark that ends it, `schema_I` JSON
that keeps the I-th schema.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from nitro.text.tool_formats import argument_values
from nitro.text.tool_formats.format import Format
from nitro.text.tools import Tool

ANY_OBJECT = {"type": "object"}
LISTED = {"type", "properties", "required", "title", "description", "$schema", "$defs", "definitions"}
# What of an object is kept where its arguments are written one by one: no grammar looks at the whole then.
ONE_BY_ONE = LISTED | argument_values.SILENT | {"additionalProperties", "$id", "$anchor"}
_TEXT = r"/(.|\n)*/"
_SPACE = r"/[ \n]{0,2}/"

_HOLES = re.compile(r"(\$[A-Z]+)")
_FREE = {
    "$INDEX": r"/[0-9]{1,3}/",
    "$ID": r"/[A-Za-z0-9]{9}/",
    "$SPACE": r"/\n?/",
    "$KEY": r"/[A-Za-z_][A-Za-z0-9_.-]{0,63}/",
}


@dataclass(frozen=True, slots=True)
class Called:
    """A tool that may be called. `schema` None: with any arguments. `param`: what the request calls its schema."""

    tool: Tool
    param: str
    enforced: bool

    @property
    def schema(self) -> dict[str, Any]:
        """Forced, a model is kept from arguments of its own invention where the schema lists them one by one."""
        if not self.enforced:
            return ANY_OBJECT
        given = self.tool.parameters
        closed = LISTED >= set(given) >= {"properties"} and _all_listed(given)
        return {**given, "additionalProperties": False} if closed else given


@dataclass(slots=True)
class Grammar:
    source: str = ""
    marks: list[str] = field(default_factory=list)
    schemas: list[tuple[dict[str, Any], Called | None]] = field(default_factory=list)  # None: no tool's
    texts: list[tuple[str, int]] = field(default_factory=list)  # a regular expression in Lark, and a mark


def unheld(format: Format, called: Called) -> list[str]:
    """The keywords of its schema that calls in this format are not held to, though they are enforced."""
    return sorted(set(called.schema) - ONE_BY_ONE) if format.layout.parameter is not None else []


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
    first = re.escape((format.layout.begin + format.layout.call)[0])
    text = f"{json.dumps(format.layout.text)} {_TEXT}" if format.layout.text else f"/[^{first}]{_TEXT[1:]}"
    return _Writer(format, tools, several).grammar(f"start: calls | TEXT\nTEXT: {text}")


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
            calls += f" ({self._written(layout.between)} {calls})*"
        return " ".join(part for part in (self._written(begin), calls, self._written(layout.end)) if part)

    def mark(self, text: str) -> int:
        if text not in self._made.marks:
            self._made.marks.append(text)
        return self._made.marks.index(text)

    def schema(self, schema: dict[str, Any], called: Called | None) -> str:
        self._made.schemas.append((schema, called))
        return f"schema_{len(self._made.schemas) - 1}"

    def _call(self, called: Called) -> str:
        before, hole, after = self._format.layout.call.partition("$ARGUMENTS")
        arguments = self._arguments(called) if hole else ""
        told = {"$NAME": json.dumps(called.tool.name)}
        return f"{self._written(before, told)} {arguments} {self._written(after, told)}"

    def _written(self, layout: str, told: Mapping[str, str] = _FREE) -> str:
        """The layout, with rules for its holes."""
        parts = [part for part in _HOLES.split(layout) if part]
        return " ".join({**_FREE, **told}.get(part) or self._literal(part) for part in parts)

    def _arguments(self, called: Called) -> str:
        layout = self._format.layout.parameter
        if layout is None:
            return self.schema(called.schema, called)
        schema, separator = called.schema, self._format.layout.separator
        properties, needed = schema.get("properties") or {}, schema.get("required") or []
        others = schema.get("additionalProperties", True)
        if not isinstance(properties, dict) or not _are_names(needed):
            return self.schema(schema, called)  # which is refused
        properties = {**properties, **{key: others for key in needed if key not in properties}}
        if any(properties[key] is False for key in needed):
            return self.schema({"enum": []}, called)  # nothing keeps it
        if not properties:
            if others is False or layout.count("$KEY") > 1:  # no grammar repeats what is free
                return ""
            one = self._parameter(layout, None, {"type": "string"} if others is True else others, called)
            return f"({one} ({self._literal(separator)} {one})*)?" if separator else f"({one})*"
        each = [
            (f"({self._parameter(layout, key, part, called)})", key in needed)
            for key, part in properties.items()
            if part is not False
        ]
        if separator:
            return self._separated(each)
        return " ".join(parameter + ("" if always else "?") for parameter, always in each)

    def _separated(self, parameters: list[tuple[str, bool]]) -> str:
        """From the last one on: how it goes on where a parameter would be the first, and where some stand before."""
        separator, first, more = self._literal(self._format.layout.separator), '""', '""'
        for parameter, always in reversed(parameters):
            rule = f"rest_{len(self._rules)}"
            self._rules.append(f"{rule}: {more}")
            first = f"{parameter} {rule}" + ("" if always else f" | {first}")
            more = f"{separator} {parameter} {rule}" + ("" if always else f" | {rule}")
        return f"({first})"

    def _parameter(self, layout: str, key: str | None, schema: Any, called: Called) -> str:
        """One argument, of any name where `key` is None."""
        before, hole, after = re.split(r"(\$VALUE|\$JSON)", layout)
        is_text = hole == "$VALUE" and argument_values.is_text(schema, called.schema)
        told = {"$TYPE": json.dumps(_told_type(schema, called, is_text)), "$TEXT": json.dumps(str(is_text).lower())}
        if key is not None:
            told["$KEY"] = json.dumps(key)
        before = self._written(before, told)
        if not is_text:
            value = self.schema({**_shared(called.schema), **_as_object(schema)}, called)
            return f"{before} {value} {self._written(after, told)}"
        before, after = f"{before} {self._literal(self._format.layout.quote)}", self._format.layout.quote + after
        if (choice := _choice(schema)) is not None:
            return f"{before} ({' | '.join(map(json.dumps, choice))}) {self._written(after, told)}"
        literal = _HOLES.split(after)[0].replace("$KEY", key or "")
        closing = literal.rstrip()
        mark = next((mark for mark in self._format.marks if closing.startswith(mark) and mark != closing), "")
        text = self._text(_expression(schema, closing, mark), self.mark(closing))
        return f"{before} {text} {self._written(after[len(closing) :], told)}"

    def _text(self, expression: str, mark: int) -> str:
        self._made.texts.append((expression, mark))
        return f"text_{len(self._made.texts) - 1}"

    def _literal(self, text: str) -> str:
        """The format's marks in it as rules, the rest as it is. Line breaks stand alone: where one piece is how another
        begins, llguidance only ever sees the longer one."""
        marks = sorted(self._format.marks, key=len, reverse=True)
        parts = re.split("(" + "|".join([*map(re.escape, marks), r"\n+"]) + ")", text)
        return " ".join(f"mark_{self.mark(part)}" if part in marks else json.dumps(part) for part in parts if part)


def _told_type(schema: Any, called: Called, is_text: bool) -> str:
    """What a call says of a value's type: a text that is written in JSON must not be taken for one as it is."""
    types = sorted(argument_values.types(schema, called.schema) - {"string", "integer"})
    return "string" if is_text else types[0] if types else "object"


def _choice(schema: Any) -> list[str] | None:
    """The texts that there are to choose from; None: any."""
    choice = [schema["const"]] if "const" in schema else schema.get("enum")
    return choice if isinstance(choice, list) else None


def _expression(schema: Any, closing: str, mark: str) -> str:
    """What a text's schema says of it, as a regular expression."""
    least, most, pattern = schema.get("minLength", 0), schema.get("maxLength", ""), schema.get("pattern")
    parts = [rf"/(.|\n){{{least},{most}}}/" if least or most != "" else _TEXT]
    if isinstance(pattern, str):
        start, end = pattern.startswith("^"), pattern.endswith("$") and not pattern.endswith(r"\$")
        inner = pattern[start : len(pattern) - end].replace("/", r"\/").replace(r"\\/", r"\/")
        parts.append(("" if start else r"/(.|\n)*/ ") + f"/({inner})/" + ("" if end else r" /(.|\n)*/"))
    # Nor does the text hold what a parser might take for its end.
    if never := mark or (closing.strip() if closing != closing.lstrip() else ""):
        parts.append(f"~/(.|\n)*{re.escape(never).replace('/', chr(92) + '/')}(.|\n)*/")
    return " & ".join(f"({part})" for part in parts)


def _all_listed(schema: Mapping[str, Any]) -> bool:
    """Whether what an object must have is among its properties."""
    properties, needed = schema["properties"], schema.get("required") or []
    return isinstance(properties, dict) and _are_names(needed) and set(needed) <= set(properties)


def _are_names(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(name, str) for name in value)


def _as_object(schema: Any) -> dict[str, Any]:
    """True and None allow all; what is no schema at all stays wrong."""
    return schema if isinstance(schema, dict) else {} if schema is True or schema is None else {"allOf": [schema]}


def _shared(schema: dict[str, Any]) -> dict[str, Any]:
    """What parts of a schema may refer to."""
    return {key: schema[key] for key in ("$defs", "definitions") if key in schema}
