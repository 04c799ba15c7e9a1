"""How `POST /v1/responses` is read and answered. What it keeps, and where that is asked for, is in routes.py."""

from nitro.api import readers, sse
from nitro.api.endpoint import Endpoint
from nitro.api.late_stream import Early
from nitro.api.responses.keeping import Keeping
from nitro.api.responses.renderer import ResponsesRenderer, frame
from nitro.api.responses.usage import error_event
from nitro.service.events import Started

# What a stream has before its model is loaded
EARLY = Early(sse.MEDIA_TYPE, sse.HEADERS, sse.KEEPALIVE, lambda error: frame(error_event(error)), sse.comment)


def forgetting(started: Started, options: bytes) -> ResponsesRenderer:
    """A renderer of a response that nobody keeps."""
    return ResponsesRenderer(started, options, Keeping())


RESPONSES = Endpoint(
    reader=readers.RESPONSE, renderer=forgetting, prompt_param="input", namer=readers.RESPONSE_NAME, early=EARLY
)
