"""Bodies of the routes of conversations. They are read in an intake process, by the way of a Namer: see `read`."""

from typing import Any

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from nitro.api import json_body
from nitro.api.responses import input_items
from nitro.api.responses.items import ConversationReader
from nitro.api.responses.metadata import check_metadata
from nitro.errors import ApiError
from nitro.service.asked import Asked

MAX_ITEMS = 20  # at a time, as OpenAI says


class ConversationBody(Struct):
    """What may be in one."""

    items: list[dict[str, Any]] | None = None
    metadata: dict[str, Any] | UnsetType | None = UNSET


class ReadConversation(Struct, frozen=True):
    """`items`: JSON, each with its id. `metadata`: a JSON object. `changes`: it was sent."""

    items: list[Raw]
    metadata: Raw
    changes: bool


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(ReadConversation).decode
_raws = msgspec.json.Decoder(list[Raw]).decode


def read(body: bytes) -> Asked:
    """A Namer whose `own` is a ReadConversation. Raises ApiError 400 with `param`."""
    asked = json_body.glance(body, ConversationBody) if body else ConversationBody()
    items = asked.items or []
    if len(items) > MAX_ITEMS:
        raise ApiError.invalid("items", f"at most {MAX_ITEMS} items at a time, got {len(items)}")
    metadata = asked.metadata or {}
    check_metadata(metadata)
    calls = [item.get("call_id") for item in items]  # which may have been called before
    reader = ConversationReader(_same, calls=[call for call in calls if isinstance(call, str)])
    kept = input_items.kept(reader.read(items, "items"))
    read = ReadConversation(_raws(kept), Raw(_encode(metadata)), asked.metadata is not UNSET)
    return Asked(own=_encode(read))


def read_before(asked: Asked) -> ReadConversation:
    """What `read` has put into it."""
    return _decode(asked.own)


def _same(name: str, namespace: str | None) -> str:
    return name
