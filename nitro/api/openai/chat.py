"""`POST /v1/chat/completions`."""

from collections.abc import Sequence
from typing import Any

from litestar import Request, Response, post
from msgspec import UNSET

from nitro.api import readers, sse
from nitro.api.endpoint import Endpoint, respond
from nitro.api.openai import reply_options, schema
from nitro.api.openai.early import EARLY
from nitro.api.openai.renderer import MARK, OpenAIRenderer, usage_of
from nitro.engines.types import ScoredToken
from nitro.service.choices import ChoiceAssembler
from nitro.service.events import (
    CallDelta,
    Delta,
    Event,
    Finished,
    FinishReason,
    PlacedToken,
    ReasoningDelta,
    Started,
    TextDelta,
)
from nitro.service.renderer import Answer


@post("/v1/chat/completions", status_code=200)
async def chat_completions(request: Request) -> Response[Any]:
    """Answer a conversation."""
    return await respond(request, CHAT)


class ChatRenderer(OpenAIRenderer):
    """Role, then a chunk for each delta, then the finish in a chunk of its own."""

    def __init__(self, started: Started, options: bytes):
        self._options = reply_options.decode_chat(options)
        self._choices = started.choices
        super().__init__("chatcmpl", started, self._options)

    def opening(self) -> bytes:
        """A chunk with the role for each choice."""
        role = schema.Delta("assistant", "")
        return b"".join(sse.frame(self._chunk([schema.ChunkChoice(i, role)])) for i in range(self._choices))

    def sample(self, event: Delta) -> schema.WithTimings | None:
        """None for reasoning that goes out twice, or not at all."""
        if isinstance(event, ReasoningDelta) and (self._options.hides_reasoning or self._options.both_reasonings):
            return None
        if isinstance(event, CallDelta):
            return self._chunk([self._choice(CallDelta(event.index, event.call, MARK))])
        return self._chunk([self._choice(type(event)(event.index, MARK))])

    def chunks(self, burst: Sequence[Event]) -> list[schema.WithTimings]:
        """One per delta that says something, and one per finish."""
        chunks: list[schema.WithTimings] = []
        for event in burst:
            if isinstance(event, Finished):
                finish = self._finish(event.reason)
                chunks.append(self._chunk([schema.ChunkChoice(event.index, schema.Delta(), finish)]))
            elif isinstance(event, Delta) and self._says_something(event):
                chunks.append(self._chunk([self._choice(event)]))
        return chunks

    def usage_chunk(self, usage: schema.Usage) -> schema.WithTimings:
        """No choices."""
        return self._chunk([], usage)

    def reply(self, answer: Answer) -> schema.ChatCompletion:
        """All choices, each with one message."""
        choices = [
            schema.Choice(
                index=choice.index,
                message=self._message(choice),
                finish_reason=self._finish(choice.finish or "stop"),
                logprobs=self._logprobs(choice.scored),
                tokens=self.ids(choice.ids),
            )
            for choice in answer.choices
        ]
        return schema.ChatCompletion(choices=choices, usage=usage_of(answer.done.usage), **self.head)

    def _says_something(self, delta: Delta) -> bool:
        if isinstance(delta, ReasoningDelta) and self._options.hides_reasoning:
            return False
        return not isinstance(delta, TextDelta) or bool(delta.text or delta.tokens or self.ids(delta.ids))

    def _choice(self, delta: Delta) -> schema.ChunkChoice:
        logprobs = self._logprobs(delta.tokens)
        return schema.ChunkChoice(delta.index, self._delta(delta), None, logprobs, self.ids(delta.ids))

    def _delta(self, delta: Delta) -> schema.Delta:
        if isinstance(delta, TextDelta):
            return schema.Delta(content=delta.text)
        if isinstance(delta, ReasoningDelta):
            both = delta.text if self._options.both_reasonings else UNSET
            return schema.Delta(reasoning_content=delta.text, reasoning=both)
        return self._call_delta(delta)

    def _call_delta(self, delta: CallDelta) -> schema.Delta:
        function = schema.FunctionCall(delta.arguments, UNSET if delta.name is None else delta.name)
        if self._options.legacy_functions:
            return schema.Delta(function_call=function)
        call = schema.ToolCallDelta(delta.call, function)
        if delta.id is not None:
            call = schema.ToolCallDelta(delta.call, function, delta.id, "function")
        return schema.Delta(tool_calls=[call])

    def _message(self, choice: ChoiceAssembler) -> schema.ReplyMessage:
        silent = not (choice.calls or choice.reasoning)
        message = schema.ReplyMessage(choice.content or ("" if silent else None))
        calls = [schema.FunctionCall(call.arguments, call.name) for call in choice.calls]
        if calls and self._options.legacy_functions:
            message.function_call = calls[0]
        elif calls:
            message.tool_calls = [schema.ToolCall(call.id, f) for call, f in zip(choice.calls, calls, strict=True)]
        if choice.reasoning and not self._options.hides_reasoning:
            message.reasoning_content = choice.reasoning
            message.reasoning = choice.reasoning if self._options.both_reasonings else UNSET
        return message

    def _chunk(self, choices: list[schema.ChunkChoice], usage: schema.Usage | None = None) -> schema.WithTimings:
        return schema.ChatCompletionChunk(choices=choices, usage=self.usage_field(usage), **self.head)

    def _finish(self, reason: FinishReason) -> schema.FinishReason:
        return "function_call" if reason == "tool_calls" and self._options.legacy_functions else reason

    def _logprobs(self, tokens: list[PlacedToken]) -> schema.ChoiceLogprobs | None:
        return None if self._options.logprobs is None else schema.ChoiceLogprobs(list(map(_token_logprob, tokens)))


CHAT = Endpoint(
    reader=readers.CHAT, renderer=ChatRenderer, prompt_param="messages", namer=readers.TIERED_NAME, early=EARLY
)


def _token_logprob(token: PlacedToken) -> schema.TokenLogprob:
    top = [schema.TopLogprob(*_spelled(scored)) for scored in token.logprobs.top]
    return schema.TokenLogprob(*_spelled(token.logprobs.chosen), top)


def _spelled(scored: ScoredToken) -> tuple[str, float, list[int] | None]:
    """Token, logprob, bytes."""
    return scored.text.decode(errors="replace"), scored.logprob, None if scored.is_special else list(scored.text)
