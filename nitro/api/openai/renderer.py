"""What the renderers of chat and text completions have in common: SSE frames of chunks, usage, timings."""

import secrets
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from nitro.api import sse
from nitro.api.openai import schema
from nitro.api.openai.reply_options import ReplyOptions
from nitro.errors import ApiError
from nitro.service import events
from nitro.service.events import CallDelta, Delta, Done, Event, Progress, ReasoningDelta, Started, TextDelta, TokenUsage
from nitro.service.renderer import Answer

_encode = msgspec.json.Encoder().encode

MARK = "\0"  # stands for a text where a frame is prepared


class OpenAIRenderer(ABC):
    """A `Renderer` of OpenAI's objects. Subclasses say what a burst's chunks are, and what a whole reply is."""

    media_type: str = sse.MEDIA_TYPE
    headers: Mapping[str, str] = sse.HEADERS

    def __init__(self, id_prefix: str, started: Started, options: ReplyOptions):
        self._include_usage = options.include_usage
        self._continuous_timings = options.continuous_timings
        self._continuous_usage = options.continuous_usage
        self._so_far: schema.Usage | None = None  # if asked for
        if options.continuous_usage:
            self._so_far = usage_of(TokenUsage(started.prompt_tokens, 0, 0))
        self._return_tokens = options.return_tokens
        self._chunks_differ = (
            options.continuous_usage
            or options.continuous_timings
            or options.return_tokens
            or options.logprobs is not None
        )
        # What frames have alike: the bytes before and after a text; of a choice's content, and of other deltas
        self._around_content: dict[int, tuple[bytes, bytes]] = {}
        self._around: dict[tuple[type[Event], int, int], tuple[bytes, bytes] | None] = {}
        self.head: dict[str, Any] = {  # what all chunks of a reply have alike
            "id": f"{id_prefix}-{secrets.token_hex(12)}",
            "created": started.created,
            "model": started.model,
            "system_fingerprint": started.fingerprint,
            "service_tier": started.tier or UNSET,
        }

    @abstractmethod
    def sample(self, event: Delta) -> schema.WithTimings | None:
        """The chunk of an event like this one, with MARK as its text. None: such chunks differ in more than a text."""

    @abstractmethod
    def chunks(self, burst: Sequence[Event]) -> list[schema.WithTimings]:
        """The chunks of what happened together, without usage and timings."""

    @abstractmethod
    def usage_chunk(self, usage: schema.Usage) -> schema.WithTimings:
        """The last chunk of a stream whose usage was asked for."""

    @abstractmethod
    def reply(self, answer: Answer) -> schema.WithTimings:
        """The reply in one piece, without timings."""

    def opening(self) -> bytes:
        """Nothing, where a route has no chunks before any event."""
        return b""

    def events(self, burst: Sequence[Event]) -> bytes:
        """Chunks as frames."""
        frames: list[bytes] = []
        for event in burst:
            if type(event) is TextDelta and event.text and (around := self._around_content.get(event.index)):
                frames += around[0], _encode(event.text), around[1]
                continue
            frame = self._prepared_frame(event)
            if frame is None:
                return self._encoded(burst)
            frames.append(frame)
        return b"".join(frames)

    def _prepared_frame(self, event: Event) -> bytes | None:
        """The frame of an event that has only a text of its own: what stands around it is encoded once."""
        key: tuple[type[Event], int, int]
        if isinstance(event, TextDelta | ReasoningDelta):
            key, text = (type(event), event.index, 0), event.text
        elif isinstance(event, CallDelta) and event.name is None:
            key, text = (CallDelta, event.index, event.call), event.arguments
        else:
            return None
        if key not in self._around:
            self._around[key] = self._prepare(event)
        around = self._around[key]
        if around is None or not text:
            return None
        if key[0] is TextDelta:
            self._around_content[event.index] = around
        return around[0] + _encode(text) + around[1]

    def _prepare(self, event: TextDelta | ReasoningDelta | CallDelta) -> tuple[bytes, bytes] | None:
        sample = None if self._chunks_differ else self.sample(event)
        if sample is None:
            return None
        before, _, after = sse.frame(sample).rpartition(_encode(MARK))  # a model's name may have it, too
        return before, after

    def _encoded(self, burst: Sequence[Event]) -> bytes:
        """Chunks as frames. Timings are on the stream's last chunk and, where that was asked for, on all."""
        first = burst[0]
        if isinstance(first, Progress) and self._continuous_usage:
            self._so_far = usage_of(first.usage)
        chunks = self.chunks(burst)
        if isinstance(first, Progress) and self._continuous_timings:
            for chunk in chunks:
                chunk.timings = timings_of(first.timings)
        last = burst[-1]
        if isinstance(last, Done):
            if self._include_usage:
                chunks.append(self.usage_chunk(usage_of(last.usage)))
            if chunks:
                chunks[-1].timings = timings_of(last.timings)
        return b"".join(map(sse.frame, chunks))

    def idle(self) -> bytes:
        """A comment."""
        return sse.KEEPALIVE

    def error(self, error: ApiError) -> bytes:
        """An event that clients raise on."""
        return sse.error(error)

    def closing(self) -> bytes:
        """OpenAI's last event."""
        return sse.DONE

    def whole(self, answer: Answer) -> bytes:
        """JSON, with timings."""
        reply = self.reply(answer)
        reply.timings = timings_of(answer.done.timings)
        return _encode(reply)

    def usage_field(self, usage: schema.Usage | None) -> schema.Usage | UnsetType | None:
        """A chunk's `usage`: absent unless asked for, null before the last unless asked for in each."""
        usage = usage or self._so_far
        return usage if usage or self._include_usage else UNSET

    def ids(self, ids: list[int]) -> list[int] | UnsetType:
        """Token ids, if asked for."""
        return ids if self._return_tokens else UNSET


