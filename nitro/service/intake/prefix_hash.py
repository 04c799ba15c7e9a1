"""A hash of how a prompt begins, by which a balancer that cannot read requests finds the server that has computed it.

It is that of the texts of a conversation's messages up to the first of a user, joined by line feeds: they are the same
in every turn, and differ between conversations. Where no message is a user's it is that of the first message; of a
prompt that is no conversation, that of its first 256 characters, or of its first 64 token ids, in decimal and joined by
commas. The first 16 hexadecimal digits of the SHA-256 of that text in UTF-8.

A gateway can compute the same of a request's body: docs/past-one-machine.md. Pure.
"""

import hashlib
from typing import Any

from nitro.service.requests import Conversation, GenerationRequest

CHARACTERS, TOKENS = 256, 64
DIGITS = 16


def of(request: GenerationRequest) -> str:
    """The hash of its prompt, or of the first of them."""
    return digest(_beginning(request))


def digest(text: str) -> str:
    """The hash of a text."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:DIGITS]


def _beginning(request: GenerationRequest) -> str:
    prompt = request.prompt
    if isinstance(prompt, Conversation):
        users = (number for number, message in enumerate(prompt.messages) if message["role"] == "user")
        last = next(users, 0)
        return "\n".join(_text(message) for message in prompt.messages[: last + 1])
    first = prompt.texts[0] if prompt.texts else ""
    return first[:CHARACTERS] if isinstance(first, str) else ",".join(map(str, first[:TOKENS]))


def _text(message: dict[str, Any]) -> str:
    return "".join(part.get("text", "") for part in message.get("content") or ())
