"""`cache_control`: which beginnings of the prompt are to stay in the prefix cache.

A block's is noted with what is made of the block, a part of a message's content or a message, which may move while the
conversation is read; `collect` takes the notes off again.
"""

from typing import Any

from nitro.api.anthropic.requests import Block, MessagesRequest, ResultBlock, SystemBlock
from nitro.api.prefix_cache import parse_whole, seconds_of_control, tool_control
from nitro.service.requests import Breakpoint, text_part

NOTE = "cache_control"  # its key in a part or a message


def part(text: str, block: Block | ResultBlock | SystemBlock | None, where: str) -> dict[str, Any]:
    """A part of a message's content, with its block's note. Raises ApiError 400."""
    return noted(text_part(text), block, where)


def noted(made: dict[str, Any], block: Block | ResultBlock | SystemBlock | None, where: str) -> dict[str, Any]:
    """What was made of a block, with its note. Raises ApiError 400."""
    if block is not None and block.cache_control is not None:
        made[NOTE] = seconds_of_control(block.cache_control, f"{where}.{NOTE}")
    return made


def collect(request: MessagesRequest, messages: list[dict[str, Any]]) -> list[Breakpoint]:
    """The breakpoints of tools and messages, in the order of the prompt. Raises ApiError 400."""
    tools = [
        seconds_of_control(control, f"tools[{i}].{NOTE}")
        for i, tool in enumerate(request.tools or [])
        if (control := tool_control(tool, f"tools[{i}].{NOTE}"))
    ]
    found = [Breakpoint(max(tools))] if tools else []
    for number, message in enumerate(messages):
        for j, content in enumerate(message["content"]):
            if (seconds := content.pop(NOTE, None)) is not None:
                found.append(Breakpoint(seconds, number, j))
        if (seconds := message.pop(NOTE, None)) is not None:
            found.append(Breakpoint(seconds, number))
    return found


def whole(request: MessagesRequest) -> float | None:
    """How long the whole prompt is to stay; None: no longer than any other. Raises ApiError 400."""
    return parse_whole(None, None, None, request.cache_control).seconds
