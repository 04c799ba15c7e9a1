"""Parses calls that are JSON objects with a name and arguments: most families write these, with other tags around."""

import json
import re

from nitro.text import partial_json
from nitro.text.partial_json import PartialObject, read_object
from nitro.text.tools import Call, Malformed, TextAfterCalls, ToolsByName, Unfinished

NAMES = ("name", "function", "tool_name")
ARGUMENTS = ("arguments", "parameters", "args")


def parse(body: str, tools: ToolsByName) -> list[Call]:
    """Read one object, several in a row (between them white space, commas, semicolons), or a list of them.

    Raises Unfinished where the text ends too early, TextAfterCalls where it goes on, else Malformed.
    """
    calls: list[Call] = []
    text = _without_fence(body)
    at = partial_json.skip_space(text, 0)
    in_list = text[at : at + 1] == "["
    at += in_list
    end = at
    while True:
        at = partial_json.skip_space(text, at, ",;")
        if at == len(text) or text[at] == "]":
            break
        if calls and not in_list and text[at] != "{":
            break
        found = read_object(text, at)
        if found.end is None:
            raise Unfinished
        calls.append(_call(found))
        at = end = found.end
    if in_list and at == len(text):
        raise Unfinished
    following = text[at + 1 :] if in_list else text[end:]
    if following.strip(" \t\n\r,;"):
        raise TextAfterCalls(calls, following)
    if not calls:
        raise Unfinished
    return calls


def parse_partial(body: str, tools: ToolsByName) -> list[Call]:
    """The calls so far; the last one's arguments may be incomplete."""
    calls: list[Call] = []
    at = 0
    try:
        at = body.find("{")
        while at >= 0:
            found = read_object(body, at)
            if found.end is None:
                name, arguments = _name(found), _arguments_so_far(found)
                if name and arguments.startswith("{"):
                    calls.append(Call(name, arguments))
                break
            if not _first(found, ARGUMENTS).startswith("{"):
                break
            calls.append(_call(found))
            at = body.find("{", found.end)
    except Malformed:
        pass
    return calls


def _call(found: PartialObject) -> Call:
    function = found.members.get("function", "")
    if function.startswith("{"):  # as OpenAI writes calls
        found = read_object(function)
    name, arguments = _name(found), _first(found, ARGUMENTS)
    if not name:
        raise Malformed("a call has no name")
    value = json.loads(arguments, strict=False) if arguments else None
    if isinstance(value, str):  # JSON in a string
        try:
            arguments, value = value, json.loads(value, strict=False)
        except ValueError:
            raise Malformed("arguments are no JSON") from None
    if value is None:
        return Call(name, "{}")
    if not isinstance(value, dict):
        raise Malformed("arguments are no object")
    return Call(name, partial_json.to_strict(arguments))


def _arguments_so_far(found: PartialObject) -> str:
    if found.open_member and found.open_member[0] in ARGUMENTS and found.open_member[1].startswith("{"):
        return found.open_member[1]
    return _first(found, ARGUMENTS)


def _name(found: PartialObject) -> str | None:
    value = json.loads(_first(found, NAMES) or "null", strict=False)
    return value if isinstance(value, str) else None


def _first(found: PartialObject, keys: tuple[str, ...]) -> str:
    return next((found.members[key] for key in keys if key in found.members), "")


def _without_fence(body: str) -> str:
    """The text without the Markdown fence that some models put around JSON."""
    fenced = re.fullmatch(r"\s*```(?:json)?\s*\n(.*?)\n?```\s*", body, re.DOTALL)
    return fenced[1] if fenced else body
