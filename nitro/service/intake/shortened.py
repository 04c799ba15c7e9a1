"""A conversation that does not fit, without its oldest messages. Pure.

What it says first goes first, but for instructions; what the user said last stays, with all that follows. A result goes
with its call.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from nitro.errors import PromptTooLong

Message = Mapping[str, Any]

TRIES = 6  # of one request: a text's tokens can only be guessed
_PART = 0.75  # of the context that the prompt may take; the rest is for the answer
_STAYING = ("system", "developer")


def next_share(share: float, error: PromptTooLong) -> float:
    """How much of the conversation's text may stay, where `share` of it was too long."""
    return share * _PART * error.context / error.prompt_tokens


def shortened(messages: Sequence[Message], share: float) -> list[Any]:
    """The messages without the oldest, so that about this share of their text is left."""
    sizes = [len(msgspec.json.encode(message)) for message in messages]
    over = sum(sizes) * (1 - share)
    kept: list[Message] = []
    last = max((i for i, message in enumerate(messages) if message["role"] == "user"), default=len(messages) - 1)
    dropped = False  # the message before
    for i, (message, size) in enumerate(zip(messages, sizes, strict=True)):
        goes = i < last and (over > 0 or (dropped and message["role"] == "tool"))
        if message["role"] in _STAYING or not goes:
            kept.append(message)
            dropped = dropped and message["role"] in _STAYING
        else:
            over -= size
            dropped = True
    return kept
