"""Calls as JSON objects with a name and arguments: what most families write, with other words around them."""

import json
import re

from nitro.text import partial_json
from nitro.text.partial_json import Object, read_object
from nitro.text.tools import Call, Followed, Malformed, Tools, Unfinished

NAMES = ("name", "function", "tool_name")
ARGUMENTS = ("arguments", "parameters", "args")


def parse(body: str, tools: Tools) -> list[Call]:
    """One object, several in a row (between them white space, commas, semicolons), or a list of them."""
    calls: list[Call] = []
    text = _unfenced(body)
    at = partial_json.skip(text, 0)
    if in_list := text[at : at + 1] == "[":
        at += 1
    end = at
    while (at := partial_json.skip(text, at, ",;")) < len(text) and text[at] != "]":
        if calls and not in_list and text[at] != "{":
            break
        found = read_object(text, at)
        if found.end is None:
            raise Unfinished
        calls.append(_call(found))
        at = end = found.end
    if in_list and at == len(text):
        raise Unfinished
    rest = text[at + 1 :] if in_list else text[end:]
    if rest.strip(" \t\n\r,;"):
        raise Followed(calls, rest)
    if not calls:
        raise Unfinished
    return calls


def seen(body: str, tools: Tools) -> list[Call]:
    """What there is of calls so far; the last one's arguments may be incomplete."""
    calls: list[Call] = []
    at = 0
    try:
        while (at := body.find("{", at)) >= 0:
            found = read_object(body, at)
            if found.end is None:
                name = _name(found)
                if name and found.open and found.open[0] in ARGUMENTS and found.open[1].startswith("{"):
                    calls.append(Call(name, found.open[1]))
                elif name and (arguments := _first(found, ARGUMENTS)).startswith("{"):
                    calls.append(Call(name, arguments))
                break
            if not _first(found, ARGUMENTS).startswith("{"):
                break
            calls.append(_call(found))
            at = found.end
    except Malformed:
        pass
    return calls


def _call(found: Object) -> Call:
    if (inner := found.members.get("function", "")).startswith("{"):  # as OpenAI writes calls
        found = read_object(inner)
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
    return Call(name, partial_json.strict(arguments))


def _name(found: Object) -> str | None:
    value = json.loads(_first(found, NAMES) or "null", strict=False)
    return value if isinstance(value, str) else None


def _first(found: Object, keys: tuple[str, ...]) -> str:
    return next((found.members[key] for key in keys if key in found.members), "")


def _unfenced(body: str) -> str:
    """Without the Markdown fence that some models put around JSON."""
    fenced = re.fullmatch(r"\s*```(?:json)?\s*\n(.*?)\n?```\s*", body, re.DOTALL)
    return fenced[1] if fenced else body
