"""How Nitro's processes talk over a socket pair: a frame is a 4-byte big-endian length and that many bytes of msgpack.

Messages are tagged structs. Each pair of processes defines its own; this module does not know them.
"""

import contextlib
import socket
import struct
from collections.abc import Iterator

import msgspec


class WireMessage(msgspec.Struct, frozen=True, tag=True):
    """The base of all messages. The tag is the class's name."""


_LENGTH = struct.Struct(">I")
HEADER = _LENGTH.size  # bytes that precede a payload
encode = msgspec.msgpack.Encoder().encode


def frame(message: WireMessage) -> bytes:
    """The bytes of one message on the wire."""
    payload = encode(message)
    return length(len(payload)) + payload


def length(size: int) -> bytes:
    """The bytes that precede a payload of `size` bytes on the wire."""
    return _LENGTH.pack(size)


def size(header: bytes) -> int:
    """The size of the payload that the header precedes, in bytes."""
    count: int = _LENGTH.unpack(header)[0]
    return count


def payloads(sock: socket.socket) -> Iterator[bytes]:
    """Yield the payloads that arrive on a blocking socket, until the other side closes it."""
    with sock.makefile("rb") as stream, contextlib.suppress(ConnectionError):  # it may leave what we sent unread
        while len(header := stream.read(HEADER)) == HEADER:
            wanted = size(header)
            payload = stream.read(wanted)
            if len(payload) < wanted:
                return
            yield payload
