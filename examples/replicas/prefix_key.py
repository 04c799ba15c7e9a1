"""x-nitro-prefix of a request, for a client or a gateway that has its body. Needs nothing but Python."""

import hashlib
from typing import Any


def of_messages(messages: list[dict[str, Any]], system: str | None = None) -> str:
    """Of a conversation: the texts up to the first message of a user. `system`: Anthropic's, or the `instructions` of a
    response; None: it is one of the messages, or there is none."""
    if system is not None:
        messages = [{"role": "system", "content": system}, *messages]
    users = (number for number, message in enumerate(messages) if message["role"] == "user")
    return _digest("\n".join(map(_text, messages[: next(users, 0) + 1])))


def of_prompt(prompt: str) -> str:
    """Of a completion: its first 256 characters."""
    return _digest(prompt[:256])


def _text(message: dict[str, Any]) -> str:
    content = message.get("content") or ""
    return content if isinstance(content, str) else "".join(part.get("text", "") for part in content)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
