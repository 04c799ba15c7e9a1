"""What is special about a conversation, seen in one pass: the order of its turns, and what its calls look like."""

import re
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from nitro.text.tools import ChatMessage

REASONING_NAMES = ("reasoning_content", "reasoning", "thinking")  # under which templates look for it
INSTRUCTIONS = ("system", "developer")  # roles
CALLS = "calls"  # stands for the role of an assistant's message with calls
END = "end"  # stands for the role of what follows the last message
NINE = re.compile(r"[A-Za-z0-9]{9}")  # the shape of an id that every template takes


@dataclass(slots=True)
class Shape:
    """What is special about a conversation."""

    kinds: list[str]  # the role of each message, or CALLS
    lead: int  # how many messages of instructions it begins with
    pairs: set[tuple[str, str]]  # of kinds that follow each other, END included
    empty: set[str] = field(default_factory=set)  # roles of messages without a text or calls
    ids: set[str] = field(default_factory=set)  # "missing", "other": of calls whose id is not nine letters and digits
    texts: set[Hashable] = field(default_factory=set)  # "content", "reasoning", or both as a pair: beside calls
    several: bool = False  # calls in one message
    unnamed: bool = False  # a result that does not name its function


def of(messages: Sequence[ChatMessage]) -> Shape:
    """The shape of a conversation."""
    kinds = [CALLS if message.get("tool_calls") else message["role"] for message in messages]
    lead = next((i for i, kind in enumerate(kinds) if kind not in INSTRUCTIONS), len(kinds))
    shape = Shape(kinds, lead, set(zip(kinds, [*kinds[1:], END], strict=True)))
    for kind, message in zip(kinds, messages, strict=True):
        if kind == CALLS:
            _add_calls(shape, message)
        elif not message.get("content"):
            shape.empty.add(kind)
        if kind == "tool" and not message.get("name"):
            shape.unnamed = True
    return shape


def reasoning_of(message: ChatMessage) -> str:
    """The reasoning of an assistant's message."""
    return next((str(message[name]) for name in REASONING_NAMES if message.get(name)), "")


def function_of(call: Mapping[str, Any]) -> Mapping[str, Any]:
    """A call's function: its name and arguments."""
    function: Mapping[str, Any] = call.get("function") or call
    return function


def _add_calls(shape: Shape, message: ChatMessage) -> None:
    calls = message["tool_calls"]
    shape.several = shape.several or len(calls) > 1
    for call in calls:
        id = call.get("id")
        if not id:
            shape.ids.add("missing")
        elif not (isinstance(id, str) and NINE.fullmatch(id)):
            shape.ids.add("other")
    content, reasoning = bool(message.get("content")), bool(reasoning_of(message))
    if content:
        shape.texts.add(("content", "reasoning") if reasoning else "content")
