"""One request and its reply, whole or as a stream of chunks: what chat and text completions have in common."""

import asyncio
import logging
import secrets
import time
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from typing import Any, Protocol, TypeVar

from litestar import Request, Response
from litestar.background_tasks import BackgroundTask
from litestar.response import Stream
from msgspec import UNSET, Struct, UnsetType

from nitro.api import sse
from nitro.api.error_responses import as_api_error
from nitro.api.openai.models import served
from nitro.api.openai.schema import Usage, WithTimings
from nitro.engines.client.generation import Generation
from nitro.engines.types import ModelInfo
from nitro.errors import EngineError, NitroError, TemplateError
from nitro.models.handle import ServedModel
from nitro.service import ignored
from nitro.service.choices import Piece, Replies, Reply
from nitro.service.prepared import Options, Route
from nitro.service.request_log import RequestLog

T = TypeVar("T")

bugs = logging.getLogger("nitro.api")

SILENCE = 5.0  # seconds in which nothing is sent, before a stream says that it lives
PROMPT = {"chat": "messages", "completions": "prompt"}  # the parameter that a route's prompt comes from
CLIENT_LEFT = 499  # the status nginx logs for it; nobody receives it


class Format(Protocol):
    """How a route writes its replies."""

    def whole(self, replies: Replies) -> WithTimings: ...
    def opening(self, replies: Replies) -> Iterable[WithTimings]: ...  # the chunks before any token
    def chunks(self, piece: Piece, reply: Reply) -> Iterable[WithTimings]: ...
    def usage(self, usage: Usage) -> WithTimings: ...


# How a route begins to reply, once the engine has accepted: its choices, and how they are written.
Begin = Callable[[ServedModel, ModelInfo, Any, Generation], tuple[Replies, Format]]


async def serve(request: Request, route: Route, begin: Begin) -> Response[Any]:
    """Have a request of that route read, send it to the engine, and reply."""
    log = RequestLog(request.state.request_id, request.app.state.metrics)
    try:
        body = await _read(request)
        model = served(request).default
        log.model = model.source.id
        exchange = await unless_left(request, _accepted(request, route, body, model, begin, log))
        headers = ignored.header(exchange.ignored)
        if exchange.options.stream:
            headers |= sse.HEADERS
            done = BackgroundTask(exchange.finished)
            return Stream(exchange.stream(), media_type=sse.MEDIA_TYPE, headers=headers, background=done)
        return Response(await unless_left(request, exchange.whole()), headers=headers)
    except ClientLeft:
        log.end("left")
        return Response(b"", status_code=CLIENT_LEFT)
    except Exception as error:
        log.end(f"error {as_api_error(error).status}: {error}")
        _forget(error)
        if isinstance(error, (EngineError, TemplateError)):
            raise as_api_error(error, PROMPT[route]) from error
        raise


async def _accepted(
    request: Request, route: Route, body: list[bytes], model: ServedModel, begin: Begin, log: RequestLog
) -> "Exchange":
    """Everything that can be a 4xx, until the engine has accepted the prompts."""
    state = request.app.state
    info = await model.engine.ready()
    prepared = await state.intake.read(model.setup(info), route, body, state.strict)
    if prepared.unknown_model:
        served(request).note(prepared.unknown_model)
    generation = await model.engine.generate(prepared.work)
    unenforced = [ignored.written(name) for name in generation.unenforced]
    if unenforced and state.strict:
        generation.abort()
        ignored.refuse(unenforced)
    log.replies, format = begin(model, info, prepared.options, generation)
    return Exchange(prepared.options, log.replies, format, log, [*prepared.ignored, *unenforced])


def head(kind: str, model: ServedModel, fingerprint: str) -> dict[str, Any]:
    """What all chunks of a reply have alike. `kind`: what its id begins with."""
    return {
        "id": f"{kind}-{secrets.token_hex(12)}",
        "created": int(time.time()),
        "model": model.source.id,
        "system_fingerprint": fingerprint,
    }


def usage_field(options: Options, usage: Usage | None) -> Usage | UnsetType | None:
    """A chunk's `usage`: absent unless asked for, null before the last."""
    return usage if options.include_usage else UNSET


