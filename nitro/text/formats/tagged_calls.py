"""Calls in the manner of XML: a tag with the name, and one for each argument, whose value is written as it is."""

import re
from collections.abc import Callable
from dataclasses import dataclass

from nitro.text import json_text
from nitro.text.formats.values import argument, written
from nitro.text.json_text import read_object
from nitro.text.tools import Call, Malformed, Tools, Unfinished

_SPACE = re.compile(r"\s*")


def _as_it_is(text: str) -> str:
    return text


def unwrapped(text: str) -> str:
    """Without the line break after the opening tag and that before the closing one."""
    return text.removeprefix("\n").removesuffix("\n")


@dataclass(frozen=True, slots=True)
class Tags:
    """Regular expressions. `call` finds a `name`, `key` the `key` of an argument, and its `type` or whether it is a
    `text`, where that is told; a value ends at that `closes` behind which another argument begins, or the call ends.
    `text` makes of a value what it says. `whole` finds all arguments as one `json`."""

    call: str
    key: str
    closes: str
    end: str = r"\Z"
    text: Callable[[str], str] = _as_it_is
    whole: str | None = None

    def parse(self, body: str, tools: Tools) -> list[Call]:
        calls: list[Call] = []
        at = _skip(body, 0)
        while at < len(body):
            call, at = self._call(body, at, tools)
            calls.append(call)
            at = _skip(body, at)
        if not calls:
            raise Unfinished
        return calls

    def _call(self, body: str, at: int, tools: Tools) -> tuple[Call, int]:
        opening = re.compile(self.call).match(body, at)
        if not opening:
            raise Malformed("no call begins there")
        name, at = opening["name"].strip(), opening.end()
        if self.whole and (found := re.compile(self.whole, re.DOTALL).match(body, at)):
            made, at = _object(found["json"]), found.end()
        else:
            made, at = self._arguments(name, body, at, tools)
        end = re.compile(r"\s*" + self.end).match(body, at)
        if not end:
            raise Unfinished if not body[at:].strip() else Malformed("the call does not end")
        return Call(name, made), end.end()

    def _arguments(self, name: str, body: str, at: int, tools: Tools) -> tuple[str, int]:
        """As a JSON object; and where they end. Of one that is given twice the last counts, as in JSON."""
        arguments: dict[str, str] = {}
        while found := re.compile(r"\s*" + self.key).match(body, at):
            key, value, at = found["key"], *self._value(body, found.end())
            groups = found.groupdict()
            is_text = groups.get("type") == "string" or groups.get("text") == "true"
            arguments[key] = written(value) if is_text else argument(tools, name, key, value)
        return "{" + ", ".join(f"{written(key)}: {value}" for key, value in arguments.items()) + "}", at

    def _value(self, body: str, at: int) -> tuple[str, int]:
        """And where its closing tag ends. A closing tag within a text is followed by other things."""
        closing = re.compile(rf"{self.closes}(?=\s*(?:{self.key}|{self.end}))").search(body, at)
        if not closing:
            raise Unfinished
        return self.text(body[at : closing.start()]), closing.end()


def _object(text: str) -> str:
    if read_object(text).end is None:
        raise Malformed("the arguments do not end")
    return json_text.strict(text.strip())


def _skip(body: str, at: int) -> int:
    found = _SPACE.match(body, at)
    return found.end() if found else at
