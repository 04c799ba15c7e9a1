"""What the renderer of messages needs to know of the request. Travels as bytes that only it opens."""

import msgspec
from msgspec import Struct


class ReplyOptions(Struct, frozen=True):
    """Of `POST /v1/messages`."""

    stop_sequences: list[str] = []  # the request's: a model's own are no stop sequences to the client
    max_tokens: int = 0
    omits_thinking: bool = False
    edits_context: bool = False  # the reply says which edits were applied


encode = msgspec.msgpack.Encoder().encode
decode = msgspec.msgpack.Decoder(ReplyOptions).decode
