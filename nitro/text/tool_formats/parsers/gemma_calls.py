"""Parses calls in Gemma's notation: JSON whose keys have no quotes, and whose texts stand between special tokens."""

import json
import re
from dataclasses import dataclass
from typing import Any

from nitro.text.tool_formats.argument_values import to_json
from nitro.text.tools import Call, Malformed, ToolsByName, Unfinished

_CALL = re.compile(r"\s*call:\s*([^\s{]+)\s*(?={)")
_PLAIN = re.compile(r"[^,\]}]*")
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
            value, at = self._object(body, found.end() + 1, 0, {})
            calls.append(Call(found[1], to_json(value)))
        if not calls:
            raise Unfinished
        return calls

    def parse_partial(self, body: str, tools: ToolsByName) -> list[Call]:
        """The calls so far; of the last one, the complete arguments."""
        calls: list[Call] = []
        at = 0
        while found := _CALL.match(body, at):
            members: dict[str, Any] = {}
            try:
                _, at = self._object(body, found.end() + 1, 0, members)
            except Malformed:
                return [*calls, Call(found[1], to_json(members)[:-1])]
            calls.append(Call(found[1], to_json(members)))
        return calls

    def _value(self, body: str, at: int, depth: int) -> tuple[Any, int]:
        if depth > _MAX_DEPTH:
            raise Malformed("nested too deeply")
        at = _next_sign(body, at)
        if body.startswith(self.quote, at):
            return self._text(body, at)
        if body[at] == "{":
            return self._object(body, at + 1, depth + 1, {})
        if body[at] == "[":
            return self._list(body, at + 1, depth + 1)
        if body[at] == '"':
            return _json(body, at)
        found = _PLAIN.match(body, at)
        text = found[0].strip() if found else ""
        try:
            return json.loads(text, parse_constant=str), at + len(text)
        except ValueError:
            return text, at + len(text)

    def _text(self, body: str, at: int) -> tuple[str, int]:
        end = body.find(self.quote, at + len(self.quote))
        if end < 0:
            raise Unfinished
        return body[at + len(self.quote) : end], end + len(self.quote)

    def _object(self, body: str, at: int, depth: int, members: dict[str, Any]) -> tuple[dict[str, Any], int]:
        """Adds each member to `members` as soon as it is complete. Returns them, and where the object ends."""
        while True:
            at = _next_sign(body, at)
            if body[at] == "}":
                return members, at + 1
            key, at = self._key(body, at)
            value, at = self._value(body, at, depth)
            at = _past_comma(body, at, "}")
            members[key] = value

    def _list(self, body: str, at: int, depth: int) -> tuple[list[Any], int]:
        values: list[Any] = []
        while True:
            at = _next_sign(body, at)
            if body[at] == "]":
                return values, at + 1
            value, at = self._value(body, at, depth)
            values.append(value)
            at = _past_comma(body, at, "]")

    def _key(self, body: str, at: int) -> tuple[str, int]:
        """A key, and where its value begins."""
        if body.startswith(self.quote, at):
            key, at = self._text(body, at)
        elif body[at] == '"':
            key, at = _json(body, at)
        else:
            end = body.find(":", at)
            if end < 0:
                raise Unfinished
            key, at = body[at:end].strip(), end
        at = _next_sign(body, at)
        if body[at] != ":" or not isinstance(key, str):
            raise Malformed("a key has no value")
        return key, at + 1


def _json(body: str, at: int) -> tuple[Any, int]:
    try:
        return json.JSONDecoder(strict=False).raw_decode(body, at)
    except ValueError:
        raise Unfinished from None


def _next_sign(body: str, at: int) -> int:
    while at < len(body) and body[at].isspace():
        at += 1
    if at == len(body):
        raise Unfinished
    return at


def _past_comma(body: str, at: int, end: str) -> int:
    """Behind the comma, or where the end is."""
    at = _next_sign(body, at)
    if body[at] == ",":
        return at + 1
    if body[at] != end:
        raise Malformed("a value does not end")
    return at
