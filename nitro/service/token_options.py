"""What a request for tokens wants to know, from its reader to the service."""

import msgspec
from msgspec import Struct


class TokenOptions(Struct, frozen=True):
    """It is a request's `reply_options`. `pieces`: what each token is. `parse_special`: see messages.Tokenize."""

    pieces: bool = False
    parse_special: bool = True


encode = msgspec.msgpack.Encoder().encode
decode = msgspec.msgpack.Decoder(TokenOptions).decode
