"""`/v1/server/…`: what the server is doing, as a stream of events; and the end of a request that its client did not ask
for. Both are about everybody's requests, so they are for who has the key or, where there is none, for this machine."""

from collections.abc import AsyncIterator
from contextlib import closing

import msgspec
from litestar import Request, get, post
from litestar.response import Stream
from msgspec import Struct

from nitro.api import sse
from nitro.api.callers import is_trusted
from nitro.api.middleware import CHANGES, ENDLESS
from nitro.api.responses.replies import json
from nitro.errors import ApiError
from nitro.service import delivery
from nitro.service.live.feed import Event, Feed

_encode = msgspec.json.Encoder().encode


class RequestAborted(Struct):
    """The request has ended with an error, or is about to."""

    id: str
    aborted: bool = True


@get("/v1/server/events", opt={CHANGES: True, ENDLESS: True})  # so a HEAD cannot be answered as a GET is
async def events(request: Request) -> Stream:
    """A snapshot, then changes, until the client leaves or the server stops."""
    return Stream(_frames(_feed(request)), media_type=sse.MEDIA_TYPE, headers=sse.HEADERS, status_code=200)


async def _frames(feed: Feed) -> AsyncIterator[bytes]:
    with closing(feed.listen(delivery.SILENCE)) as listener:
        async for event in listener:
            yield sse.KEEPALIVE if event is None else _frame(event)


def _frame(event: Event) -> bytes:
    name = type(event).__struct_config__.tag
    return b"event: %b\ndata: %b\n\n" % (str(name).encode(), _encode(event))


@post("/v1/server/requests/{request_id:str}/abort", status_code=200)
async def abort_request(request: Request) -> object:
    """End a request that is under way; its client gets an error."""
    feed = _feed(request)
    id = str(request.path_params["request_id"])
    if not feed.abort(id):
        raise ApiError(404, f"No request '{id[:100]}' is under way.", param="request_id", code="request_not_found")
    return json(RequestAborted(id))


def _feed(request: Request) -> Feed:
    """Raises ApiError 403."""
    if not is_trusted(request):
        why = "Only who has the key may see what the server does or, where there is none, a program on this machine."
        raise ApiError(403, why, code="not_allowed")
    feed: Feed = request.app.state.live
    return feed


HANDLERS = [events, abort_request]
