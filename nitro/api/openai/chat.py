"""`POST /v1/chat/completions`."""

from collections.abc import Iterator
from typing import Any

from litestar import Request, Response, post
from msgspec import UNSET, UnsetType

from nitro.api.openai import schema
from nitro.engines.client.generation import Generation
from nitro.engines.types import ModelInfo, Scored
from nitro.models.handle import ServedModel
from nitro.service.choices import Piece, Reading, Replies, Reply, Token
from nitro.service.exchange import head, serve, usage_field
from nitro.service.prepared import ChatOptions, decode_tools
from nitro.text.output_parser import ChannelDelta


@post("/v1/chat/completions", status_code=200)
async def chat_completions(request: Request) -> Response[Any]:
    return await serve(request, "chat", _begin)


def _begin(model: ServedModel, info: ModelInfo, options: ChatOptions, generation: Generation) -> tuple[Replies, "Chat"]:
    family = model.family(info)
    tools = None if options.tools is None else decode_tools(options.tools)
    reading = Reading(
        lambda: family.parser(tools, options.live, options.opened, options.begun),
        lambda name, number: family.format.call_id(name, options.calls_before + number),
        options.several,
        "function_call" if options.legacy else "tool_calls",
    )
    replies = Replies(generation, options.stops, predicted=options.predicted, reading=reading)
    return replies, Chat(options, head("chatcmpl", model, model.fingerprint(info)))


class Chat:
    """The Format of this route: role, then what each piece means, then the finish, in chunks of their own."""

    def __init__(self, options: ChatOptions, head: dict[str, Any]):
        self._options, self._head = options, head

    def whole(self, replies: Replies) -> schema.ChatCompletion:
        choices = []
        for reply in replies.choices:
            assert reply.finish is not None
            told = self._logprobs(reply.scored), self._ids(reply.ids)
            choices.append(schema.Choice(reply.index, self._message(reply), reply.finish, *told))
        return schema.ChatCompletion(choices=choices, usage=replies.usage, **self._head)

    def opening(self, replies: Replies) -> Iterator[schema.ChatCompletionChunk]:
        for reply in replies.choices:
            yield self._chunk([schema.ChunkChoice(reply.index, schema.Delta("assistant", ""))])

    def chunks(self, piece: Piece, reply: Reply) -> Iterator[schema.ChatCompletionChunk]:
        deltas = [self._delta(delta, reply) for delta in piece.deltas]
        if not deltas and (piece.tokens or self._ids(piece.ids)):
            deltas = [schema.Delta(content="")]
        for i, delta in enumerate(deltas):
            told = self._logprobs([] if i else piece.tokens), self._ids([] if i else piece.ids)
            yield self._chunk([schema.ChunkChoice(piece.index, delta, None, *told)])
        if piece.finish:
            yield self._chunk([schema.ChunkChoice(piece.index, schema.Delta(), piece.finish)])

    def usage(self, usage: schema.Usage) -> schema.ChatCompletionChunk:
        return self._chunk([], usage)

    def _message(self, reply: Reply) -> schema.ReplyMessage:
        message = schema.ReplyMessage(reply.content or (None if reply.calls or reply.reasoning else ""))
        if reply.calls and self._options.legacy:
            message.function_call = schema.FunctionCall(reply.calls[0].arguments, reply.calls[0].name)
        elif reply.calls:
            message.tool_calls = [
                schema.ToolCall(call.id, schema.FunctionCall(call.arguments, call.name)) for call in reply.calls
            ]
        if reply.reasoning:
            message.reasoning_content = reply.reasoning
            message.reasoning = reply.reasoning if self._options.both_reasonings else UNSET
        return message

    def _delta(self, delta: ChannelDelta, reply: Reply) -> schema.Delta:
        if delta.channel == "content":
            return schema.Delta(content=delta.text)
        if delta.channel == "reasoning":
            both = delta.text if self._options.both_reasonings else UNSET
            return schema.Delta(reasoning_content=delta.text, reasoning=both)
        function = schema.FunctionCall(delta.text, UNSET if delta.name is None else delta.name)
        if self._options.legacy:
            return schema.Delta(function_call=function)
        if delta.name is None:
            return schema.Delta(tool_calls=[schema.ToolCallDelta(delta.call, function)])
        call = schema.ToolCallDelta(delta.call, function, reply.calls[delta.call].id, "function")
        return schema.Delta(tool_calls=[call])

    def _chunk(
        self, choices: list[schema.ChunkChoice], usage: schema.Usage | None = None
    ) -> schema.ChatCompletionChunk:
        return schema.ChatCompletionChunk(choices=choices, usage=usage_field(self._options, usage), **self._head)

    def _ids(self, ids: list[int]) -> list[int] | UnsetType:
        return ids if self._options.return_tokens else UNSET

    def _logprobs(self, tokens: list[Token]) -> schema.ChoiceLogprobs | None:
        return None if self._options.logprobs is None else schema.ChoiceLogprobs(list(map(_scored, tokens)))


def _scored(token: Token) -> schema.TokenLogprob:
    top = [schema.TopLogprob(*_spelled(scored)) for scored in token.logprobs.top]
    return schema.TokenLogprob(*_spelled(token.logprobs.chosen), top)


def _spelled(scored: Scored) -> tuple[str, float, list[int] | None]:
    return scored.text.decode(errors="replace"), scored.logprob, None if scored.is_special else list(scored.text)
