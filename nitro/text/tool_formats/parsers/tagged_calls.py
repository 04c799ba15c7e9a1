"""Parses calls in the manner of XML: a tag with the name, and one for each argument, whose value has no quotes."""

import re
from collections.abc import Callable
from dataclasses import dataclass

from nitro.text import partial_json
from nitro.text.partial_json import read_object
from nitro.text.partial_tags import partial_length
from nitro.text.tool_formats.argument_values import argument_to_json, is_raw_text_argument, to_json
from nitro.text.tools import Call, Malformed, ToolsByName, Unfinished

_SPACE = re.compile(r"\s*")
_AT_THE_END = r"\Z"


def _unchanged(text: str) -> str:
    return text


def without_line_breaks(text: str) -> str:
    """The value without the line break after the opening tag and the one before the closing tag."""
    return text.removeprefix("\n").removesuffix("\n")


@dataclass(frozen=True, slots=True)
class TaggedCalls:
    """A parser by its tags, which are regular expressions."""

    call: str  # the opening of a call, with a group `name`
    key: (
        str  # the opening of an argument, with a group `key`; maybe `type`, its JSON type, or `text`, "true" or "false"
    )
    close_tag: str  # a value ends at the first one that another argument, or the end of the call, follows
    end: str = _AT_THE_END  # the end of a call
    decode: Callable[[str], str] = _unchanged  # a value as written → what it says
    object_pattern: str | None = None  # all arguments as one JSON object, a group `json`
    bare_key: str = r"(?!)"  # an argument without a value, which says nothing

    def parse(self, body: str, tools: ToolsByName) -> list[Call]:
        """Read calls, one after another. Raises Malformed."""
        calls: list[Call] = []
        at = _skip(body, 0)
        while at < len(body):
            call, at = self._call(body, at, tools)
            calls.append(call)
            at = _skip(body, at)
        if not calls:
            raise Unfinished
        return calls

    def _call(self, body: str, at: int, tools: ToolsByName) -> tuple[Call, int]:
        opening = re.compile(self.call).match(body, at)
        if not opening:
            raise Malformed("no call begins there")
        name, at = opening["name"].strip(), opening.end()
        found = re.compile(self.object_pattern, re.DOTALL).match(body, at) if self.object_pattern else None
        if found:
            arguments, at = _object(found["json"]), found.end()
        else:
            arguments, at = self._arguments(name, body, at, tools)
        end = re.compile(r"\s*" + self.end).match(body, at)
        if not end:
            raise Unfinished if not body[at:].strip() else Malformed("the call does not end")
        return Call(name, arguments), end.end()

    def _arguments(self, name: str, body: str, at: int, tools: ToolsByName) -> tuple[str, int]:
        """The arguments as a JSON object, and where they end. One that comes twice is written twice: the last one
        counts, in JSON as well."""
        arguments: list[tuple[str, str]] = []
        while found := re.compile(rf"(?:\s*{self.bare_key})*\s*{self.key}").match(body, at):
            key = found["key"]
            value, at = self._value(body, found.end())
            arguments += _argument(tools, name, key, value, _is_marked_text(found))
        bare = re.compile(rf"(?:\s*{self.bare_key})*").match(body, at)
        return _members(arguments) + "}", bare.end() if bare else at

    def parse_partial(self, body: str, tools: ToolsByName) -> list[Call]:
        """The calls so far; the last one's arguments may go on. Its texts must hold no closing tag."""
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

    def _so_far(self, name: str, body: str, at: int, tools: ToolsByName) -> tuple[str, int]:
        """The beginning of a JSON object, and where the complete arguments end."""
        arguments: list[tuple[str, str]] = []
        followed = f"{self.key}|{self.bare_key}" + ("" if self.end == _AT_THE_END else f"|{self.end}")
        while found := re.compile(r"\s*" + self.key).match(body, at):
            key, start = found["key"], found.end()
            is_text = _is_marked_text(found) or is_raw_text_argument(tools, name, key)
            closing = re.compile(rf"{self.close_tag}(?=\s*(?:{followed}))").search(body, start)
            if not closing:
                if is_text and self.decode in (_unchanged, without_line_breaks):
                    arguments.append((key, to_json(self._partial_text(body[start:]))[:-1]))
                break
            value, at = self.decode(body[start : closing.start()]), closing.end()
            arguments += _argument(tools, name, key, value, is_text)
        return _members(arguments), at

    def _partial_text(self, text: str) -> str:
        """What is certain of a text that goes on, or that ends with the beginning of its closing tag."""
        close_tag = re.sub(r"\\(.)", r"\1", self.close_tag)
        certain = text.partition(close_tag)[0]
        if certain == text:
            certain = text[: len(text) - partial_length(text, (close_tag,))]
        return certain if self.decode is _unchanged else certain.removeprefix("\n").rstrip("\n")

    def _value(self, body: str, at: int) -> tuple[str, int]:
        """A value, and where its closing tag ends. A closing tag within a text is followed by other things."""
        closing = re.compile(rf"{self.close_tag}(?=\s*(?:{self.key}|{self.bare_key}|{self.end}))").search(body, at)
        if not closing:
            raise Unfinished
        return self.decode(body[at : closing.start()]), closing.end()


def _argument(tools: ToolsByName, name: str, key: str, text: str, is_text: bool) -> list[tuple[str, str]]:
    """The argument and its JSON, or nothing where the text says nothing."""
    value = to_json(text) if is_text else argument_to_json(tools, name, key, text)
    return [] if value is None else [(key, value)]


def _is_marked_text(key: re.Match[str]) -> bool:
    groups = key.groupdict()
    return groups.get("type") == "string" or groups.get("text") == "true"


def _members(arguments: list[tuple[str, str]]) -> str:
    """A JSON object, up to its last member."""
    return "{" + ", ".join(f"{to_json(key)}: {value}" for key, value in arguments)


def _object(text: str) -> str:
    if read_object(text).end is None:
        raise Malformed("the arguments do not end")
    return partial_json.to_strict(text.strip())


def _skip(body: str, at: int) -> int:
    found = _SPACE.match(body, at)
    return found.end() if found else at
