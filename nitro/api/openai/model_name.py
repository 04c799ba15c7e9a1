"""Which model a request names: read before the request itself."""

from msgspec import Struct

from nitro.api import json_body
from nitro.errors import ApiError
from nitro.models import keep_alive
from nitro.service.asked import Asked


class _Named(Struct):
    model: str | None = None
    stream: bool | None = None


def read(body: bytes) -> Asked:
    """The Namer of OpenAI's routes. Raises ApiError 400 with `param`."""
    named = json_body.glance(body, _Named)
    return Asked(named.model, bool(named.stream))


def seconds_of(value: object) -> float | None:
    """`keep_alive` of a request; None: it has none. Raises ApiError 400."""
    if value is None:
        return None
    try:
        return keep_alive.parse(value)
    except ValueError as error:
        raise ApiError.invalid("keep_alive", str(error)) from None
