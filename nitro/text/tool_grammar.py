"""Writes calls of tools as a grammar in llguidance's Lark, in the format of the model's family.

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
from nitro.text.tool_formats.format import ToolFormat
from nitro.text.tools import Tool

ANY_OBJECT = {"type": "object"}
_CLOSABLE = {"type", "properties", "required", "title", "description", "$schema", "$defs", "definitions"}
# The keywords of an object that are kept where its arguments are written one by one: no grammar sees the whole then.
_ONE_BY_ONE = _CLOSABLE | argument_values.ANNOTATIONS | {"additionalProperties", "$id", "$anchor"}
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
class CallableTool:
    """A tool that may be called."""

    tool: Tool
    param: str  # the place of its schema in the request, for errors
    enforced: bool  # its calls are held to the schema; else they have any arguments

    @property
    def schema(self) -> dict[str, Any]:
        """The schema that a grammar enforces. It keeps a model from inventing arguments, if it lists them all."""
        if not self.enforced:
            return ANY_OBJECT
        schema = self.tool.parameters
        is_closed = _CLOSABLE >= set(schema) >= {"properties"} and _all_listed(schema)
        return {**schema, "additionalProperties": False} if is_closed else schema


@dataclass(slots=True)
class CallGrammar:
    """A grammar, and what its rules `mark_I`, `schema_I` and `text_I` stand for."""

    source: str = ""  # in Lark
    marks: list[str] = field(default_factory=list)
    schemas: list[tuple[dict[str, Any], CallableTool | None]] = field(default_factory=list)  # None: the answer's own
    texts: list[tuple[str, int]] = field(default_factory=list)  # a regular expression in Lark, and its mark's number


def unenforced_keywords(format: ToolFormat, called: CallableTool) -> list[str]:
    """The keywords of an enforced schema to which a grammar cannot hold calls in this format."""
    return sorted(set(called.schema) - _ONE_BY_ONE) if format.layout.parameter is not None else []


def calls_only(format: ToolFormat, tools: Sequence[CallableTool], parallel: bool) -> CallGrammar:
    """The answer is calls. `parallel`: more than one, if the format has that."""
    return _Writer(format, tools, parallel).grammar("start: calls")


def calls_after_opening(format: ToolFormat, tools: Sequence[CallableTool], parallel: bool) -> CallGrammar:
    """The answer from the first opening of calls on. Its text before, between and after calls is free."""
    writer = _Writer(format, tools, parallel)
    opening = format.open_tags[0]
    section = writer.section(format.layout.begin.removeprefix(opening).lstrip())
    more = f"(until_{writer.mark(opening)} {_SPACE} {section})*" if parallel else ""
    return writer.grammar(f"start: {_SPACE} {section} {more} TEXT\nTEXT: {_TEXT}")


def calls_or_text(format: ToolFormat, tools: Sequence[CallableTool], parallel: bool) -> CallGrammar:
    """Calls, or an answer that begins in another way. For formats without an opening."""
    first = re.escape((format.layout.begin + format.layout.call)[0])
    prefix = format.layout.answer_prefix
    text = f"{json.dumps(prefix)} {_TEXT}" if prefix else f"/[^{first}]{_TEXT[1:]}"
    return _Writer(format, tools, parallel).grammar(f"start: calls | TEXT\nTEXT: {text}")


def calls_or_json(
    format: ToolFormat, tools: Sequence[CallableTool], parallel: bool, schema: dict[str, Any]
) -> CallGrammar:
    """Calls, or an answer in JSON that keeps this schema."""
    writer = _Writer(format, tools, parallel)
    return writer.grammar(f"start: calls | {writer.schema(schema, None)}")


class _Writer:
    def __init__(self, format: ToolFormat, tools: Sequence[CallableTool], parallel: bool):
        self._format, self._layout, self._tools = format, format.layout, tools
        self._parallel = parallel and format.layout.parallel
        self._grammar = CallGrammar()
        self._rules: list[str] = []

    def grammar(self, start: str) -> CallGrammar:
        """The grammar with this start; the rule `calls` is added where it is used."""
        if "calls" in start:
            section = self.section(self._layout.begin)
            more = f' ("\\n" {section})*' if self._parallel and self._layout.call_separator is None else ""
            self._rules.append(f"calls: {section}{more}")
        self._grammar.source = "\n".join([start, *self._rules])
        return self._grammar

    def section(self, begin: str) -> str:
        """A section of calls, of which `begin` is still to come."""
        calls = "(" + " | ".join(self._call(called) for called in self._tools) + ")"
        if self._parallel and self._layout.call_separator is not None:
            calls += f" ({self._rule(self._layout.call_separator)} {calls})*"
        return " ".join(part for part in (self._rule(begin), calls, self._rule(self._layout.end)) if part)

    def mark(self, text: str) -> int:
        """The number of a mark."""
        if text not in self._grammar.marks:
            self._grammar.marks.append(text)
        return self._grammar.marks.index(text)

    def schema(self, schema: dict[str, Any], called: CallableTool | None) -> str:
        """The rule for JSON that keeps a schema."""
        self._grammar.schemas.append((schema, called))
        return f"schema_{len(self._grammar.schemas) - 1}"

    def _call(self, called: CallableTool) -> str:
        before, hole, after = self._layout.call.partition("$ARGUMENTS")
        arguments = self._arguments(called) if hole else ""
        filled = {"$NAME": json.dumps(called.tool.name)}
        return f"{self._rule(before, filled)} {arguments} {self._rule(after, filled)}"

    def _rule(self, layout: str, filled: Mapping[str, str] = _FREE) -> str:
        """A part of the layout as a rule, with rules for its holes."""
        parts = [part for part in _HOLES.split(layout) if part]
        return " ".join({**_FREE, **filled}.get(part) or self._literal(part) for part in parts)

    def _arguments(self, called: CallableTool) -> str:
        layout = self._layout.parameter
        schema = called.schema
        if layout is None:
            return self.schema(schema, called)
        separator = self._layout.parameter_separator
        properties = schema.get("properties") or {}
        needed = schema.get("required") or []
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
        """Parameters with separators. Built from the last one on: `first` is what follows where none stands before,
        `more` where some do."""
        separator = self._literal(self._layout.parameter_separator)
        first = more = '""'
        for parameter, always in reversed(parameters):
            rule = f"rest_{len(self._rules)}"
            self._rules.append(f"{rule}: {more}")
            first = f"{parameter} {rule}" + ("" if always else f" | {first}")
            more = f"{separator} {parameter} {rule}" + ("" if always else f" | {rule}")
        return f"({first})"

    def _parameter(self, layout: str, key: str | None, schema: Any, called: CallableTool) -> str:
        """One argument, of any name where `key` is None."""
        before, hole, after = re.split(r"(\$VALUE|\$JSON)", layout)
        is_text = hole == "$VALUE" and argument_values.is_raw_text(schema, called.schema)
        filled = {"$TYPE": json.dumps(_type_name(schema, called, is_text)), "$TEXT": json.dumps(str(is_text).lower())}
        if key is not None:
            filled["$KEY"] = json.dumps(key)
        before = self._rule(before, filled)
        if not is_text:
            value = self.schema({**_shared(called.schema), **_as_object(schema)}, called)
            return f"{before} {value} {self._rule(after, filled)}"
        before = f"{before} {self._literal(self._layout.quote)}"
        after = self._layout.quote + after
        choice = _choice(schema)
        if choice is not None:
            return f"{before} ({' | '.join(map(json.dumps, choice))}) {self._rule(after, filled)}"
        literal = _HOLES.split(after)[0].replace("$KEY", key or "")
        closing = literal.rstrip()
        mark = next((mark for mark in self._format.special_tokens if closing.startswith(mark) and mark != closing), "")
        text = self._text(_expression(schema, closing, mark), self.mark(closing))
        return f"{before} {text} {self._rule(after[len(closing) :], filled)}"

    def _text(self, expression: str, mark: int) -> str:
        self._grammar.texts.append((expression, mark))
        return f"text_{len(self._grammar.texts) - 1}"

    def _literal(self, text: str) -> str:
        """A text, with rules for the format's special tokens in it. Line breaks stand alone: where one piece is the
        beginning of another, llguidance only ever sees the longer one."""
        marks = sorted(self._format.special_tokens, key=len, reverse=True)
        parts = re.split("(" + "|".join([*map(re.escape, marks), r"\n+"]) + ")", text)
        return " ".join(f"mark_{self.mark(part)}" if part in marks else json.dumps(part) for part in parts if part)


def _type_name(schema: Any, called: CallableTool, is_text: bool) -> str:
    """The type that a call names. A text in JSON must not be taken for a raw one."""
    types = sorted(argument_values.allowed_types(schema, called.schema) - {"string", "integer"})
    return "string" if is_text else types[0] if types else "object"


def _choice(schema: Any) -> list[str] | None:
    """The texts to choose from; None: any."""
    choice = [schema["const"]] if "const" in schema else schema.get("enum")
    return choice if isinstance(choice, list) else None


def _expression(schema: Any, closing: str, mark: str) -> str:
    """A text's schema as a regular expression."""
    minimum = schema.get("minLength", 0)
    maximum = schema.get("maxLength", "")
    pattern = schema.get("pattern")
    parts = [rf"/(.|\n){{{minimum},{maximum}}}/" if minimum or maximum != "" else _TEXT]
    if isinstance(pattern, str):
        start, end = pattern.startswith("^"), pattern.endswith("$") and not pattern.endswith(r"\$")
        inner = pattern[start : len(pattern) - end].replace("/", r"\/").replace(r"\\/", r"\/")
        parts.append(("" if start else r"/(.|\n)*/ ") + f"/({inner})/" + ("" if end else r" /(.|\n)*/"))
    excluded = mark or (closing.strip() if closing != closing.lstrip() else "")
    if excluded:  # a parser might take it for the end of the text
        parts.append(f"~/(.|\n)*{re.escape(excluded).replace('/', chr(92) + '/')}(.|\n)*/")
    return " & ".join(f"({part})" for part in parts)


def _all_listed(schema: Mapping[str, Any]) -> bool:
    """Whether all members that an object requires are among its properties."""
    properties, needed = schema["properties"], schema.get("required") or []
    return isinstance(properties, dict) and _are_names(needed) and set(needed) <= set(properties)


def _are_names(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(name, str) for name in value)


def _as_object(schema: Any) -> dict[str, Any]:
    """True and None allow all. What is no schema at all stays wrong."""
    return schema if isinstance(schema, dict) else {} if schema is True or schema is None else {"allOf": [schema]}


def _shared(schema: dict[str, Any]) -> dict[str, Any]:
    """The definitions to which parts of a schema may refer."""
    return {key: schema[key] for key in ("$defs", "definitions") if key in schema}
