"""Calls as Python writes them: name(key=value, …). A model's own Python is read, too: raw line breaks in a text, quotes
in it that are not escaped, JSON's true, false and null."""

import json
import re
from typing import Any

from nitro.text.tool_formats.argument_values import written
from nitro.text.tools import Call, Followed, Malformed, Tools, Unfinished

_NAME = re.compile(r"\s*([A-Za-z_][\w.:-]*)\s*\(")
_KEY = re.compile(r"\s*([A-Za-z_][\w.-]*)\s*=\s*")
_WORD = re.compile(r"[-+]?[A-Za-z0-9_.]+(?:[eE][-+]?\d+)?")
_WORDS = {"True": True, "False": False, "None": None, "true": True, "false": False, "null": None}
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f", "\\": "\\", "'": "'", '"': '"', "/": "/", "\n": ""}
_DEEPEST = 60


def parse(body: str, tools: Tools) -> list[Call]:
    """A list of calls, or one call alone, or several one after another."""
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
        raise Followed(calls, reader.text[reader.at :])
    return calls


def seen(body: str, tools: Tools) -> list[Call]:
    """What there is of calls so far; of the last one, the arguments that are whole."""
    reader, calls = _Reader(body), []
    reader.takes("[")
    while reader.at < len(body) and body[reader.at] != "]":
        reader.begun = None
        try:
            calls.append(reader.call())
        except Malformed:
            return [*calls, Call(reader.begun[0], written(reader.begun[1])[:-1])] if reader.begun else calls
        reader.takes(",;")
    return calls


class _Reader:
    def __init__(self, text: str, at: int = 0):
        self.text, self.at = text, at
        self.begun: tuple[str, dict[str, Any]] | None = (
            None  # the call that is being read, its arguments that are whole
        )

    def takes(self, signs: str) -> bool:
        """Whether one of the signs came; it is behind now, and so is the white space around it."""
        self._skip()
        if self.at == len(self.text) or self.text[self.at] not in signs:
            return False
        self.at += 1
        self._skip()
        return True

    def call(self) -> Call:
        found = _NAME.match(self.text, self.at)
        if not found:
            raise Malformed("no call begins there")
        self.at = found.end()
        arguments: dict[str, Any] = {}
        self.begun = found[1], arguments
        while not self.takes(")"):
            if not (key := _KEY.match(self.text, self.at)):
                raise self._fault("an argument has no name")
            self.at = key.end()
            value = self._value()
            if not self.takes(",") and self._next() != ")":
                raise self._fault("an argument does not end")
            arguments[key[1]] = value
        try:
            return Call(found[1], written(arguments))
        except (ValueError, TypeError):
            raise Malformed("an argument is no JSON") from None

    def _value(self, depth: int = 0) -> Any:
        if depth > _DEEPEST:
            raise Malformed("nested too deeply")
        sign = self._next()
        if sign in ("'", '"'):
            return self._text(sign)
        if self.takes("["):
            return self._list(depth)
        if self.takes("{"):
            return self._object(depth)
        if not (word := _WORD.match(self.text, self.at)):
            raise self._fault("no value begins there")
        self.at = word.end()
        try:
            return _WORDS[word[0]] if word[0] in _WORDS else json.loads(word[0].removeprefix("+"))
        except ValueError:
            raise Malformed("no such value") from None

    def _list(self, depth: int) -> list[Any]:
        made = []
        while not self.takes("]"):
            made.append(self._value(depth + 1))
            if not self.takes(",") and self._next() != "]":
                raise self._fault("the list does not end")
        return made

    def _object(self, depth: int) -> dict[str, Any]:
        made = {}
        while not self.takes("}"):
            key = self._value(depth + 1)
            if not isinstance(key, str) or not self.takes(":"):
                raise self._fault("a key is no text")
            made[key] = self._value(depth + 1)
            if not self.takes(",") and self._next() != "}":
                raise self._fault("the object does not end")
        return made

    def _text(self, quote: str) -> str:
        """It ends at that quote behind which something else can follow."""
        at, made = self.at + 1, ""
        while at < len(self.text):
            sign = self.text[at]
            if sign == "\\" and at + 1 < len(self.text):
                piece, at = _escaped(self.text, at)
                made += piece
                continue
            if sign == quote and re.compile(r"\s*([,)\]}:]|\Z)").match(self.text, at + 1):
                self.at = at + 1
                return made
            made, at = made + sign, at + 1
        raise Unfinished

    def _next(self) -> str:
        self._skip()
        return self.text[self.at : self.at + 1]

    def _skip(self) -> None:
        while self.at < len(self.text) and self.text[self.at].isspace():
            self.at += 1

    def _fault(self, what: str) -> Malformed:
        return Unfinished(what) if self.at >= len(self.text) else Malformed(what)


def _escaped(text: str, at: int) -> tuple[str, int]:
    """What an escape stands for, and where it ends. One that is none is left as it is."""
    if found := re.compile(r"(?:\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F]|\\u)[0-9a-fA-F]{2,4}").match(text, at):
        try:
            return json.loads(f'"{found[0]}"'), found.end()
        except ValueError:
            pass
    if found := re.compile(r"\\x([0-9a-fA-F]{2})").match(text, at):
        return chr(int(found[1], 16)), found.end()
    sign = text[at + 1]
    return _ESCAPES.get(sign, "\\" + sign), at + 2
