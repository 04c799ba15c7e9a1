"""The arguments of calls in the history. The reader of a request has made objects of those that are JSON objects."""

from collections.abc import Iterator, Sequence
from typing import Any

from nitro.text.conversation_shape import function_of
from nitro.text.tools import ChatMessage

NO_ARGUMENTS = ("", "null")  # what streams and clients leave behind for a call without arguments


def with_objects(messages: Sequence[ChatMessage]) -> Sequence[ChatMessage]:
    """The messages with an empty object for each call's arguments that are missing, empty or null."""
    if all(_has_arguments(call) for _, _, call in _calls(messages)):
        return messages
    return [{**m, "tool_calls": [*map(_with_object, m["tool_calls"])]} if m.get("tool_calls") else m for m in messages]


def texts(messages: Sequence[ChatMessage]) -> Iterator[str]:
    """Where arguments are no object, but a text that is none."""
    for i, j, call in _calls(messages):
        if isinstance(function_of(call).get("arguments"), str):
            yield f"messages[{i}].tool_calls[{j}].function.arguments"


def _calls(messages: Sequence[ChatMessage]) -> Iterator[tuple[int, int, Any]]:
    for i, message in enumerate(messages):
        for j, call in enumerate(message.get("tool_calls") or ()):
            yield i, j, call


def _has_arguments(call: Any) -> bool:
    arguments = function_of(call).get("arguments")
    return arguments is not None and not (isinstance(arguments, str) and arguments.strip() in NO_ARGUMENTS)


def _with_object(call: Any) -> Any:
    if _has_arguments(call):
        return call
    function = {**function_of(call), "arguments": {}}
    return {**call, "function": function} if call.get("function") else function
