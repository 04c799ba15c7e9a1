"""Events → bytes of the Messages API. A stream is a message of blocks, each of which begins, grows and ends:

    message_start (content_block_start content_block_delta* content_block_stop)* message_delta message_stop

`ping` may come anywhere, and `error` ends a stream that fails. Source: Anthropic's API reference, "Streaming messages".
"""

import secrets
from collections.abc import Mapping, Sequence

import msgspec
from msgspec import UNSET, Raw, UnsetType

from nitro.api import error_forms, sse
from nitro.api.anthropic import reply_options, schema, signatures
from nitro.errors import ApiError
from nitro.service.choices import AssembledCall
from nitro.service.events import (
    CallDelta,
    Done,
    Event,
    Finished,
    FinishReason,
    ReasoningDelta,
    Started,
    TextDelta,
    TokenUsage,
)
from nitro.service.renderer import Answer
from nitro.text import partial_json

PING = schema.frame(schema.Ping())
EMPTY = Raw(b"{}")
_MARK = "\0"  # stands for a text where a frame is prepared
_encode = msgspec.json.Encoder().encode


class MessagesRenderer:
    """A `Renderer` of one choice."""

    media_type: str = sse.MEDIA_TYPE
    headers: Mapping[str, str] = sse.HEADERS

    def __init__(self, started: Started, options: bytes):
        self._started = started
        self._options = reply_options.decode(options)
        self._id = f"msg_{secrets.token_hex(12)}"
        self._index = -1  # of the block that grows, or grew last
        self._open: type[Event] | None = None  # what makes the block grow that is open; None: none is
        self._around = (b"", b"")  # what stands before and after a delta of it
        self._thought: list[str] = []  # of the reasoning that is open, where it is not shown
        self._finished = Finished(0, "stop")

    def opening(self) -> bytes:
        """The message, without content. What of its prompt is cached is not known yet."""
        usage = schema.MessageUsage(self._started.prompt_tokens, 0)
        return schema.frame(schema.MessageStart(self._message([], usage)))

    def events(self, burst: Sequence[Event]) -> bytes:
        """Blocks, as they come."""
        frames: list[bytes] = []
        for event in burst:
            if type(event) is TextDelta and self._open is TextDelta:
                if event.text:
                    frames += self._around[0], _encode(event.text), self._around[1]
            else:
                self._add(frames, event)
        return b"".join(frames)

    def _add(self, frames: list[bytes], event: Event) -> None:
        if isinstance(event, TextDelta):
            if event.text:
                self._grow(frames, TextDelta, event.text)
        elif isinstance(event, ReasoningDelta):
            if event.text:
                self._think(frames, event.text)
        elif isinstance(event, CallDelta):
            if event.name is not None:
                self._begin(frames, CallDelta, schema.ToolUseBlock(event.id or "", event.name, EMPTY))
            if event.arguments:
                self._delta(frames, event.arguments)
        elif isinstance(event, Finished):
            self._finished = event
        elif isinstance(event, Done):
            self._end(frames)
            frames += schema.frame(self._last(event.usage)), schema.frame(schema.MessageStop())

    def _think(self, frames: list[bytes], text: str) -> None:
        if self._options.omits_thinking:
            if self._open is not ReasoningDelta:
                self._begin(frames, ReasoningDelta, _BLOCKS[ReasoningDelta])
            self._thought.append(text)
        else:
            self._grow(frames, ReasoningDelta, text)

    def _grow(self, frames: list[bytes], kind: type[Event], text: str) -> None:
        if self._open is not kind:
            self._begin(frames, kind, _BLOCKS[kind])
        self._delta(frames, text)

    def _delta(self, frames: list[bytes], text: str) -> None:
        frames += self._around[0], _encode(text), self._around[1]

    def _begin(self, frames: list[bytes], kind: type[Event], block: schema.ContentBlock) -> None:
        self._end(frames)
        self._index += 1
        self._open = kind
        frames.append(schema.frame(schema.BlockStart(self._index, block)))
        sample = schema.frame(schema.BlockDeltaEvent(self._index, _DELTAS[kind](_MARK)))
        before, _, after = sample.partition(_encode(_MARK))
        self._around = before, after

    def _end(self, frames: list[bytes]) -> None:
        """End the block that is open, if one is."""
        if self._open is ReasoningDelta:
            signature = signatures.of("".join(self._thought), self._options.omits_thinking)
            self._thought.clear()
            frames.append(schema.frame(schema.BlockDeltaEvent(self._index, schema.SignaturePiece(signature))))
        if self._open:
            frames.append(schema.frame(schema.BlockStop(self._index)))
        self._open = None

    def _last(self, usage: TokenUsage) -> schema.MessageDelta:
        reason, sequence = self._stop(self._finished.reason, self._finished.stop, usage)
        return schema.MessageDelta(schema.End(reason, sequence), usage_of(usage), self._edits)

    def idle(self) -> bytes:
        """A ping."""
        return PING

    def error(self, error: ApiError) -> bytes:
        """An event that clients raise on."""
        return error_event(error)

    def closing(self) -> bytes:
        """Nothing: the last event came with the end, or the error."""
        return b""

    def whole(self, answer: Answer) -> bytes:
        """The message, with its thinking, its text and its calls."""
        choice, usage = answer.choices[0], answer.done.usage
        content: list[schema.ContentBlock] = []
        if choice.reasoning:
            omitted = self._options.omits_thinking
            shown = "" if omitted else choice.reasoning
            content.append(schema.ThinkingBlock(shown, signatures.of(choice.reasoning, omitted)))
        if choice.content:
            content.append(schema.TextBlock(choice.content))
        content += [schema.ToolUseBlock(call.id, call.name, _input(call)) for call in choice.calls]
        message = self._message(content, usage_of(usage))
        message.stop_reason, message.stop_sequence = self._stop(choice.finish or "stop", choice.stop, usage)
        message.context_management = self._edits
        return _encode(message)

    def _message(self, content: list[schema.ContentBlock], usage: schema.MessageUsage) -> schema.AnthropicMessage:
        return schema.AnthropicMessage(
            id=self._id,
            model=self._started.model,
            content=content,
            stop_reason=None,
            stop_sequence=None,
            usage=usage,
        )

    @property
    def _edits(self) -> schema.AppliedEdits | UnsetType:
        return schema.AppliedEdits() if self._options.edits_context else UNSET

    def _stop(self, reason: FinishReason, stop: str | None, usage: TokenUsage) -> tuple[schema.StopReason, str | None]:
        """Why the answer ended, and the request's stop sequence that ended it."""
        if reason == "tool_calls":
            return "tool_use", None
        if reason == "length":
            cut = usage.completion_tokens < self._options.max_tokens
            return "model_context_window_exceeded" if cut else "max_tokens", None
        if stop is not None and stop in self._options.stop_sequences:
            return "stop_sequence", stop
        return "end_turn", None


