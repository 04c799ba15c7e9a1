"""A route that generates: a reader and a renderer of its protocol, around the service. No protocol is known here."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from litestar import MediaType, Request, Response

from nitro.api import callers, error_responses, recording, reply_writer, users
from nitro.api.late_stream import Early, LateStream, Silence, discard
from nitro.api.stream_response import StreamResponse
from nitro.errors import ApiError
from nitro.service import ignored_parameters
from nitro.service.asked import Asked
from nitro.service.disconnects import ClientDisconnected
from nitro.service.generation import GenerationService, GenerationStream
from nitro.service.renderer import MakeRenderer, Renderer
from nitro.service.requests import Principal, RawRequest

CLIENT_CLOSED_REQUEST = 499  # the status nginx logs for it; nobody receives it
PREFIX = "x-nitro-prefix"  # the hash by which a balancer finds the server that has computed the prompt's beginning
TIER = "tier"  # in a scope's state: the tier of all that the request asks for, whatever it says


@dataclass(frozen=True, slots=True)
class Endpoint:
    """`reader`: where the protocol's Reader is, as "module:function"; it runs in an intake process. `prompt_param`:
    what the protocol calls the prompt. `error`: writes what goes wrong before a reply begins; None: the error form of
    the request does. `namer`: where its Namer is. `early`: what its streams have before their model is loaded; None:
    they wait for it."""

    reader: str
    renderer: MakeRenderer
    prompt_param: str
    error: Callable[[ApiError], Response[bytes]] | None = None
    namer: str | None = None
    early: Early | None = None


class Received:
    """A request that has come. `pieces`: its body, until that is handed on."""

    def __init__(self, pieces: list[bytes], principal: Principal):
        self.pieces, self.principal = pieces, principal

    async def body(self) -> list[bytes]:
        """The body, once: it is not kept for as long as the request."""
        pieces, self.pieces = self.pieces, []
        return pieces


async def receive(request: Request) -> Received:
    """A request, for a route that looks at it before it responds. Raises as `read_body` does."""
    return Received(await read_body(request), principal_of(request))


async def respond(
    request: Request, endpoint: Endpoint, asked: Asked | None = None, received: Received | None = None
) -> Response[Any]:
    """Have a request read, sent to an engine, and answered, whole or as a stream. `asked`: its model, where the route
    says it. `received`: the request, where it has come."""
    body = received.body if received else partial(read_body, request)
    raw = RawRequest(endpoint.reader, body, endpoint.prompt_param, asked, endpoint.namer)
    principal = received.principal if received else principal_of(request)
    return await exchange(request, endpoint, raw, principal, partial(answer, endpoint))


Answer = Callable[[GenerationStream, Principal], Awaitable[Response[Any]]]  # releases the stream, if it raises


async def exchange(
    request: Request, endpoint: Endpoint, raw: RawRequest, principal: Principal, make: Answer
) -> Response[Any]:
    """The same for who has looked at the request before. `make` makes the response once the engine has accepted."""
    service: GenerationService = request.app.state.service
    try:
        if endpoint.early and service.may_wait:
            return await _reply_or_sign(service, endpoint.early, raw, principal, make)
        return await _reply(service, raw, principal, make)
    except ClientDisconnected:
        return Response(b"", status_code=CLIENT_CLOSED_REQUEST)
    except ApiError as error:
        return endpoint.error(error) if endpoint.error else error_responses.response(error, request.scope)


async def _reply(
    service: GenerationService,
    raw: RawRequest,
    principal: Principal,
    make: Answer,
    asked: Callable[[Asked], None] | None = None,
) -> Response[Any]:
    return await make(await service.generate(raw, principal, asked), principal)


async def answer(endpoint: Endpoint, stream: GenerationStream, principal: Principal) -> Response[Any]:
    """With the endpoint's renderer."""
    renderer = _renderer(endpoint, stream)
    headers = headers_of(stream)
    if stream.streamed:
        return StreamResponse(stream, renderer, headers, principal)
    return Response(await stream.whole(renderer), headers=headers, media_type=MediaType.JSON)


def headers_of(stream: GenerationStream) -> dict[str, str]:
    """Those that say what became of the request."""
    return {PREFIX: stream.prefix, **ignored_parameters.header(stream.ignored)}


async def _reply_or_sign(
    service: GenerationService, early: Early, raw: RawRequest, principal: Principal, make: Answer
) -> Response[Any]:
    """The reply; for a stream that waits too long for its model, one that begins with signs of life."""
    silence = Silence()
    replying = asyncio.create_task(_reply(service, raw, principal, make, silence.asked), name="reply")
    try:
        await asyncio.wait((replying, silence.too_long), return_when=asyncio.FIRST_COMPLETED)
        return replying.result() if replying.done() else LateStream(early, replying)
    except BaseException:
        discard(replying)
        raise
    finally:
        silence.close()


def _renderer(endpoint: Endpoint, stream: GenerationStream) -> Renderer:
    try:
        return endpoint.renderer(stream.started, stream.reply_options)
    except Exception as error:
        stream.release(f"error: {error}")
        raise


async def read_body(request: Request) -> list[bytes]:
    """The body, piece by piece. Litestar's own way would keep it for as long as the request.

    Raises ClientDisconnected where the client does not send all of it, ApiError 413 where it is too large.
    """
    return [chunk async for chunk in chunks_of(request)]


async def chunks_of(request: Request) -> AsyncIterator[bytes]:
    """The same, as they come."""
    while True:
        message = await request.receive()
        if message["type"] != "http.request":
            raise ClientDisconnected
        if message["body"]:
            yield message["body"]
        if not message["more_body"]:
            return


def principal_of(request: Request) -> Principal:
    """Who makes the request, and whether they still wait."""
    return Principal(
        request.state.request_id,
        _left(request),
        users.user_of(request.scope),
        callers.rights_of(request),
        recording.follower(request.scope),
        request.scope["path"],
        callers.use_of(request.scope),
        request.scope["state"].get(TIER),
    )


def _left(request: Request) -> asyncio.Future[None]:
    """Done when the client disconnects. No framework tells a handler that does not stream of a disconnect."""
    gone: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    writer = reply_writer.of(request.scope)

    def leave() -> None:
        if not gone.done():
            gone.set_result(None)

    if writer.left:
        leave()
    writer.on_left = leave
    return gone
