"""Ollama's lines of JSON, and its errors: `{"error": "…"}`, in place of a reply or as a stream's last line."""

import msgspec
from litestar import MediaType, Response

from nitro.api import error_responses
from nitro.api.ollama.schema import OllamaError
from nitro.errors import ApiError

MEDIA_TYPE = "application/x-ndjson"
HEADERS = {"cache-control": "no-cache", "x-accel-buffering": "no"}

encode = msgspec.json.Encoder().encode


def line(value: msgspec.Struct) -> bytes:
    """One line."""
    return encode(value) + b"\n"


def error_line(error: ApiError) -> bytes:
    """The line that ends a stream which has failed."""
    return line(OllamaError(str(error)))


def error(error: ApiError) -> Response[bytes]:
    """What goes wrong before a reply begins, with the status and the headers that it has for OpenAI's clients, too."""
    return error_responses.response(error, "/api/")


def reply(value: msgspec.Struct) -> Response[bytes]:
    """A reply in one piece."""
    return Response(encode(value), media_type=MediaType.JSON)
