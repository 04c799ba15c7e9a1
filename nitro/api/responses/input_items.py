"""The items of a request's `input` as they are kept: in one form, each with an id."""

import secrets
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

_PREFIXES = {
    "message": "msg",
    "reasoning": "rs",
    "function_call": "fc",
    "function_call_output": "fco",
    "custom_tool_call": "ctc",
    "custom_tool_call_output": "ctco",
}


def of_text(text: str) -> list[dict[str, Any]]:
    """A text that is the whole of an input."""
    return [{"type": "message", "role": "user", "content": text}]


def kept(items: Sequence[Mapping[str, Any]]) -> bytes:
    """JSON of a list. The items have been read, and have no references among them."""
    return msgspec.json.encode([_kept(item) for item in items])


def _kept(item: Mapping[str, Any]) -> dict[str, Any]:
    kind = item.get("type") or "message"
    whole = {**item, "type": kind}
    whole["id"] = item.get("id") or f"{_PREFIXES[kind]}_{secrets.token_hex(24)}"
    if kind == "message":
        whole["content"] = _parts(item.get("content"), item["role"])
    if kind != "reasoning":
        whole["status"] = item.get("status") or "completed"
    return whole


def _parts(content: Any, role: str) -> list[Any]:
    if not isinstance(content, str):
        return [] if content is None else content if isinstance(content, list) else [content]
    if role == "assistant":
        return [{"type": "output_text", "text": content, "annotations": []}]
    return [{"type": "input_text", "text": content}]
