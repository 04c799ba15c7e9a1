"""The messages of a request, in the form that chat templates want.

system                         → a system message, without a billing line
user: results of tools, texts  → a message for each result, and one for the texts between them
assistant: thinking, text, calls → one message with its reasoning, content and calls
"""

from collections.abc import Sequence
from typing import Any

from nitro.api.anthropic import blocks, signatures
from nitro.api.anthropic.requests import CLEARINGS, ROLES, Block, MessagesRequest, SystemBlock, Turn
from nitro.api.openai.messages import MAX_MESSAGES
from nitro.errors import ApiError
from nitro.parameters import check_count
from nitro.service.requests import text_part
from nitro.text.conversation_shape import REASONING_NAMES

ChatMessages = list[dict[str, Any]]

# Claude Code's first line, which differs in every conversation and would cost each its cached prefix
BILLING = "x-anthropic-billing-header:"


def parse(request: MessagesRequest) -> ChatMessages:
    """All messages, the system prompt first. Raises ApiError 400."""
    if not request.messages:
        raise ApiError.invalid("messages", "at least one message")
    check_count("messages", request.messages, MAX_MESSAGES, "messages")
    last_user = max((i for i, message in enumerate(request.messages) if message.role == "user"), default=-1)
    parsed = _system(request.system)
    for i, message in enumerate(request.messages):
        where = f"messages[{i}]"
        _check(message, where)
        if message.clear_at != "next_user_message" or last_user < i:
            parsed += _PARSERS[message.role](blocks.of(message.content, message.role, f"{where}.content"))
    if not parsed:
        raise ApiError.invalid("messages", "a message with a content")
    return parsed


def _check(message: Turn, where: str) -> None:
    if message.role not in ROLES:
        raise ApiError.invalid(f"{where}.role", f"one of {', '.join(ROLES)}, got '{message.role}'")
    if message.clear_at not in (None, *CLEARINGS):
        raise ApiError.invalid(f"{where}.clear_at", f"one of {', '.join(CLEARINGS)}, got '{message.clear_at}'")
    if message.clear_at and message.role != "system":
        raise ApiError.invalid(f"{where}.clear_at", "a message from the system")


def _system(system: str | list[SystemBlock] | None) -> ChatMessages:
    texts = [system] if isinstance(system, str) else _texts_of(system or [])
    if texts and texts[0].startswith(BILLING):
        rest = texts[0].partition("\n")[2]
        texts = [rest, *texts[1:]] if rest else texts[1:]
    return [{"role": "system", "content": list(map(text_part, texts))}] if texts else []


def _texts_of(system: list[SystemBlock]) -> list[str]:
    check_count("system", system, blocks.MAX_BLOCKS, "blocks")
    for i, block in enumerate(system):
        if block.type not in (None, "text"):
            blocks.refuse(block.type, ("text",), f"system[{i}]")
    return [block.text for block in system]


def _of_system(content: Sequence[tuple[Block, str]]) -> ChatMessages:
    """Its texts; what it says of tools is read by tool_changes.py."""
    texts = [text_part(blocks.text(block, where)) for block, where in content if block.type == "text"]
    return [{"role": "system", "content": texts}] if texts else []


def _of_user(content: Sequence[tuple[Block, str]]) -> ChatMessages:
    messages: ChatMessages = []
    for block, where in content:
        if block.type == "tool_result":
            messages.append(blocks.result(block, where))
            continue
        if not messages or messages[-1]["role"] == "tool":
            messages.append({"role": "user", "content": []})
        messages[-1]["content"].append(text_part(blocks.text(block, where)))
    return messages or [{"role": "user", "content": []}]


def _of_assistant(content: Sequence[tuple[Block, str]]) -> ChatMessages:
    message: dict[str, Any] = {"role": "assistant", "content": []}
    thoughts: list[str] = []
    calls: list[dict[str, Any]] = []
    for block, where in content:
        match block.type:
            case "text":
                message["content"].append(text_part(blocks.text(block, where)))
            case "thinking":
                thoughts.append(signatures.text_of(block.thinking or "", block.signature or ""))
            case "tool_use":
                calls.append(_call(block, where))
    if thinking := "\n\n".join(filter(None, thoughts)):
        message |= dict.fromkeys(REASONING_NAMES, thinking)
    if calls:
        message["tool_calls"] = calls
    return [message]


def _call(block: Block, where: str) -> dict[str, Any]:
    for name in ("id", "name"):
        if getattr(block, name) is None:
            raise ApiError.missing(f"{where}.{name}")
    function = {"name": block.name, "arguments": block.input or {}}
    return {"id": block.id, "type": "function", "function": function}


_PARSERS = {"system": _of_system, "user": _of_user, "assistant": _of_assistant}
