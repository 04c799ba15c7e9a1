"""Writes calls of tools as a grammar in llguidance's Lark, in the format of the model's family.

The source refers to rules that only an engine can write, since it knows which texts are control tokens: `mark_I` is the
I-th mark, `until_I` any text up to it and with it, `text_I` the I-th text with the mark that ends it, `schema_I` JSON
that keeps the I-th schema, `grammar_I` a text that matches the I-th grammar. What is written alike is one rule, so that
a grammar grows by names and little else.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

from nitro.text import name_choice, object_keywords
from nitro.text.closed_schemas import closed
from nitro.text.json_schemas import part_of, without_annotations
from nitro.text.tool_formats import argument_values
from nitro.text.tool_formats.format import ToolFormat
from nitro.text.tools import Tool

ANY_OBJECT = {"type": "object"}
_TEXT = r"/(.|\n)*/"
_SPACE = r"/[ \n]{0,2}/"

_HOLES = re.compile(r"(\$[A-Z]+)")
_FREE = {
    "$INDEX": r"/[0-9]{1,3}/",
    "$ID": r"/[A-Za-z0-9]{9}/",
    "$SPACE": r"/\n?/",
    "$KEY": r"/[A-Za-z_][A-Za-z0-9_.-]{0,63}/",
}


@dataclass(frozen=True)
class CallableTool:
    """A tool that may be called."""

    tool: Tool
    param: str  # the place of its schema in the request, for errors
    enforced: bool  # its calls are held to the schema; else they have any arguments
    closed: bool = True  # objects have no properties but those that are listed: see closed_schemas
    grammar: str | None = None  # Lark; its only argument, a text, matches it

    @cached_property
    def schema(self) -> dict[str, Any]:
        """The schema that a grammar enforces, without what only describes."""
        if not self.enforced:
            return ANY_OBJECT
        schema: dict[str, Any] = without_annotations(self.tool.parameters)
        return closed(schema) if self.closed else schema


class Use(NamedTuple):
    """Where a schema comes from: from a tool's, or from the place in it that the JSON pointer names."""

    called: CallableTool
    pointer: str


@dataclass(slots=True)
class UsedSchema:
    """A schema, and all that has it. Nothing: it is the answer's own."""

    schema: dict[str, Any]
    uses: list[Use] = field(default_factory=list)


@dataclass(slots=True)
class UsedText:
    """A text without quotes that keeps the schema, up to the mark with this number."""

    text: UsedSchema
    mark: int
    excluded: str  # what it does not contain: a parser might take it for the end of the text


class UsedGrammar(NamedTuple):
    """A tool's own grammar, in Lark. `quoted`: its text stands in JSON."""

    source: str
    param: str
    quoted: bool


@dataclass(slots=True)
class CallGrammar:
    """A grammar, and what its rules `mark_I`, `schema_I`, `text_I` and `grammar_I` stand for."""

    source: str = ""  # in Lark
    marks: list[str] = field(default_factory=list)
    schemas: list[UsedSchema] = field(default_factory=list)
    texts: list[UsedText] = field(default_factory=list)
    grammars: list[UsedGrammar] = field(default_factory=list)


def unenforced_keywords(format: ToolFormat, called: CallableTool) -> list[str]:
    """The keywords of an enforced schema to which a grammar cannot hold calls in this format: where arguments are
    written one by one, it sees none of them together."""
    return object_keywords.with_effect(called.schema) if format.layout.parameter is not None else []


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
    return writer.grammar(f"start: calls | {writer.schema(schema)}")


