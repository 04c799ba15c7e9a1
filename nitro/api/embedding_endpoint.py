"""A route that embeds: a reader of its protocol, and what writes the reply, around the service. See `endpoint.py`."""

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any

from litestar import MediaType, Request, Response

from nitro.api import error_responses
from nitro.api.endpoint import CLIENT_CLOSED_REQUEST, principal_of, read_body
from nitro.errors import ApiError
from nitro.service import ignored_parameters
from nitro.service.asked import Asked
from nitro.service.disconnects import ClientDisconnected
from nitro.service.embedding import Embedded, EmbeddingService
from nitro.service.requests import RawRequest

TOGETHER = 2**16  # bytes of a reply that are written before others get a turn


@dataclass(frozen=True, slots=True)
class EmbeddingEndpoint:
    """`reader`: where the protocol's EmbeddingReader is, as "module:function". `reply`: the JSON, in pieces. `param`:
    what the protocol calls the inputs. `error`, `namer`: as in Endpoint."""

    reader: str
    reply: Callable[[Embedded], Iterable[bytes]]
    param: str
    error: Callable[[ApiError], Response[bytes]] | None = None
    namer: str | None = None


async def respond(request: Request, endpoint: EmbeddingEndpoint, asked: Asked | None = None) -> Response[Any]:
    """Have a request read, embedded and answered. `asked`: its model, where the route says it."""
    service: EmbeddingService = request.app.state.embedding
    raw = RawRequest(endpoint.reader, partial(read_body, request), endpoint.param, asked, endpoint.namer)
    principal = principal_of(request)
    try:
        embedded = await service.embed(raw, principal)
        body = await _joined(endpoint.reply(embedded))
    except ClientDisconnected:
        return Response(b"", status_code=CLIENT_CLOSED_REQUEST)
    except ApiError as error:
        return endpoint.error(error) if endpoint.error else error_responses.response(error, request.scope)
    return Response(body, headers=ignored_parameters.header(embedded.ignored), media_type=MediaType.JSON)


async def _joined(pieces: Iterable[bytes]) -> bytes:
    """Vectors take long to write: other requests get their turns in between."""
    written = bytearray()
    since = 0
    for piece in pieces:
        written += piece
        since += len(piece)
        if since > TOGETHER:
            since = 0
            await asyncio.sleep(0)
    return bytes(written)
