"""Which tools a conversation has loaded, added and removed since it began.

    tool_reference in a tool's result   a client's search has found a tool that is offered with `defer_loading`
    tool_addition in a system message   {"type": "tool_reference", "name"} or {"type": "tool_definition", "definition"}
    tool_removal in a system message    {"type": "tool_reference", "name"}

Source: the beta types of Anthropic's Python SDK 2.14. The chat template writes all tools at its one place, so a change
holds for the whole conversation.
"""

from dataclasses import dataclass, field
from typing import Any

from nitro.api.anthropic import blocks
from nitro.api.anthropic.requests import Block, ResultBlock, Turn
from nitro.errors import ApiError

REFERENCE, DEFINITION = "tool_reference", "tool_definition"


@dataclass(slots=True)
class ToolChanges:
    """By the end of the conversation. `defined`: tools that came with it, and where."""

    loaded: set[str] = field(default_factory=set)
    removed: set[str] = field(default_factory=set)
    defined: list[tuple[dict[str, Any], str]] = field(default_factory=list)


def of(messages: list[Turn]) -> ToolChanges:
    """Read them. Raises ApiError 400."""
    changes = ToolChanges()
    for i, message in enumerate(messages):
        if isinstance(message.content, str):
            continue
        for block, where in blocks.of(message.content, message.role, f"messages[{i}].content"):
            if block.type == "tool_result":
                _load(changes, block)
            elif block.type in ("tool_addition", "tool_removal"):
                _change(changes, block, f"{where}.tool")
    return changes


def _load(changes: ToolChanges, block: Block) -> None:
    parts = block.content if isinstance(block.content, list) else [block.content]
    changes.loaded |= {
        part.tool_name for part in parts if isinstance(part, ResultBlock) and part.type == REFERENCE and part.tool_name
    }


def _change(changes: ToolChanges, block: Block, where: str) -> None:
    adds, tool = block.type == "tool_addition", block.tool
    if tool is None:
        raise ApiError.missing(where)
    if tool.type == DEFINITION and adds:
        if tool.definition is None:
            raise ApiError.missing(f"{where}.definition")
        changes.defined.append((tool.definition, f"{where}.definition"))
        name = tool.definition.get("name")
    elif tool.type == REFERENCE:
        name = tool.name
    else:
        kinds = (REFERENCE, DEFINITION) if adds else (REFERENCE,)
        raise ApiError.invalid(f"{where}.type", f"one of {', '.join(kinds)}, got '{tool.type}'")
    if not isinstance(name, str):
        raise ApiError.missing(f"{where}.name")
    (changes.loaded if adds else changes.removed).add(name)
    (changes.removed if adds else changes.loaded).discard(name)
