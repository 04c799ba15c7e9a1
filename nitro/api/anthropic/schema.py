"""The Messages API's replies and events, as msgspec structs. Requests: requests.py.

Shapes: Anthropic's API reference and the types of its Python SDK 2.14.
"""

from typing import Any, Literal

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

StopReason = Literal["end_turn", "max_tokens", "stop_sequence", "tool_use", "model_context_window_exceeded"]


class ThinkingTokens(Struct):
    """`thinking_tokens`: those of the reasoning."""

    thinking_tokens: int


class MessageUsage(Struct):
    """Token counts. The prompt has those of all three input counts together.

    At the beginning of a stream it is not known yet what is cached, so that all count as `input_tokens`; the counts of
    `message_delta` take their place.
    """

    input_tokens: int
    output_tokens: int
    cache_creation_input_tokens: int = 0
    cache_read_input_tokens: int = 0
    output_tokens_details: ThinkingTokens | UnsetType = UNSET


class MessageTokens(Struct):
    """What `POST /v1/messages/count_tokens` replies."""

    input_tokens: int


class TextBlock(Struct, tag_field="type", tag="text"):
    """A text of the answer."""

    text: str


class ThinkingBlock(Struct, tag_field="type", tag="thinking"):
    """The model's reasoning. Send it back with the signature, which may carry the text: see signatures.py."""

    thinking: str
    signature: str


class ToolUseBlock(Struct, tag_field="type", tag="tool_use"):
    """A call of a tool. `input`: an object; in a stream it is empty, and its JSON follows in pieces."""

    id: str
    name: str
    input: Raw


ContentBlock = TextBlock | ThinkingBlock | ToolUseBlock


class AppliedEdits(Struct):
    """What was left out of the conversation is not told block by block."""

    applied_edits: list[dict[str, Any]] = []


class AnthropicMessage(Struct, tag_field="type", tag="message", kw_only=True):
    """The reply of `POST /v1/messages`; in a stream, its beginning, without content and `stop_reason`."""

    id: str
    role: Literal["assistant"] = "assistant"
    model: str
    content: list[ContentBlock]
    stop_reason: StopReason | None
    stop_sequence: str | None
    usage: MessageUsage
    context_management: AppliedEdits | UnsetType = UNSET


class MessageStart(Struct, tag_field="type", tag="message_start"):
    """The first event."""

    message: AnthropicMessage


class BlockStart(Struct, tag_field="type", tag="content_block_start"):
    """A block begins, empty."""

    index: int
    content_block: ContentBlock


class TextPiece(Struct, tag_field="type", tag="text_delta"):
    """More of a text."""

    text: str


class ThinkingPiece(Struct, tag_field="type", tag="thinking_delta"):
    """More of a reasoning."""

    thinking: str


class SignaturePiece(Struct, tag_field="type", tag="signature_delta"):
    """The signature of a reasoning, at its end."""

    signature: str


class InputPiece(Struct, tag_field="type", tag="input_json_delta"):
    """More of a call's input, in JSON."""

    partial_json: str


BlockDelta = TextPiece | ThinkingPiece | SignaturePiece | InputPiece


class BlockDeltaEvent(Struct, tag_field="type", tag="content_block_delta"):
    """More of a block."""

    index: int
    delta: BlockDelta


class BlockStop(Struct, tag_field="type", tag="content_block_stop"):
    """A block is complete."""

    index: int


class End(Struct):
    """Why the answer ended. `stop_sequence`: the one that ended it."""

    stop_reason: StopReason
    stop_sequence: str | None


class MessageDelta(Struct, tag_field="type", tag="message_delta"):
    """The end of the message. The counts are of all of it."""

    delta: End
    usage: MessageUsage
    context_management: AppliedEdits | UnsetType = UNSET


class MessageStop(Struct, tag_field="type", tag="message_stop"):
    """The last event."""


class Ping(Struct, tag_field="type", tag="ping"):
    """A sign of life."""


Event = MessageStart | BlockStart | BlockDeltaEvent | BlockStop | MessageDelta | MessageStop | Ping

EVENTS = (MessageStart, BlockStart, BlockDeltaEvent, BlockStop, MessageDelta, MessageStop, Ping)

_encode = msgspec.json.Encoder().encode


def frame(event: Event) -> bytes:
    """One event of a stream, with its name."""
    return b"event: %b\ndata: %b\n\n" % (_NAMES[type(event)], _encode(event))


_NAMES: dict[type[Struct], bytes] = {kind: str(kind.__struct_config__.tag).encode() for kind in EVENTS}
