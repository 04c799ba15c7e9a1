"""`POST /v1/chat/completions`."""

from collections.abc import Iterator
from typing import Any

from litestar import Request, Response, post
from msgspec import UNSET, UnsetType

from nitro.api import openai
from nitro.api.exchange import Exchange, head, serve, usage_field
from nitro.api.prompts import ChatPrompt, parse_chat
from nitro.api.reply import Piece, Replies, Token
from nitro.api.requestlog import RequestLog
from nitro.engines.types import Scored
from nitro.models.served import ServedModel


@post("/v1/chat/completions", status_code=200)
async def chat_completions(request: Request) -> Response[Any]:
    return await serve(request, openai.ChatRequest, _begin, prompt="messages")


async def _begin(model: ServedModel, body: openai.ChatRequest, log: RequestLog) -> Exchange:
    """Everything that can be a 4xx, until the engine has accepted the prompt."""
    info = await model.engine.ready()
    prompt = parse_chat(body, model.sampling(info), info.samplers)
    text = model.chat_template(info).render(prompt.messages)
    generation = await model.engine.generate(
        text,
        prompt.sampling,
        prompt.max_tokens,
        prompt.n,
        prompt.text_bias,
        prediction=prompt.prediction or "",
        constraint=prompt.constraint,
        cache=prompt.cache,
    )
    log.replies = replies = Replies(generation, prompt.stops, predicted=prompt.prediction is not None)
    return Exchange(prompt, replies, Chat(prompt, head("chatcmpl", model, model.fingerprint(info))), log)


class Chat:
    """The Format of this route: role, content, finish, each in chunks of their own."""

    def __init__(self, prompt: ChatPrompt, head: dict[str, Any]):
        self._prompt, self._head = prompt, head

    def whole(self, replies: Replies) -> openai.ChatCompletion:
        choices = []
        for reply in replies.choices:
            assert reply.finish is not None
            message = openai.ReplyMessage(reply.text)
            told = self._logprobs(reply.scored), self._ids(reply.ids)
            choices.append(openai.Choice(reply.index, message, reply.finish, *told))
        return openai.ChatCompletion(choices=choices, usage=replies.usage, **self._head)

    def opening(self, replies: Replies) -> Iterator[openai.ChatCompletionChunk]:
        for reply in replies.choices:
            yield self._chunk([openai.ChunkChoice(reply.index, openai.Delta("assistant", ""))])

    def chunks(self, piece: Piece) -> Iterator[openai.ChatCompletionChunk]:
        if piece.text or piece.tokens or self._ids(piece.ids):
            delta, told = openai.Delta(content=piece.text), (self._logprobs(piece.tokens), self._ids(piece.ids))
            yield self._chunk([openai.ChunkChoice(piece.index, delta, None, *told)])
        if piece.finish:
            yield self._chunk([openai.ChunkChoice(piece.index, openai.Delta(), piece.finish)])

    def usage(self, usage: openai.Usage) -> openai.ChatCompletionChunk:
        return self._chunk([], usage)

    def _chunk(
        self, choices: list[openai.ChunkChoice], usage: openai.Usage | None = None
    ) -> openai.ChatCompletionChunk:
        return openai.ChatCompletionChunk(choices=choices, usage=usage_field(self._prompt, usage), **self._head)

    def _ids(self, ids: list[int]) -> list[int] | UnsetType:
        return ids if self._prompt.return_tokens else UNSET

    def _logprobs(self, tokens: list[Token]) -> openai.ChoiceLogprobs | None:
        return None if self._prompt.sampling.logprobs is None else openai.ChoiceLogprobs(list(map(_scored, tokens)))


def _scored(token: Token) -> openai.TokenLogprob:
    top = [openai.TopLogprob(*_spelled(scored)) for scored in token.logprobs.top]
    return openai.TokenLogprob(*_spelled(token.logprobs.chosen), top)


def _spelled(scored: Scored) -> tuple[str, float, list[int] | None]:
    return scored.written.decode(errors="replace"), scored.logprob, None if scored.silent else list(scored.written)