_BLOCKS: dict[type[Event], schema.ContentBlock] = {
    TextDelta: schema.TextBlock(""),
    ReasoningDelta: schema.ThinkingBlock("", ""),
}
_DELTAS: dict[type[Event], type[schema.TextPiece | schema.ThinkingPiece | schema.InputPiece]] = {
    TextDelta: schema.TextPiece,
    ReasoningDelta: schema.ThinkingPiece,
    CallDelta: schema.InputPiece,
}


def error_event(error: ApiError) -> bytes:
    """The event by which a stream that has begun reports an error; it is the last one."""
    return b"event: error\ndata: %b\n\n" % error_forms.ANTHROPIC.body(error, None)


def usage_of(usage: TokenUsage) -> schema.MessageUsage:
    """MessageUsage as Anthropic counts: what was cached, or is now, is no input."""
    details: schema.ThinkingTokens | UnsetType = UNSET
    if usage.reasoning_tokens:
        details = schema.ThinkingTokens(usage.reasoning_tokens)
    return schema.MessageUsage(
        input_tokens=usage.prompt_tokens - usage.cached_tokens - usage.cache_write_tokens,
        output_tokens=usage.completion_tokens,
        cache_creation_input_tokens=usage.cache_write_tokens,
        cache_read_input_tokens=usage.cached_tokens,
        output_tokens_details=details,
    )


def _input(call: AssembledCall) -> Raw:
    """A call's arguments as they are written; of a call that was cut off, those that are whole."""
    try:
        msgspec.json.decode(call.arguments)
        return Raw(call.arguments.encode())
    except msgspec.DecodeError:
        whole = partial_json.read_object(call.arguments or "{").members
        return Raw(_encode({name: Raw(value.encode()) for name, value in whole.items()}))
