"""Ollama's lines of JSON. One with an error (`error_forms`) may be the last of a stream."""

from collections.abc import Mapping

import msgspec
from litestar import MediaType, Response

from nitro.api import error_forms
from nitro.errors import ApiError

MEDIA_TYPE = "application/x-ndjson"
HEADERS = {"cache-control": "no-cache", "x-accel-buffering": "no"}

encode = msgspec.json.Encoder().encode


def line(value: msgspec.Struct) -> bytes:
    """One line."""
    return encode(value) + b"\n"


def error_line(error: ApiError) -> bytes:
    """The line that ends a stream which has failed."""
    return error_forms.OLLAMA.body(error, None) + b"\n"


def reply(value: msgspec.Struct, headers: Mapping[str, str] | None = None) -> Response[bytes]:
    """A reply in one piece."""
    return Response(encode(value), media_type=MediaType.JSON, headers=headers)
