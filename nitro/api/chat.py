"""`POST /v1/chat/completions`: from the request's bytes to a whole reply or a stream of chunks."""

import asyncio
import logging
import secrets
import time
from collections.abc import AsyncIterator, Coroutine
from typing import Any, TypeVar

from litestar import Request, Response, post
from litestar.background_tasks import BackgroundTask
from litestar.exceptions import InternalServerException
from litestar.response import Stream

from nitro.api import lenient, openai, sse
from nitro.api.faults import as_api_error
from nitro.api.models import served
from nitro.api.prompts import ChatPrompt, parse_chat
from nitro.api.reply import Piece, Replies, Token
from nitro.api.requestlog import RequestLog
from nitro.engines.types import Scored
from nitro.errors import NitroError
from nitro.models.served import ServedModel

T = TypeVar("T")

bugs = logging.getLogger("nitro.api")

CLIENT_LEFT = 499  # the status nginx logs for it; nobody receives it


@post("/v1/chat/completions", status_code=200)
async def chat_completions(request: Request) -> Response[Any]:
    log = RequestLog(request.state.request_id, request.app.state.metrics)
    try:
        body, ignored = lenient.decode(await _read(request), openai.ChatRequest)
        model, known = served(request).find(body.model)
        if not known:
            ignored.append("model")
        headers = {"x-nitro-ignored": ", ".join(ignored)[:2000]} if ignored else {}
        log.model = model.source.id
        chat = await unless_left(request, _begin(model, body, log))
        if chat.prompt.stream:
            headers |= sse.HEADERS
            return Stream(
                chat.stream(), media_type=sse.MEDIA_TYPE, headers=headers, background=BackgroundTask(chat.finished)
            )
        return Response(await unless_left(request, chat.whole()), headers=headers)
    except ClientLeft:
        log.end("left")
        return Response(b"", status_code=CLIENT_LEFT)
    except Exception as error:
        log.end(f"error {as_api_error(error).status}: {error}")
        raise


async def _begin(model: ServedModel, body: openai.ChatRequest, log: RequestLog) -> "Chat":
    """Everything that can be a 4xx, until the engine has accepted the prompt."""
    info = await model.engine.ready()
    prompt = parse_chat(body, model.sampling(info))
    text = model.chat_template(info).render(prompt.messages)
    generation = await model.engine.generate(text, prompt.sampling, prompt.max_tokens, prompt.n, prompt.text_bias)
    log.replies = replies = Replies(generation, prompt.stops)
    return Chat(model.source.id, model.fingerprint(info), prompt, replies, log)


class Chat:
    """One accepted request: its replies, consumed whole or as a stream."""

    def __init__(self, model: str, fingerprint: str, prompt: ChatPrompt, replies: Replies, log: RequestLog):
        self.prompt = prompt
        self._replies, self._log = replies, log
        self._head: dict[str, Any] = {
            "id": f"chatcmpl-{secrets.token_hex(12)}",
            "created": int(time.time()),
            "model": model,
            "system_fingerprint": fingerprint,
        }

    async def whole(self) -> openai.ChatCompletion:
        try:
            async for _ in self._replies:
                self._log.burst()
        finally:
            self._replies.generation.abort()
        choices = []
        for reply in self._replies.choices:
            assert reply.finish is not None
            message = openai.ReplyMessage(reply.text)
            choices.append(openai.Choice(reply.index, message, reply.finish, self._logprobs(reply.scored)))
        self._log.end()
        return openai.ChatCompletion(choices=choices, usage=self._replies.usage, **self._head)

    async def stream(self) -> AsyncIterator[bytes]:
        """SSE frames: role, content, finish; then usage if asked for; then DONE. A fault is an error frame and DONE."""
        try:
            first = [openai.ChunkChoice(r.index, openai.Delta("assistant", "")) for r in self._replies.choices]
            yield b"".join(self._frame([choice]) for choice in first)
            async for pieces in self._replies:
                self._log.burst()
                if frames := b"".join(map(self._frames, pieces)):
                    yield frames
            usage = b""
            if self.prompt.include_usage:
                usage = self._frame([], self._replies.usage)
            self._log.end()
            yield usage + sse.DONE
        except Exception as error:
            fault = as_api_error(error)
            if not isinstance(error, NitroError):
                bugs.exception("a stream failed")
            self._log.end(f"error {fault.status}: {error}")
            yield sse.error(fault) + sse.DONE
        finally:  # nothing here may wait: the client may have left
            self._release()

    async def finished(self) -> None:
        """After the response, however it went: a stream that was never begun has not cleaned up behind itself."""
        self._release()

    def _release(self) -> None:
        """What still runs ends; it does only where the client has left."""
        self._replies.generation.abort()
        self._log.end("left")

    def _frames(self, piece: Piece) -> bytes:
        """A piece's content, and its finish in a chunk of its own."""
        frames = b""
        if piece.text or piece.tokens:
            delta = openai.Delta(content=piece.text)
            frames += self._frame([openai.ChunkChoice(piece.index, delta, None, self._logprobs(piece.tokens))])
        if piece.finish:
            frames += self._frame([openai.ChunkChoice(piece.index, openai.Delta(), piece.finish)])
        return frames

    def _logprobs(self, tokens: list[Token]) -> openai.ChoiceLogprobs | None:
        return None if self.prompt.sampling.logprobs is None else openai.ChoiceLogprobs(list(map(_scored, tokens)))

    def _frame(self, choices: list[openai.ChunkChoice], usage: openai.Usage | None = None) -> bytes:
        chunk = openai.ChatCompletionChunk(choices=choices, **self._head)
        if self.prompt.include_usage:
            chunk.usage = usage
        return sse.frame(chunk)


def _scored(token: Token) -> openai.TokenLogprob:
    top = [openai.TopLogprob(*_spelled(scored)) for scored in token.logprobs.top]
    return openai.TokenLogprob(*_spelled(token.logprobs.chosen), top)


def _spelled(scored: Scored) -> tuple[str, float, list[int] | None]:
    return scored.written.decode(errors="replace"), scored.logprob, None if scored.silent else list(scored.written)


class ClientLeft(Exception):
    pass


async def _read(request: Request) -> bytes:
    """The body. Raises ClientLeft where the client does not send all of it."""
    try:
        return await request.body()
    except InternalServerException:
        raise ClientLeft from None


async def unless_left(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """The result of `work`, which is cancelled when the client leaves. Raises ClientLeft. The body must have been read:
    no framework tells a handler that does not stream of a disconnect."""
    working = asyncio.ensure_future(work)
    leaving = asyncio.ensure_future(_left(request))
    try:
        await asyncio.wait((working, leaving), return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        raise ClientLeft
    finally:
        leaving.cancel()
        if working.cancel():
            await asyncio.wait([working])


async def _left(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
