"""Parses calls in Python's notation: name(key=value, …).

It reads a model's slips, too: raw line breaks in a text, quotes in it that are not escaped, JSON's true, false, null.
"""

import json
import re
from typing import Any

from nitro.text.tool_formats.argument_values import to_json
from nitro.text.tools import Call, Malformed, TextAfterCalls, ToolsByName, Unfinished

_NAME = re.compile(r"\s*([A-Za-z_][\w.:-]*)\s*\(")
_KEY = re.compile(r"\s*([A-Za-z_][\w.-]*)\s*=\s*")
_WORD = re.compile(r"[-+]?[A-Za-z0-9_.]+(?:(?<=[0-9.][eE])[-+]\d+)?")
# What follows a text: an argument's own, and any
_AFTER_ARGUMENT = re.compile(r"\s*(,\s*[A-Za-z_][\w.-]*\s*=|,?\s*\)\s*?([,;\]\n]|\Z)|\Z)")
_AFTER_TEXT = re.compile(r"\s*([,)\]}:]|\Z)")
_UNICODE_ESCAPE = re.compile(r"(?:\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F]|\\u)[0-9a-fA-F]{2,4}")
_BYTE_ESCAPE = re.compile(r"\\x([0-9a-fA-F]{2})")
_WORDS = {"True": True, "False": False, "None": None, "true": True, "false": False, "null": None}
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f", "\\": "\\", "'": "'", '"': '"', "/": "/", "\n": ""}
_MAX_DEPTH = 60


def parse(body: str, tools: ToolsByName) -> list[Call]:
    """Read a list of calls, one call alone, or several one after another.

    Raises Unfinished where the text ends too early, TextAfterCalls where it goes on, else Malformed.
    """
    text = body.strip()
    if not text:
        raise Unfinished
    reader = _Reader(text)
    in_list = reader.takes("[")
    calls = []
    while True:
        calls.append(reader.call())
        if not reader.takes(",;") and (reader.at == len(text) or text[reader.at] in "])"):
            break
    if in_list and not reader.takes("]"):
        raise Unfinished if reader.at == len(text) else Malformed("the list does not end")
    if reader.at < len(text):
        raise TextAfterCalls(calls, reader.text[reader.at :])
    return calls


def parse_partial(body: str, tools: ToolsByName) -> list[Call]:
    """The calls so far; of the last one, the complete arguments."""
    reader, calls = _Reader(body), []
    reader.takes("[")
    while reader.at < len(body) and body[reader.at] != "]":
        reader.current = None
        try:
            calls.append(reader.call())
        except Malformed:
            if reader.current:
                name, arguments = reader.current
                calls.append(Call(name, to_json(arguments)[:-1]))
            return calls
        reader.takes(",;")
    return calls


class _Reader:
    """Reads from the position `at` on, and moves it."""

    def __init__(self, text: str):
        self.text = text
        self.at = 0
        self.current: tuple[str, dict[str, Any]] | None = None  # the call that is being read, its complete arguments

    def takes(self, signs: str) -> bool:
        """Whether one of the signs comes next. Moves past it and the white space around it."""
        self._skip()
        if self.at == len(self.text) or self.text[self.at] not in signs:
            return False
        self.at += 1
        self._skip()
        return True

    def call(self) -> Call:
        """Read the call that comes next. Raises Malformed."""
        found = _NAME.match(self.text, self.at)
        if not found:
            raise Malformed("no call begins there")
        self.at = found.end()
        arguments: dict[str, Any] = {}
        self.current = found[1], arguments
        while not self.takes(")"):
            key = _KEY.match(self.text, self.at)
            if not key:
                raise self._fault("an argument has no name")
            self.at = key.end()
            value = self._value()
            if not self.takes(",") and self._next() != ")":
                raise self._fault("an argument does not end")
            arguments[key[1]] = value
        try:
            return Call(found[1], to_json(arguments))
        except (ValueError, TypeError):
            raise Malformed("an argument is no JSON") from None

    def _value(self, depth: int = 0) -> Any:
        if depth > _MAX_DEPTH:
            raise Malformed("nested too deeply")
        sign = self._next()
        if sign in ("'", '"'):
            return self._text(sign, depth)
        if self.takes("["):
            return self._list(depth)
        if self.takes("{"):
            return self._object(depth)
        word = _WORD.match(self.text, self.at)
        if not word:
            raise self._fault("no value begins there")
        self.at = word.end()
        try:
            return _WORDS[word[0]] if word[0] in _WORDS else json.loads(word[0].removeprefix("+"))
        except ValueError:
            raise Malformed("no such value") from None

    def _list(self, depth: int) -> list[Any]:
        values = []
        while not self.takes("]"):
            values.append(self._value(depth + 1))
            if not self.takes(",") and self._next() != "]":
                raise self._fault("the list does not end")
        return values

    def _object(self, depth: int) -> dict[str, Any]:
        members = {}
        while not self.takes("}"):
            key = self._value(depth + 1)
            if not isinstance(key, str) or not self.takes(":"):
                raise self._fault("a key is no text")
            members[key] = self._value(depth + 1)
            if not self.takes(",") and self._next() != "}":
                raise self._fault("the object does not end")
        return members

    def _text(self, quote: str, depth: int) -> str:
        """A text. It ends at the first quote that something else can follow."""
        found = unescaped(self.text, self.at + 1, quote, _AFTER_ARGUMENT) if depth == 0 else None
        found = found or unescaped(self.text, self.at + 1, quote, _AFTER_TEXT)
        if found is None:
            raise Unfinished
        text, self.at = found
        return text

    def _next(self) -> str:
        self._skip()
        return self.text[self.at : self.at + 1]

    def _skip(self) -> None:
        while self.at < len(self.text) and self.text[self.at].isspace():
            self.at += 1

    def _fault(self, what: str) -> Malformed:
        return Unfinished(what) if self.at >= len(self.text) else Malformed(what)


def unescaped(text: str, at: int, quote: str, after: re.Pattern[str]) -> tuple[str, int] | None:
    """What a text that begins at `at` says, up to the first quote that `after` can follow, and where it ends; None: it
    does not."""
    parts: list[str] = []
    while at < len(text):
        sign = text[at]
        if sign == "\\" and at + 1 < len(text):
            piece, at = _escaped(text, at)
            parts.append(piece)
            continue
        if sign == quote and after.match(text, at + 1):
            return "".join(parts), at + 1
        parts.append(sign)
        at += 1
    return None


def _escaped(text: str, at: int) -> tuple[str, int]:
    """What an escape stands for, and where it ends. An unknown escape is left as it is."""
    found = _UNICODE_ESCAPE.match(text, at)
    if found:
        try:
            return json.loads(f'"{found[0]}"'), found.end()
        except ValueError:
            pass
    found = _BYTE_ESCAPE.match(text, at)
    if found:
        return chr(int(found[1], 16)), found.end()
    sign = text[at + 1]
    return _ESCAPES.get(sign, "\\" + sign), at + 2
