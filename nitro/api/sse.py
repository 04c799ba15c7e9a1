"""Server-sent events as the OpenAI API frames them. Each frame is one `bytes`, and so one write."""

import msgspec

from nitro.errors import ApiError

HEADERS = {"cache-control": "no-cache", "x-accel-buffering": "no"}
MEDIA_TYPE = "text/event-stream"
DONE = b"data: [DONE]\n\n"
KEEPALIVE = b": keepalive\n\n"  # a comment, which clients skip

_encode = msgspec.json.Encoder().encode


def frame(value: msgspec.Struct) -> bytes:
    """One event with this value as JSON."""
    return b"data: " + _encode(value) + b"\n\n"


def comment(text: str) -> bytes:
    """What clients skip: one line, as a header's value."""
    return f": {text}\n\n".encode()


def error(error: ApiError) -> bytes:
    """The event by which a stream that has begun reports an error; clients raise an exception on it. DONE follows."""
    return b"data: " + _encode(error.body) + b"\n\n"
