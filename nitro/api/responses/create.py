"""`POST /v1/responses`, where nothing is kept."""

from typing import Any

from litestar import Request, Response, post

from nitro.api import readers, sse
from nitro.api.endpoint import Endpoint, respond
from nitro.api.late_stream import Early
from nitro.api.responses.keeping import Keeping
from nitro.api.responses.renderer import ResponsesRenderer, frame
from nitro.api.responses.usage import error_event
from nitro.service.events import Started

# What a stream has before its model is loaded
EARLY = Early(sse.MEDIA_TYPE, sse.HEADERS, sse.KEEPALIVE, lambda error: frame(error_event(error)))


@post("/v1/responses", status_code=200)
async def create_response(request: Request) -> Response[Any]:
    """Answer a conversation, as items."""
    return await respond(request, RESPONSES)


def forgetting(started: Started, options: bytes) -> ResponsesRenderer:
    """A renderer of a response that nobody keeps."""
    return ResponsesRenderer(started, options, Keeping())


RESPONSES = Endpoint(
    reader=readers.RESPONSE, renderer=forgetting, prompt_param="input", namer=readers.NAME, early=EARLY
)
