"""What a request for a Response names that the server keeps: read before the request itself, see RawRequest."""

from typing import Any

import msgspec
from msgspec import Raw, Struct

from nitro.api import json_body
from nitro.api.openai.model_name import tier_of
from nitro.errors import ApiError
from nitro.service.asked import Asked


class Lasting(Struct, frozen=True):
    """`references`: the ids that `item_reference`s name. `store`: None: it does not say."""

    previous: str | None = None
    conversation: str | None = None
    references: list[str] = []
    store: bool | None = None
    background: bool = False


class _Named(Struct):
    model: str | None = None
    stream: bool | None = None
    service_tier: Any = None
    store: bool | None = None
    background: bool | None = None
    previous_response_id: str | None = None
    conversation: Any = None
    input: Raw = Raw(b"null")


class _Item(Struct):
    type: Any = None
    id: Any = None
    role: Any = None

    @property
    def is_reference(self) -> bool:
        """A reference may leave out its type, and so may a message, which has a role."""
        return isinstance(self.id, str) and (self.type or (self.role is None and "item_reference")) == "item_reference"


_items = msgspec.json.Decoder(list[_Item]).decode
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Lasting).decode


def read(body: bytes) -> Asked:
    """The Namer of Responses; `own` is a Lasting. Raises ApiError 400 with `param`."""
    named = json_body.glance(body, _Named)
    conversation = _conversation(named.conversation)
    if conversation is not None and named.previous_response_id is not None:
        why = "does not go together with 'conversation'. Send one of them"
        raise ApiError.unsupported("previous_response_id", why)
    if named.background and named.store is False:
        raise ApiError.invalid("store", "true where 'background' is: nobody could ask for the response")
    lasting = Lasting(
        named.previous_response_id, conversation, _references(named.input), named.store, bool(named.background)
    )
    return Asked(named.model, bool(named.stream), _encode(lasting), tier_of(named.service_tier))


def lasting(asked: Asked) -> Lasting:
    """What `read` has put into it."""
    return _decode(asked.own)


def _conversation(value: Any) -> str | None:
    """An id, or an object that has one."""
    id = value.get("id") if isinstance(value, dict) else value
    if id is None and value is None:
        return None
    if not isinstance(id, str):
        raise ApiError.invalid("conversation", "an id, or an object with an 'id'", code="invalid_type")
    return id


def _references(items: Raw) -> list[str]:
    """What is wrong with the input is the reader's to say."""
    try:
        found = _items(items)
    except msgspec.MsgspecError:
        return []
    return [item.id for item in found if item.is_reference]
