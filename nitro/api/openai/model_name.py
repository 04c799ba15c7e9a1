"""Which model a request names, and for which tier: read before the request itself."""

from typing import Any

from msgspec import Struct

from nitro.api import json_body
from nitro.engines.shares import WEIGHTS, Tier
from nitro.errors import ApiError
from nitro.models import keep_alive
from nitro.service.asked import Asked


class _Named(Struct):
    model: str | None = None
    stream: bool | None = None


class _Tiered(_Named):
    service_tier: Any = None


def read(body: bytes) -> Asked:
    """The Namer of routes that know no tiers. Raises ApiError 400 with `param`."""
    named = json_body.glance(body, _Named)
    return Asked(named.model, bool(named.stream))


def read_tiered(body: bytes) -> Asked:
    """The Namer of routes that have `service_tier`. Raises ApiError 400 with `param`."""
    named = json_body.glance(body, _Tiered)
    return Asked(named.model, bool(named.stream), tier=tier_of(named.service_tier))


def tier_of(value: object) -> Tier | None:
    """The tier that a request asks for; None: it says nothing of it. What is wrong with it is the reader's to say."""
    if value is None:
        return None
    return next((tier for tier in WEIGHTS if tier == value), "default")


def seconds_of(value: object) -> float | None:
    """`keep_alive` of a request; None: it has none. Raises ApiError 400."""
    if value is None:
        return None
    try:
        return keep_alive.parse(value)
    except ValueError as error:
        raise ApiError.invalid("keep_alive", str(error)) from None