def usage_of(usage: events.TokenUsage) -> schema.Usage:
    """Usage as OpenAI writes it: details of what there was none of are left out."""
    details: schema.CompletionTokensDetails | UnsetType = UNSET
    if usage.accepted_prediction_tokens is not None:
        details = schema.CompletionTokensDetails(
            usage.reasoning_tokens, usage.accepted_prediction_tokens, usage.rejected_prediction_tokens or 0
        )
    elif usage.reasoning_tokens:
        details = schema.CompletionTokensDetails(usage.reasoning_tokens)
    return schema.Usage(
        prompt_tokens=usage.prompt_tokens,
        completion_tokens=usage.completion_tokens,
        total_tokens=usage.prompt_tokens + usage.completion_tokens,
        prompt_tokens_details=schema.PromptTokensDetails(
            usage.cached_tokens,
            usage.cache_write_tokens or UNSET,
            usage.media_tokens.get("image", UNSET),
            usage.media_tokens.get("audio", UNSET),
        ),
        completion_tokens_details=details,
    )


def timings_of(timings: events.GenerationTimings) -> schema.Timings:
    """llama-server's `timings`. The first token of an answer belongs to the prompt's time."""
    prompt = _Pace(timings.computed_prompt_tokens, timings.prompt_seconds)
    predicted = _Pace(max(timings.completion_tokens - 1, 0), timings.completion_seconds)
    drafted = timings.drafted_tokens
    return schema.Timings(
        cache_n=timings.cached_tokens,
        prompt_n=timings.computed_prompt_tokens,
        prompt_ms=prompt.milliseconds,
        prompt_per_token_ms=prompt.per_token,
        prompt_per_second=prompt.per_second,
        predicted_n=timings.completion_tokens,
        predicted_ms=predicted.milliseconds,
        predicted_per_token_ms=predicted.per_token,
        predicted_per_second=predicted.per_second,
        draft_n=drafted or UNSET,
        draft_n_accepted=timings.accepted_tokens if drafted else UNSET,
    )


class _Pace:
    """Tokens in a time, in the three ways in which `timings` writes it."""

    def __init__(self, tokens: int, seconds: float):
        self.milliseconds = seconds * 1e3
        self.per_token = self.milliseconds / tokens if tokens else 0.0
        self.per_second = tokens / seconds if seconds > 0 else 0.0
