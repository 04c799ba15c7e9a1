"""Tools that a model may call, and the calls it makes, whatever its family's format."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

ChatMessage = Mapping[str, Any]  # as chat templates take it: "role", "content", "tool_calls" and so on


class Malformed(Exception):
    """The text is no call."""


class Unfinished(Malformed):
    """The text is no call yet, but more text could make it one."""


class TextAfterCalls(Malformed):
    """The text has calls, and after them something else."""

    def __init__(self, calls: "list[Call]", text: str):
        """`text`: what follows the calls."""
        super().__init__("something follows the calls")
        self.calls, self.text = calls, text


@dataclass(frozen=True, slots=True)
class Tool:
    """A function. `strict`: its calls certainly keep the schema of its parameters. `enforced`: a grammar holds them to
    it, as far as it can."""

    name: str
    parameters: dict[str, Any]  # a JSON schema of an object
    strict: bool = False
    enforced: bool = False


@dataclass(frozen=True, slots=True)
class Call:
    """A call of a tool, or its beginning while it streams."""

    name: str
    arguments: str  # JSON, an object


ToolsByName = Mapping[str, Tool]
