"""A file that holds what a slot held: its bytes, and how they are checked.

    magic, 8 │ length of the header, 4, little endian │ SHA-256 of the header, 32 │ header, msgpack │ zeros │ the state
                                                                                                            └ at a page

The state is a runner's own (`ModelRunner.export`). A library takes one of another model, or one with a flipped bit,
without a word; so a file says of what it is, and is read only where that and all of its bytes are right.
"""

import hashlib
import mmap
import os
import sys
from array import array
from collections.abc import Callable, Iterable, Sequence

import msgspec

MAGIC = b"nitrokv\x01"
PAGE = 4096  # bytes
PIECE = 2**18  # bytes that are hashed and written at a time
MAX_HEADER = 2**26  # bytes
_HEAD = len(MAGIC) + 4 + 32
_NO_DIGEST = bytes(32)

Buffer = bytes | bytearray | memoryview


class Damaged(ValueError):
    """The file is no whole file of this form, or not the one that was looked for."""


class Header(msgspec.Struct, frozen=True):
    """What a file says of itself. `tokens`: as `pack` makes them. `size`: bytes of the state, whose SHA-256 is
    `digest`. Equal `identity` and `adapters`: what was computed for one is right for the other."""

    identity: str
    adapters: str
    tokens: bytes
    size: int
    digest: bytes = _NO_DIGEST

    @property
    def name(self) -> str:
        """Of the file, among those of its identity."""
        return name_of(self.tokens, self.adapters)


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Header).decode


def pack(tokens: Sequence[int]) -> bytes:
    """Token ids as uint32, little endian. Raises OverflowError for an id below zero, which stands for media."""
    ids = array("I", tokens)
    if sys.byteorder == "big":
        ids.byteswap()
    return ids.tobytes()


def name_of(tokens: bytes, adapters: str) -> str:
    """Of a file: the same for the same prefix."""
    return hashlib.sha256(adapters.encode() + b"\0" + tokens).hexdigest()


def file_size(header: Header) -> int:
    """Bytes of the whole file."""
    return _begin(len(_encode(header))) + header.size


def write(fd: int, header: Header, pieces: Iterable[Buffer], pause: Callable[[], None]) -> None:
    """Write a file whose state is these pieces, one behind the other; `header.digest` is found on the way. `pause` is
    called after each few bytes. Raises OSError."""
    place = _begin(len(_encode(header)))
    end = place + header.size
    digest = hashlib.sha256()
    for piece in pieces:
        view = memoryview(piece).cast("B")
        for start in range(0, len(view), PIECE):
            part = view[start : start + PIECE]
            digest.update(part)
            _write(fd, part, place)
            place += len(part)
            pause()
    if place != end:
        raise ValueError(f"a state of {header.size} bytes had {place - end + header.size}")
    raw = _encode(msgspec.structs.replace(header, digest=digest.digest()))
    _write(fd, MAGIC + len(raw).to_bytes(4, "little") + hashlib.sha256(raw).digest() + raw, 0)


def read_header(fd: int) -> Header:
    """Raises OSError; Damaged, also where the file is shorter or longer than it says."""
    head = os.pread(fd, _HEAD, 0)
    length = int.from_bytes(head[len(MAGIC) : len(MAGIC) + 4], "little")
    if len(head) < _HEAD or not head.startswith(MAGIC) or length > MAX_HEADER:
        raise Damaged("it does not begin as such a file does")
    raw = os.pread(fd, length, _HEAD)
    if hashlib.sha256(raw).digest() != head[-32:]:
        raise Damaged("its header is damaged")
    try:
        header = _decode(raw)
    except msgspec.DecodeError as error:
        raise Damaged(f"its header is none: {error}") from None
    if os.fstat(fd).st_size != _begin(length) + header.size:
        raise Damaged("it is not whole")
    return header


def read_state(fd: int, wanted: Header) -> memoryview:
    """The state, mapped, after all of it was compared with its digest. It can be written to, which nobody else sees.
    `wanted`: what the file has to be, whatever its digest and size. Raises OSError, Damaged."""
    header = read_header(fd)
    if (header.identity, header.adapters, header.tokens) != (wanted.identity, wanted.adapters, wanted.tokens):
        raise Damaged("it holds something else")
    if not header.size:
        raise Damaged("it is empty")
    state = memoryview(mmap.mmap(fd, 0, access=mmap.ACCESS_COPY))[-header.size :]
    if hashlib.sha256(state).digest() != header.digest:
        raise Damaged("its state is damaged")
    return state


def _begin(header_length: int) -> int:
    """Where the state begins."""
    return -(-(_HEAD + header_length) // PAGE) * PAGE


def _write(fd: int, data: Buffer, place: int) -> None:
    view = memoryview(data)
    while view:
        written = os.pwrite(fd, view, place)
        view, place = view[written:], place + written
