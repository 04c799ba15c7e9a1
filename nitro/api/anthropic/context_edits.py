"""`context_management`: what is left out of a long conversation. Only thinking can be: see EDITS."""

from typing import Any

from nitro.api.anthropic.requests import ContextManagement
from nitro.errors import ApiError
from nitro.service import ignored_parameters
from nitro.text.conversation_shape import REASONING_NAMES

THINKING = "clear_thinking_20251015"
# edits that wait until a prompt is longer than tokens can be counted here: nothing is lost without them
WITHOUT_EFFECT = ("clear_tool_uses_20250919", "compact_20260112")


def apply(management: ContextManagement | None, messages: list[dict[str, Any]]) -> list[str]:
    """Change the messages. Returns the edits without effect, as they may stand in a header. Raises ApiError 400."""
    told = []
    for i, edit in enumerate((management.edits if management else None) or []):
        where, kind = f"context_management.edits[{i}]", edit.get("type")
        if kind == THINKING:
            keep = _turns(edit.get("keep"), f"{where}.keep")
            if keep is not None:
                _clear_thinking(messages, keep)
        elif kind in WITHOUT_EFFECT:
            told.append(ignored_parameters.escaped(f"{where}: {kind}"))
        else:
            raise ApiError.invalid(f"{where}.type", f"one of {', '.join((THINKING, *WITHOUT_EFFECT))}, got '{kind}'")
    return told


def _turns(keep: Any, where: str) -> int | None:
    """How many turns keep their thinking; None: all. By default the last one."""
    if keep is None:
        return 1
    if keep == "all" or keep == {"type": "all"}:
        return None
    value = keep.get("value") if isinstance(keep, dict) and keep.get("type") == "thinking_turns" else None
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ApiError.invalid(where, "'all', or an object of type 'thinking_turns' with a value of at least 1")
    return value


def _clear_thinking(messages: list[dict[str, Any]], keep: int) -> None:
    """Take the reasoning out of all turns of the assistant but the last `keep`. A turn ends where the user speaks."""
    turns, inside = 0, False
    for message in reversed(messages):
        if message["role"] == "assistant":
            turns += not inside
            inside = True
            if turns > keep:
                for name in REASONING_NAMES:
                    message.pop(name, None)
        elif message["role"] == "user":
            inside = False