class Exchange:
    """One accepted request: its replies, consumed whole or as a stream."""

    def __init__(self, options: Options, replies: Replies, format: Format, log: RequestLog, ignored: list[str]):
        """`ignored`: parameters without effect on this model, as they stand in a header."""
        self.options, self.ignored = options, ignored
        self._replies, self._format, self._log = replies, format, log

    async def whole(self) -> Struct:
        try:
            async for pieces in self._replies:
                self._note(pieces)
        finally:
            self._replies.generation.abort()
        self._log.end()
        reply = self._format.whole(self._replies)
        reply.timings = self._log.timings()
        return reply

    async def stream(self) -> AsyncIterator[bytes]:
        """SSE frames; then usage if asked for; then DONE. A fault is an error frame and DONE. Silence has comments."""
        bursts = _Bursts(self._replies)
        try:
            if opening := _frames(self._format.opening(self._replies)):
                yield opening
            bursts.sent()
            while (pieces := await bursts.next()) is not None:
                self._note(pieces)
                frames = _frames(self._timed([chunk for piece in pieces for chunk in self._chunks(piece)]))
                if frames or bursts.silent:
                    yield frames or sse.KEEPALIVE
                    bursts.sent()
            usage = b""
            if self.options.include_usage:
                last = self._format.usage(self._replies.usage)
                last.timings = self._log.timings()
                usage = sse.frame(last)
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

    def _note(self, pieces: list[Piece]) -> None:
        """When tokens come. What is told while a prompt is scored has none."""
        if any(piece.finish or self._replies.choices[piece.index].tokens for piece in pieces):
            self._log.burst()

    def _chunks(self, piece: Piece) -> Iterable[WithTimings]:
        return self._format.chunks(piece, self._replies.choices[piece.index])

    def _timed(self, chunks: list[WithTimings]) -> list[WithTimings]:
        """With timings where they belong; a usage chunk, where asked for, is the last."""
        over = all(reply.finish for reply in self._replies.choices) and not self.options.include_usage
        for chunk in chunks if self.options.timings_per_token else chunks[-1:] if over else []:
            chunk.timings = self._log.timings()
        return chunks

    async def finished(self) -> None:
        """After the response, however it went: a stream that was never begun has not cleaned up behind itself."""
        self._release()

    def _release(self) -> None:
        """What still runs ends; it does only where the client has left."""
        self._replies.generation.abort()
        self._log.end("left")


class _Bursts:
    """What comes of the replies, against the event loop's clock."""

    def __init__(self, replies: Replies):
        self._replies = replies
        self._clock = asyncio.get_running_loop().time
        self.sent()

    def sent(self) -> None:
        """Something has been sent to the client just now."""
        self._due = self._clock() + SILENCE

    @property
    def silent(self) -> bool:
        return self._clock() >= self._due

    async def next(self) -> list[Piece] | None:
        """The next burst, empty where the silence lasts too long before it comes; None after the last. A burst is taken
        without waiting once it is there, so that the end of patience loses none."""
        try:
            async with asyncio.timeout_at(self._due) as patience:
                return await anext(self._replies, None)
        except TimeoutError:
            if not patience.expired():
                raise
            return []


def _frames(chunks: Iterable[Struct]) -> bytes:
    return b"".join(map(sse.frame, chunks))


class ClientLeft(Exception):
    pass


async def _read(request: Request) -> list[bytes]:
    """The body, piece by piece. Raises ClientLeft where the client does not send all of it, ApiError 413 where it is
    too large. Litestar's own way would keep it for as long as the request."""
    pieces: list[bytes] = []
    while True:
        message = await request.receive()
        if message["type"] != "http.request":
            raise ClientLeft
        if message["body"]:
            pieces.append(message["body"])
        if not message["more_body"]:
            return pieces


def _forget(error: BaseException | None) -> None:
    """What the frames of an exception hold goes at once: a request may be megabytes, and who refers to whom in such
    frames makes cycles, which are looked for rarely."""
    while error:
        traceback.clear_frames(error.__traceback__)
        error = error.__cause__ or error.__context__


async def unless_left(request: Request, work: Awaitable[T]) -> T:
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
