"""What the OpenAPI document says of one route and method."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from msgspec import Struct

from nitro.api import sse
from nitro.api.openai import schema


class Operation(NamedTuple):
    """What the document says of a route and a method."""

    summary: str
    statuses: tuple[int, ...]  # of its errors
    reply: type[Struct] | str | None  # a struct, the media type of a text, or any object
    body: type[Struct] | None = None
    chunk: type[Struct] | None = None  # what the events of a stream are, before [DONE]
    events: tuple[type[Struct], ...] = ()  # the same, where each says of what kind it is
    query: Mapping[str, dict[str, Any]] = {}  # parameters, and their schemas
    open: bool = False  # needs no key; a 503 is an answer of its own, not an error
    anthropic: type[Struct] | None = None  # the reply to Anthropic's clients
    error: type[Struct] = schema.ErrorReply
    stream: str = sse.MEDIA_TYPE  # of its chunks: events or, of another type, lines of JSON
    listed: bool = False  # the reply is a list of such
    text: str | None = None  # the media type of a reply that is a text, where a request may want that
    form: bool = False  # the body is a form, with a file
    named: bool = True  # its events have names beside their data
    fails: bool = False  # it has no reply but its errors


ANY = (401, 403, 500)
GENERATION = (400, *ANY[:2], 404, 413, 422, 429, 500, 503)
