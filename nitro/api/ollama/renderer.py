"""Ollama's replies to chat and generate: events → lines of JSON, or one object.

A line has what came together of one kind. A call goes out when it is whole, since its arguments are an object; what is
no object, because the answer was cut in it, goes out as content. There are no comments in NDJSON: a sign of life is a
line without text.
"""

import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec
from msgspec import UNSET, Raw, UnsetType

from nitro.api.ollama import model_names, ndjson, schema
from nitro.api.openai.reply_options import ReplyOptions
from nitro.engines.types import ScoredToken
from nitro.errors import ApiError
from nitro.service.events import (
    CallDelta,
    Done,
    Event,
    Finished,
    FinishReason,
    PlacedToken,
    ReasoningDelta,
    Started,
    TextDelta,
)
from nitro.service.renderer import Answer

_decode_options = msgspec.msgpack.Decoder(ReplyOptions).decode
SECOND = 10**9  # nanoseconds


class Call:
    """A call of the answer, as far as it has come."""

    def __init__(self, index: int, id: str, name: str, arguments: str = ""):
        self._index, self._id, self._name = index, id, name
        self.arguments = arguments

    def whole(self) -> schema.OllamaToolCall | None:
        """The call; None: it was cut."""
        try:
            is_object = isinstance(msgspec.json.decode(self.arguments), dict)
        except (msgspec.DecodeError, RecursionError):
            is_object = False
        if not is_object:
            return None
        arguments = self.arguments.replace("\n", " ").replace("\r", " ")  # white space: in a string they are escaped
        return schema.OllamaToolCall(
            self._id, schema.OllamaCalledFunction(self._index, self._name, Raw(arguments.encode()))
        )

    def text(self) -> str:
        """What there is of it."""
        return f'{{"name": {msgspec.json.encode(self._name).decode()}, "arguments": {self.arguments}'


