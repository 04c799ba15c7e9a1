"""Calls written as a format's model writes them: for templates that leave them out of the history."""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from nitro.text.tool_formats.format import Layout

Message = Mapping[str, Any]


def messages(given: Sequence[Message], layout: Layout) -> list[Message]:
    """The conversation with the calls in the texts of their messages."""
    return [
        {**_without(message), "content": said(message, layout)} if message.get("tool_calls") else message
        for message in given
    ]


def written(calls: Sequence[tuple[str, Mapping[str, Any] | str]], layout: Layout) -> str:
    """Arguments that are a text are no JSON, and stay as they are."""
    each = [_call(name, arguments, i, layout) for i, (name, arguments) in enumerate(calls)]
    if layout.between is None:
        return "\n".join(layout.begin + call + layout.end for call in each)
    return layout.begin + layout.between.join(each) + layout.end


def said(message: Message, layout: Layout) -> str:
    """Its content, and its calls behind it."""
    calls = written(list(_calls(message["tool_calls"])), layout) if message.get("tool_calls") else ""
    content = message.get("content") or ""
    return content + ("\n" if content and calls else "") + calls


def _without(message: Message) -> Message:
    return {key: value for key, value in message.items() if key != "tool_calls"}


def _calls(given: Iterable[Mapping[str, Any]]) -> Iterable[tuple[str, Mapping[str, Any] | str]]:
    for call in given:
        function = call.get("function") or call
        arguments = function.get("arguments")
        yield str(function.get("name")), arguments if isinstance(arguments, dict | str) else {}


def _call(name: str, arguments: Mapping[str, Any] | str, number: int, layout: Layout) -> str:
    if isinstance(arguments, str):
        inside = arguments
    elif layout.parameter is None:
        inside = _json(arguments)
    else:
        inside = layout.separator.join(_parameter(key, value, layout) for key, value in arguments.items())
    return _filled(
        layout.call, {"NAME": name, "INDEX": str(number), "ID": f"{number:09}", "SPACE": "", "ARGUMENTS": inside}
    )


def _parameter(key: str, value: Any, layout: Layout) -> str:
    is_text = isinstance(value, str)
    holes = {
        "KEY": key,
        "VALUE": layout.quote + value + layout.quote if is_text else _json(value),
        "JSON": _json(value),
        "SPACE": "",
        "TEXT": "true" if is_text else "false",
        "TYPE": _TYPES.get(type(value), "number"),
    }
    return _filled(layout.parameter or "", holes)


_TYPES = {str: "string", bool: "boolean", dict: "object", list: "array", type(None): "null"}


def _filled(text: str, holes: Mapping[str, str]) -> str:
    return re.sub(r"\$([A-Z]+)", lambda hole: holes[hole[1]], text)


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
