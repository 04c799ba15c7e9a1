"""Server-sent events as the OpenAI API frames them. Own bytes: one frame, one write."""

import msgspec

from nitro.errors import ApiError

HEADERS = {"cache-control": "no-cache", "x-accel-buffering": "no"}
MEDIA_TYPE = "text/event-stream"
DONE = b"data: [DONE]\n\n"
KEEPALIVE = b": keepalive\n\n"  # a comment, which clients skip

_encode = msgspec.json.Encoder().encode


def frame(value: msgspec.Struct) -> bytes:
    return b"data: " + _encode(value) + b"\n\n"


def error(fault: ApiError) -> bytes:
    """How a stream that has begun tells of a fault; clients raise on it. DONE follows."""
    return b"data: " + _encode(fault.body) + b"\n\n"