class _Writer:
    def __init__(self, format: ToolFormat, tools: Sequence[CallableTool], parallel: bool):
        self._format, self._layout, self._tools = format, format.layout, tools
        self._parallel = parallel and format.layout.parallel
        self._grammar = CallGrammar()
        self._rules: list[str] = []
        self._names: dict[tuple[str, str], str] = {}  # of rules, by their kind and what they say
        self._marks: dict[str, int] = {}
        self._literals: dict[str, str] = {}
        self._schemas: dict[tuple[str, bool], int] = {}
        self._texts: dict[tuple[str, bool, int, str], int] = {}
        self._one_call = ""  # the rule, once it is written

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
        calls = self._call()
        if self._parallel and self._layout.call_separator is not None:
            calls += f" ({self._rule(self._layout.call_separator)} {calls})*"
        return " ".join(part for part in (self._rule(begin), calls, self._rule(self._layout.end)) if part)

    def mark(self, text: str) -> int:
        """The number of a mark."""
        if text not in self._marks:
            self._marks[text] = len(self._grammar.marks)
            self._grammar.marks.append(text)
        return self._marks[text]

    def schema(self, schema: dict[str, Any], use: Use | None = None) -> str:
        """The rule for JSON that keeps a schema. `use`: whose it is; None: the answer's own."""
        key = (json.dumps(schema), use is None or use.called.tool.strict)
        if key not in self._schemas or use is None:
            self._schemas[key] = len(self._grammar.schemas)
            self._grammar.schemas.append(UsedSchema(schema))
        number = self._schemas[key]
        self._grammar.schemas[number].uses += [use] if use else []
        return f"schema_{number}"

    def _call(self) -> str:
        """The rule for one call."""
        if not self._one_call:
            before, _, after = self._layout.call.partition("$NAME")
            rests = {called.tool.name: self._shared("rest", self._rest(after, called)) for called in self._tools}
            choice, rules = name_choice.rules(rests)
            self._rules += [*rules, f"call: {self._rule(before)} ({choice})"]
            self._one_call = "call"
        return self._one_call

    def _rest(self, layout: str, called: CallableTool) -> str:
        """A call from behind the name on."""
        before, hole, after = layout.partition("$ARGUMENTS")
        arguments = self._arguments(called) if hole else ""
        return f"{self._rule(before)} {arguments} {self._rule(after)}"

    def _shared(self, kind: str, said: str) -> str:
        """The name of a rule that says this."""
        key = (kind, said.strip() or '""')
        if key not in self._names:
            self._names[key] = f"{kind}_{len(self._names)}"
            self._rules.append(f"{self._names[key]}: {key[1]}")
        return self._names[key]

    def _rule(self, layout: str, filled: Mapping[str, str] = _FREE) -> str:
        """A part of the layout as a rule, with rules for its holes."""
        parts = [part for part in _HOLES.split(layout) if part]
        return " ".join({**_FREE, **filled}.get(part) or self._literal(part) for part in parts)

    def _arguments(self, called: CallableTool) -> str:
        layout = self._layout.parameter
        schema = called.schema
        whole = Use(called, "")
        if called.grammar is not None:
            return self._grammar_argument(called, called.grammar)
        if layout is None:
            return self.schema(schema, whole)
        separator = self._layout.parameter_separator
        properties = schema.get("properties") or {}
        needed = schema.get("required") or []
        others = schema.get("additionalProperties", True)
        if not isinstance(properties, dict) or not _are_names(needed):
            return self.schema(schema, whole)  # which is refused
        listed = {**properties, **{key: others for key in needed if key not in properties}}
        if any(listed[key] is False for key in needed):
            return self.schema({"enum": []}, whole)  # nothing keeps it
        if not listed:
            if others is False or layout.count("$KEY") > 1:  # no grammar repeats what is free
                return ""
            part = {"type": "string"} if others is True else others
            one = self._parameter(None, part, schema, Use(called, "/additionalProperties"))
            return f"({one} ({self._literal(separator)} {one})*)?" if separator else f"({one})*"
        each = [
            (f"({self._parameter(key, part, schema, Use(called, _pointer(key, properties)))})", key in needed)
            for key, part in listed.items()
            if part is not False
        ]
        if separator:
            return self._separated(each)
        return " ".join(parameter + ("" if always else "?") for parameter, always in each)

    def _grammar_argument(self, called: CallableTool, source: str) -> str:
        """The only argument, a text that matches the tool's own grammar."""
        (key,) = called.tool.parameters["properties"]
        if self._layout.parameter is None:
            opening = json.dumps(json.dumps({key: ""})[:-2])
            return f'{opening} {self._grammar_text(called, source, quoted=True)} "\\"}}"'
        before, hole, after = re.split(r"(\$VALUE|\$JSON)", self._layout.parameter)
        filled = {"$TYPE": '"string"', "$TEXT": '"true"', "$KEY": json.dumps(key)}
        quoted = hole == "$JSON"
        quote = json.dumps('"') if quoted else self._literal(self._layout.quote)
        text = self._grammar_text(called, source, quoted)
        return f"{self._rule(before, filled)} {quote} {text} {quote} {self._rule(after, filled)}"

    def _grammar_text(self, called: CallableTool, source: str, quoted: bool) -> str:
        self._grammar.grammars.append(UsedGrammar(source, called.param, quoted))
        return f"grammar_{len(self._grammar.grammars) - 1}"

    def _separated(self, parameters: list[tuple[str, bool]]) -> str:
        """Parameters with separators. Built from the last one on: `first` is what follows where none stands before,
        `more` where some do."""
        separator = self._literal(self._layout.parameter_separator)
        first = more = '""'
        for parameter, always in reversed(parameters):
            rule = self._shared("more", more)
            first = f"{parameter} {rule}" + ("" if always else f" | {first}")
            more = f"{separator} {parameter} {rule}" + ("" if always else f" | {rule}")
        return f"({first})"

    def _parameter(self, key: str | None, schema: Any, root: dict[str, Any], use: Use) -> str:
        """One argument, of any name where `key` is None. `root`: the schema of all arguments."""
        before, hole, after = re.split(r"(\$VALUE|\$JSON)", self._layout.parameter or "")
        is_text = hole == "$VALUE" and argument_values.is_raw_text(schema, root)
        type_name = _type_name(schema, root, is_text)
        filled = {"$TYPE": json.dumps(type_name), "$TEXT": json.dumps(str(is_text).lower())}
        if key is not None:
            filled["$KEY"] = json.dumps(key)
        before = self._rule(before, filled)
        if is_text:
            value = f"{self._literal(self._layout.quote)} {self._text(schema, self._layout.quote + after, key, use)}"
        else:
            value = f"{self.schema(part_of(schema, root), use)} {self._rule(after, filled)}"
        return f"{before} {self._shared('value', value)}"

    def _text(self, schema: dict[str, Any], after: str, key: str | None, use: Use) -> str:
        """A text without quotes, and what follows it."""
        filled = {} if key is None else {"$KEY": json.dumps(key)}
        choice = _choice(schema)
        if choice is not None:
            return f"({' | '.join(map(json.dumps, choice))}) {self._rule(after, filled)}"
        literal = _HOLES.split(after)[0].replace("$KEY", key or "")
        closing = literal.rstrip()
        mark = next((mark for mark in self._format.special_tokens if closing.startswith(mark) and mark != closing), "")
        excluded = mark or (closing.strip() if closing != closing.lstrip() else "")
        written = (json.dumps(schema), use.called.tool.strict, self.mark(closing), excluded)
        if written not in self._texts:
            self._texts[written] = len(self._grammar.texts)
            self._grammar.texts.append(UsedText(UsedSchema(schema), self.mark(closing), excluded))
        self._grammar.texts[self._texts[written]].text.uses.append(use)
        return f"text_{self._texts[written]} {self._rule(after[len(closing) :], filled)}"

    def _literal(self, text: str) -> str:
        """A text, with rules for the format's special tokens in it. Line breaks stand alone: where one piece is the
        beginning of another, llguidance only ever sees the longer one."""
        if text not in self._literals:
            self._literals[text] = self._split(text)
        return self._literals[text]

    def _split(self, text: str) -> str:
        marks = sorted(self._format.special_tokens, key=len, reverse=True)
        parts = re.split("(" + "|".join([*map(re.escape, marks), r"\n+"]) + ")", text)
        return " ".join(f"mark_{self.mark(part)}" if part in marks else json.dumps(part) for part in parts if part)


def _type_name(schema: Any, root: dict[str, Any], is_text: bool) -> str:
    """The type that a call names. A text in JSON must not be taken for a raw one."""
    types = sorted(argument_values.allowed_types(schema, root) - {"string", "integer"})
    return "string" if is_text else types[0] if types else "object"


def _choice(schema: Any) -> list[str] | None:
    """The texts to choose from; None: any."""
    choice = [schema["const"]] if "const" in schema else schema.get("enum")
    return choice if isinstance(choice, list) else None


def _pointer(key: str, properties: Mapping[str, Any]) -> str:
    """Where the schema of a property is."""
    return f"/properties/{key.replace('~', '~0').replace('/', '~1')}" if key in properties else "/additionalProperties"


def _are_names(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(name, str) for name in value)