class OllamaRenderer(ABC):
    """A `Renderer` of one choice. `began`: when the request came, by time.monotonic."""

    media_type: str = ndjson.MEDIA_TYPE
    headers: Mapping[str, str] = ndjson.HEADERS

    def __init__(self, started: Started, options: bytes, began: float):
        self._model = model_names.listed(started.model)
        self._top_logprobs = _decode_options(options).logprobs
        self._began, self._loaded = began, time.monotonic()
        self._call: Call | None = None
        self._scored: list[PlacedToken] = []  # not told yet
        self._reason: schema.DoneReason = "stop"

    @abstractmethod
    def part(
        self, content: str, thinking: str | UnsetType, calls: list[schema.OllamaToolCall] | UnsetType, **reply: Any
    ) -> schema.Reply:
        """A line, or the whole. `reply`: the fields of Reply."""

    def opening(self) -> bytes:
        """Nothing: there is no line before any text."""
        return b""

    def events(self, burst: Sequence[Event]) -> bytes:
        """A line for each delta that says something, and the last one."""
        lines: list[bytes] = []
        for event in burst:
            if isinstance(event, TextDelta | ReasoningDelta):
                self._scored += event.tokens
                if event.text or self._scored:
                    thinks = isinstance(event, ReasoningDelta)
                    lines.append(self._line("", event.text) if thinks else self._line(event.text))
            elif isinstance(event, CallDelta):
                self._scored += event.tokens
                lines += self._called(event)
            elif isinstance(event, Finished):
                lines += self._ended_call()
                self._reason = _reason(event.reason)
            elif isinstance(event, Done):
                lines.append(ndjson.line(self.part("", UNSET, UNSET, **self._end(event), **self._taken())))
        return b"".join(lines)

    def _called(self, delta: CallDelta) -> list[bytes]:
        lines: list[bytes] = []
        if delta.name is not None:
            lines = self._ended_call()
            self._call = Call(delta.call, delta.id or "", delta.name)
        assert self._call
        self._call.arguments += delta.arguments
        return lines

    def _ended_call(self) -> list[bytes]:
        call, self._call = self._call, None
        if call is None:
            return []
        whole = call.whole()
        return [self._line("", calls=[whole]) if whole else self._line(call.text())]

    def _line(self, content: str, thinking: str = "", calls: list[schema.OllamaToolCall] | UnsetType = UNSET) -> bytes:
        return ndjson.line(self.part(content, thinking or UNSET, calls, **self._head(False), **self._taken()))

    def _head(self, done: bool) -> dict[str, Any]:
        return {"model": self._model, "created_at": datetime.now(UTC), "done": done}

    def _taken(self) -> dict[str, Any]:
        """The logprobs that are not told yet."""
        scored, self._scored = self._scored, []
        return {"logprobs": self._logprobs(scored)}

    def _logprobs(self, scored: Sequence[PlacedToken]) -> list[schema.OllamaLogprob] | UnsetType:
        return [_logprob(token, self._top_logprobs) for token in scored] if scored else UNSET

    def _end(self, done: Done) -> dict[str, Any]:
        """What the last line has, and the whole."""
        usage, timings = done.usage, done.timings
        return {
            **self._head(True),
            "done_reason": self._reason,
            "total_duration": int((time.monotonic() - self._began) * SECOND),
            "load_duration": int((self._loaded - self._began) * SECOND),
            "prompt_eval_count": usage.prompt_tokens,
            "prompt_eval_duration": int(timings.prompt_seconds * SECOND),
            "eval_count": usage.completion_tokens,
            "eval_duration": int(timings.completion_seconds * SECOND),
        }

    def idle(self) -> bytes:
        """A line without text."""
        return ndjson.line(self.part("", UNSET, UNSET, **self._head(False)))

    def error(self, error: ApiError) -> bytes:
        """A line that clients raise on."""
        return ndjson.error_line(error)

    def closing(self) -> bytes:
        """Nothing: the line with `done` was the last."""
        return b""

    def whole(self, answer: Answer) -> bytes:
        """JSON."""
        (choice,) = answer.choices
        self._reason = _reason(choice.finish or "stop")
        content, calls = choice.content, []
        for i, made in enumerate(choice.calls):
            call = Call(i, made.id, made.name, made.arguments)
            if whole := call.whole():
                calls.append(whole)
            else:
                content += call.text()
        logprobs = self._logprobs(choice.scored)
        end = self._end(answer.done)
        return ndjson.encode(self.part(content, choice.reasoning or UNSET, calls or UNSET, **end, logprobs=logprobs))


class ChatRenderer(OllamaRenderer):
    """Of `POST /api/chat`."""

    def part(
        self, content: str, thinking: str | UnsetType, calls: list[schema.OllamaToolCall] | UnsetType, **reply: Any
    ) -> schema.ChatReply:
        """A message."""
        return schema.ChatReply(message=schema.OllamaReplyMessage("assistant", content, thinking, calls), **reply)


class GenerateRenderer(OllamaRenderer):
    """Of `POST /api/generate`, which has no calls."""

    def part(
        self, content: str, thinking: str | UnsetType, calls: list[schema.OllamaToolCall] | UnsetType, **reply: Any
    ) -> schema.GenerateReply:
        """A text."""
        return schema.GenerateReply(response=content, thinking=thinking, **reply)


def _reason(reason: FinishReason) -> schema.DoneReason:
    """An answer that ends with calls has stopped."""
    return "length" if reason == "length" else "stop"


def _logprob(token: PlacedToken, top: int | None) -> schema.OllamaLogprob:
    likeliest = [schema.OllamaTokenLogprob(*_spelled(scored)) for scored in token.logprobs.top]
    return schema.OllamaLogprob(*_spelled(token.logprobs.chosen), likeliest if top else UNSET)


def _spelled(scored: ScoredToken) -> tuple[str, float, list[int] | UnsetType]:
    """Token, logprob, bytes."""
    return scored.text.decode(errors="replace"), scored.logprob, UNSET if scored.is_special else list(scored.text)
