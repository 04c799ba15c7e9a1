"""Parses calls in Gemma's notation: JSON whose keys have no quotes, and whose texts stand between special tokens.

It reads a model's slips, too: texts in JSON's quotes, in single ones, or in none, which are read by the tool's schema.
"""

import json
import re
from dataclasses import dataclass
from typing import Any

from nitro.text.tool_formats.argument_values import member_schema, text_to_json, to_json
from nitro.text.tool_formats.parsers.python_calls import unescaped
from nitro.text.tools import Call, Malformed, Tool, ToolsByName, Unfinished

_CALL = re.compile(r"\s*(?:call:)?\s*([^\s{:]+)\s*(?={)")
_ITEM = re.compile(r"[^,\]}]*")  # of a list, without quotes
_MEMBER = re.compile(r"[^,}]*(?:,(?!\s*(?:[\w.$-]+|'[^']*'|\"[^\"]*\")\s*:)[^,}]*)*")  # commas that no key follows
_AFTER_TEXT = re.compile(r"\s*([,\]}:]|\Z)")
_NOTHING = object()  # what an empty number says
_MAX_DEPTH = 60


@dataclass(frozen=True, slots=True)
class GemmaCalls:
    """A parser for one family's words for the quotes."""

    quote: str  # on both sides of a text

    def parse(self, body: str, tools: ToolsByName) -> list[Call]:
        """Read calls, one after another. Raises Malformed."""
        calls, at = [], 0
        while at < len(body.rstrip()):
            found = _CALL.match(body, at)
            if not found:
                raise Malformed("no call begins there")
            reader = _Reader(body, found.end() + 1, self.quote, tools.get(found[1], Tool(found[1], {})))
            calls.append(Call(found[1], to_json(reader.arguments({}))))
            at = reader.at
        if not calls:
            raise Unfinished
        return calls

    def parse_partial(self, body: str, tools: ToolsByName) -> list[Call]:
        """The calls so far; of the last one, the complete arguments."""
        calls: list[Call] = []
        at = 0
        while found := _CALL.match(body, at):
            members: dict[str, Any] = {}
            reader = _Reader(body, found.end() + 1, self.quote, tools.get(found[1], Tool(found[1], {})))
            try:
                reader.arguments(members)
            except Malformed:
                return [*calls, Call(found[1], to_json(members)[:-1])]
            calls.append(Call(found[1], to_json(members)))
            at = reader.at
        return calls


@dataclass(slots=True)
class _Reader:
    """Reads from the position `at` on, and moves it."""

    body: str
    at: int
    quote: str
    tool: Tool

    def arguments(self, members: dict[str, Any]) -> dict[str, Any]:
        """Adds each member to `members` as soon as it is complete. Returns them. Raises Malformed."""
        return self._object(self.tool.parameters, 0, members)

    def _value(self, schema: Any, depth: int, plain: re.Pattern[str]) -> Any:
        """The value that comes next. `plain`: how far one without quotes goes."""
        if depth > _MAX_DEPTH:
            raise Malformed("nested too deeply")
        sign = self._next()
        if self.body.startswith(self.quote, self.at):
            return self._text()
        if sign == "{":
            self.at += 1
            return self._object(schema, depth + 1, {})
        if sign == "[":
            self.at += 1
            return self._list(schema, depth + 1)
        if sign == '"':
            return self._json()
        if sign == "'" and (text := self._single_quoted()) is not None:
            return text
        found = plain.match(self.body, self.at)
        text = found[0].strip() if found else ""
        self.at += len(text)
        value = text_to_json(text, schema, self.tool.parameters, self.tool.enforced)
        return _NOTHING if value is None else json.loads(value)

    def _text(self) -> str:
        start = self.at + len(self.quote)
        end = self.body.find(self.quote, start)
        if end < 0:
            raise Unfinished
        self.at = end + len(self.quote)
        return self.body[start:end]

    def _single_quoted(self) -> str | None:
        """A text up to the first quote that something else can follow; None: there is none, it is an apostrophe."""
        found = unescaped(self.body, self.at + 1, "'", _AFTER_TEXT)
        if found is None:
            return None
        text, self.at = found
        return text

    def _object(self, schema: Any, depth: int, members: dict[str, Any]) -> dict[str, Any]:
        while self._next() != "}":
            key = self._key()
            value = self._value(member_schema(schema, key, self.tool.parameters), depth, _MEMBER)
            self._past_comma("}")
            if value is not _NOTHING:
                members[key] = value
        self.at += 1
        return members

    def _list(self, schema: Any, depth: int) -> list[Any]:
        values: list[Any] = []
        items = member_schema(schema, "", self.tool.parameters)
        while self._next() != "]":
            value = self._value(items, depth, _ITEM)
            self._past_comma("]")
            if value is not _NOTHING:
                values.append(value)
        self.at += 1
        return values

    def _key(self) -> str:
        """A key. Goes on to where its value begins."""
        key: Any
        if self.body.startswith(self.quote, self.at):
            key = self._text()
        elif self.body[self.at] == '"':
            key = self._json()
        elif self.body[self.at] != "'" or (key := self._single_quoted()) is None:
            end = self.body.find(":", self.at)
            if end < 0:
                raise Unfinished
            key, self.at = self.body[self.at : end].strip(), end
        if self._next() != ":" or not isinstance(key, str):
            raise Malformed("a key has no value")
        self.at += 1
        return key

    def _json(self) -> Any:
        try:
            value, self.at = json.JSONDecoder(strict=False).raw_decode(self.body, self.at)
        except ValueError:
            raise Unfinished from None
        return value

    def _next(self) -> str:
        """The next sign that is no white space. Raises Unfinished where there is none."""
        while self.at < len(self.body) and self.body[self.at].isspace():
            self.at += 1
        if self.at == len(self.body):
            raise Unfinished
        return self.body[self.at]

    def _past_comma(self, end: str) -> None:
        """Behind the comma, or where the end is."""
        sign = self._next()
        if sign == ",":
            self.at += 1
        elif sign != end:
            raise Malformed("a value does not end")
