"""Calls in the manner of XML: a tag with the name, and one for each argument, whose value is written as it is."""

import re
from collections.abc import Callable
from dataclasses import dataclass

from nitro.text import partial_json
from nitro.text.partial_json import read_object
from nitro.text.partial_tags import partial_length
from nitro.text.tool_formats.argument_values import argument, is_text_argument, written
from nitro.text.tools import Call, Malformed, Tools, Unfinished

_SPACE = re.compile(r"\s*")
_AT_THE_END = r"\Z"


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
    end: str = _AT_THE_END
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
        """As a JSON object; and where they end. One that is given twice is told twice: of such the last counts, in JSON
        as well."""
        arguments: list[tuple[str, str]] = []
        while found := re.compile(r"\s*" + self.key).match(body, at):
            key, value, at = found["key"], *self._value(body, found.end())
            is_text = _tells_text(found)
            arguments.append((key, written(value) if is_text else argument(tools, name, key, value)))
        return _members(arguments) + "}", at

    def seen(self, body: str, tools: Tools) -> list[Call]:
        """What there is of calls so far, where texts hold no closing tag; the last one's arguments may go on."""
        calls: list[Call] = []
        at = 0
        while (opening := re.compile(r"\s*" + self.call).match(body, at)) and opening.end() < len(body):
            name = opening["name"].strip()
            arguments, at = self._so_far(name, body, opening.end(), tools)
            end = re.compile(r"\s*" + self.end).match(body, at)
            if self.end == _AT_THE_END or not end:
                return [*calls, Call(name, arguments)]
            calls.append(Call(name, arguments + "}"))
            at = end.end()
        return calls

    def _so_far(self, name: str, body: str, at: int, tools: Tools) -> tuple[str, int]:
        """The beginning of a JSON object; and where the arguments that are whole end."""
        arguments: list[tuple[str, str]] = []
        followed = self.key if self.end == _AT_THE_END else f"{self.key}|{self.end}"
        while found := re.compile(r"\s*" + self.key).match(body, at):
            key, start = found["key"], found.end()
            is_text = _tells_text(found) or is_text_argument(tools, name, key)
            closing = re.compile(rf"{self.closes}(?=\s*(?:{followed}))").search(body, start)
            if not closing:
                if is_text and self.text in (_as_it_is, unwrapped):
                    arguments.append((key, written(self._begun(body[start:]))[:-1]))
                break
            value, at = self.text(body[start : closing.start()]), closing.end()
            arguments.append((key, written(value) if is_text else argument(tools, name, key, value)))
        return _members(arguments), at

    def _begun(self, text: str) -> str:
        """What is certain of a text that goes on, or that ends with what there is of its closing tag."""
        closes = re.sub(r"\\(.)", r"\1", self.closes)
        whole = text.partition(closes)[0]
        if whole == text:
            whole = text[: len(text) - partial_length(text, (closes,))]
        return whole if self.text is _as_it_is else whole.removeprefix("\n").rstrip("\n")

    def _value(self, body: str, at: int) -> tuple[str, int]:
        """And where its closing tag ends. A closing tag within a text is followed by other things."""
        closing = re.compile(rf"{self.closes}(?=\s*(?:{self.key}|{self.end}))").search(body, at)
        if not closing:
            raise Unfinished
        return self.text(body[at : closing.start()]), closing.end()


def _tells_text(key: re.Match[str]) -> bool:
    groups = key.groupdict()
    return groups.get("type") == "string" or groups.get("text") == "true"


def _members(arguments: list[tuple[str, str]]) -> str:
    """Of a JSON object, up to its last member."""
    return "{" + ", ".join(f"{written(key)}: {value}" for key, value in arguments)


def _object(text: str) -> str:
    if read_object(text).end is None:
        raise Malformed("the arguments do not end")
    return partial_json.strict(text.strip())


def _skip(body: str, at: int) -> int:
    found = _SPACE.match(body, at)
    return found.end() if found else at
