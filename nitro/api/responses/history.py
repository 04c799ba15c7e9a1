"""What a request goes on with: items that the server has kept. It travels in front of the body to the intake process.

Items are those of OpenAI's API, as JSON objects: input items as they were sent, each with its `id`; output items as
they were replied.
"""

import msgspec
from msgspec import Raw, Struct


class History(Struct, frozen=True):
    """`items`: those of `previous_response_id` and the replies before it, or of `conversation`, oldest first; they
    stand before the request's own. `referenced`: by its id, each item that an `item_reference` of the request names.

    Instructions of earlier requests are not in it: they are not inherited."""

    items: list[Raw] = []
    referenced: dict[str, Raw] = {}


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(History).decode


def encode(history: History) -> bytes:
    """A RawRequest's `history`."""
    return _encode(history)


def decode(data: bytes) -> History:
    """What a RememberingReader's last argument says. Empty: nothing is remembered."""
    return _decode(data) if data else History()
