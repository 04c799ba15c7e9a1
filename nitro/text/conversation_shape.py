"""What is special about a conversation, seen in one pass: the order of its turns, and what its calls look like."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from nitro.text.tools import ChatMessage

REASONING_NAMES = ("reasoning_content", "reasoning", "thinking")  # under which templates look for it
INSTRUCTIONS = ("system", "developer")  # roles
CALLS = "calls"  # stands for the role of an assistant's message with calls
END = "end"  # stands for the role of what follows the last message
TEXT, BOTH, SEVERAL = "text", "reasoning and text", "several"
NINE = re.compile(r"[A-Za-z0-9]{9}")  # the shape of an id that every template takes


@dataclass(slots=True)
class Shape:
    """What is special about a conversation."""

    kinds: list[str]  # the role of each message, or CALLS
    lead: int  # how many messages of instructions it begins with
    pairs: set[tuple[str, str]]  # of kinds that follow each other, END included
    empty: set[str] = field(default_factory=set)  # roles of messages without a text or calls
    ids: set[str] = field(default_factory=set)  # "missing", "other": of calls whose id is not nine letters and digits
    texts: set[str] = field(default_factory=set)  # beside calls of the turn that goes on: TEXT, BOTH; SEVERAL messages
    past: set[tuple[str, str]] = field(default_factory=set)  # the same of past turns, and what ended them: see ended_by
    several: bool = False  # calls in one message
    unnamed: bool = False  # a result that does not name its function


def of(messages: Sequence[ChatMessage]) -> Shape:
    """The shape of a conversation."""
    kinds = [CALLS if message.get("tool_calls") else message["role"] for message in messages]
    lead = next((i for i, kind in enumerate(kinds) if kind not in INSTRUCTIONS), len(kinds))
    shape = Shape(kinds, lead, set(zip(kinds, [*kinds[1:], END], strict=True)))
    ends = last_places(kinds)
    for i, (kind, message) in enumerate(zip(kinds, messages, strict=True)):
        if kind == CALLS:
            _add_calls(shape, message, ended_by(i, ends))
        elif not message.get("content"):
            shape.empty.add(kind)
        if kind == "tool" and not message.get("name"):
            shape.unnamed = True
    return shape


def last_places(kinds: Sequence[str]) -> dict[str, int]:
    """Where the assistant's last answer and the user's last turn are; -1: there is none."""
    found = {"assistant": -1, "user": -1}
    for i, kind in enumerate(kinds):
        if kind in found:
            found[kind] = i
    return found


def ended_by(place: int, ends: Mapping[str, int]) -> str:
    """What has ended the turn that a message belongs to: an answer of the "assistant" or, without one, the "user"; "":
    it goes on. Templates leave out more of turns that have ended."""
    return next((kind for kind in ("assistant", "user") if place < ends[kind]), "")


def reasoning_of(message: ChatMessage) -> str:
    """The reasoning of an assistant's message."""
    return next((str(message[name]) for name in REASONING_NAMES if message.get(name)), "")


def function_of(call: Mapping[str, Any]) -> Mapping[str, Any]:
    """A call's function: its name and arguments."""
    function: Mapping[str, Any] = call.get("function") or call
    return function


def _add_calls(shape: Shape, message: ChatMessage, ended: str) -> None:
    calls = message["tool_calls"]
    shape.several = shape.several or len(calls) > 1
    for call in calls:
        id = call.get("id")
        if not id:
            shape.ids.add("missing")
        elif not (isinstance(id, str) and NINE.fullmatch(id)):
            shape.ids.add("other")
    if message.get("content"):
        text = BOTH if reasoning_of(message) else TEXT
        if ended:
            shape.past.add((text, ended))
        else:
            shape.texts |= {text, SEVERAL} if shape.texts else {text}
