"""Writes calls as a format's model writes them, for templates that leave them out of the history."""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from nitro.text.tool_formats.format import Layout
from nitro.text.tools import ChatMessage

Arguments = Mapping[str, Any] | str  # a text is no JSON, and stays as it is

_TYPES = {str: "string", bool: "boolean", dict: "object", list: "array", type(None): "null"}


def with_calls_as_text(messages: Sequence[ChatMessage], layout: Layout) -> list[ChatMessage]:
    """The conversation with each message's calls in its content."""
    return [
        {**_without_calls(message), "content": message_text(message, layout)} if message.get("tool_calls") else message
        for message in messages
    ]


def write_calls(calls: Sequence[tuple[str, Arguments]], layout: Layout) -> str:
    """Calls, each a name and its arguments, as the model writes them."""
    texts = [_call(name, arguments, i, layout) for i, (name, arguments) in enumerate(calls)]
    if layout.call_separator is None:
        return "\n".join(layout.begin + text + layout.end for text in texts)
    return layout.begin + layout.call_separator.join(texts) + layout.end


def message_text(message: ChatMessage, layout: Layout) -> str:
    """The content of a message, with its calls behind it."""
    calls = write_calls(list(_calls(message["tool_calls"])), layout) if message.get("tool_calls") else ""
    content = message.get("content") or ""
    return content + ("\n" if content and calls else "") + calls


def _without_calls(message: ChatMessage) -> ChatMessage:
    return {key: value for key, value in message.items() if key != "tool_calls"}


def _calls(tool_calls: Iterable[Mapping[str, Any]]) -> Iterable[tuple[str, Arguments]]:
    for call in tool_calls:
        function = call.get("function") or call
        arguments = function.get("arguments")
        yield str(function.get("name")), arguments if isinstance(arguments, dict | str) else {}


def _call(name: str, arguments: Arguments, number: int, layout: Layout) -> str:
    if isinstance(arguments, str):
        inside = arguments
    elif layout.parameter is None:
        inside = _json(arguments)
    else:
        inside = layout.parameter_separator.join(_parameter(key, value, layout) for key, value in arguments.items())
    holes = {"NAME": name, "INDEX": str(number), "ID": f"{number:09}", "SPACE": "", "ARGUMENTS": inside}
    return _fill(layout.call, holes)


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
    return _fill(layout.parameter or "", holes)


def _fill(text: str, holes: Mapping[str, str]) -> str:
    return re.sub(r"\$([A-Z]+)", lambda hole: holes[hole[1]], text)


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
