"""A conversation of Ollama's in our form. Its calls have no ids, and results name the tool: both get ids here."""

from collections.abc import Sequence
from typing import Any

from nitro.api.ollama.requests import ROLES, OllamaMessage
from nitro.api.openai import requests
from nitro.errors import ApiError

ID = "call_{number}"  # of a call that has none; no other has it, since Ollama's own ids are longer


def ours(messages: Sequence[OllamaMessage]) -> list[requests.Message]:
    """Raises ApiError 400 with `param`."""
    waiting: list[tuple[str, str]] = []  # calls without a result: name and id
    count = 0
    found = []
    for i, message in enumerate(messages):
        role = message.role.lower()
        if role not in ROLES:
            raise ApiError.invalid(f"messages[{i}].role", f"one of {', '.join(ROLES)}, got '{message.role}'")
        calls = None
        if message.tool_calls:
            calls = [_with_id(call, count + number) for number, call in enumerate(message.tool_calls)]
            count += len(calls)
            waiting += [(_name(call), call["id"]) for call in calls]
        found.append(
            requests.Message(
                role=role,
                content=content(message.content, message.images),
                name=message.tool_name,
                tool_calls=calls,
                tool_call_id=_answered(message, waiting) if role == "tool" else message.tool_call_id,
                reasoning_content=message.thinking or None,
            )
        )
    return found


def content(text: str | None, images: list[str] | None) -> str | list[str | requests.Part] | None:
    """A content: its images stand before its text, as Ollama's prompts have them."""
    if not images:
        return text
    return [*(requests.Part("image_url", image_url=image) for image in images), *([text] if text else [])]


def _with_id(call: dict[str, Any], number: int) -> dict[str, Any]:
    return call if call.get("id") else {**call, "id": ID.format(number=number)}


def _name(call: dict[str, Any]) -> str:
    function = call.get("function")
    return str(function.get("name")) if isinstance(function, dict) else ""


def _answered(message: OllamaMessage, waiting: list[tuple[str, str]]) -> str | None:
    """The id of the call that a result answers: the one it names; else the first that waits of this tool, or of any.
    That one no longer waits."""
    wanted = [call for call in waiting if call[1] == message.tool_call_id]
    wanted += [call for call in waiting if message.tool_call_id is None and call[0] == message.tool_name]
    wanted += waiting if message.tool_call_id is None and message.tool_name is None else []
    if not wanted:
        return message.tool_call_id
    waiting.remove(wanted[0])
    return wanted[0][1]
