"""What the ranks of a model tell each other beside what MLX sends: frames over TCP, which every rank opens to rank 0.

    Hello →  ← Join   Alive …  Arrived →  ← Meet   Loaded | Failed →   ← the calls of the runner   Alive … Failed →

Another connection begins with Pulse →, and then has a byte for each sign of life (`pulse`).

Knows no MLX. Nothing is encrypted, as MLX's own connections are not.
"""

import socket
from typing import Any

import msgspec
from msgspec import Struct

from nitro.engines.types import EngineSpec
from nitro.system.frames import WireMessage

VANISHED = 8  # seconds after which a machine that answers nothing is gone
_IDLE: int = next(getattr(socket, name) for name in ("TCP_KEEPIDLE", "TCP_KEEPALIVE") if hasattr(socket, name))

# To rank 0


class Pulse(WireMessage, frozen=True):
    """This connection is for signs of life."""

    secret: str
    rank: int


class Hello(WireMessage, frozen=True):
    """A rank has begun. `ports`: where it will listen for other ranks, one for each address of its host."""

    secret: str
    rank: int
    versions: str  # of Nitro and its libraries, which must be the same everywhere
    free: int  # bytes of memory
    ports: list[int]


class Arrived(WireMessage, frozen=True):
    """It has MLX, and looks for the others as soon as all are so far."""


class Loaded(WireMessage, frozen=True):
    """Its part of the weights is in memory."""


class Failed(WireMessage, frozen=True):
    """It cannot go on, and waits to be ended. `problem`: a sentence."""

    problem: str


class Alive(WireMessage, frozen=True):
    """Its threads run. `free`: bytes of memory."""

    free: int


# From rank 0


class Join(WireMessage, frozen=True):
    """Load this model together."""

    spec: EngineSpec
    environment: dict[str, str]  # for MLX
    files: dict[str, str]  # the same, but of files: what stands in each
    backend: str
    names: list[str]  # of all ranks
    beside: int  # ranks that share its machine's memory, itself among them
    beat: float  # seconds between two Alive


class Meet(WireMessage, frozen=True):
    """All have arrived: look for each other."""


class ChunkCall(Struct, frozen=True, array_like=True, gc=False):
    """A runner's Chunk, as far as other ranks need it. They know `known` tokens of the sequence; `tokens` follow."""

    sequence_id: int
    slot: int
    known: int
    tokens: list[int]
    start: int
    stop: int
    prompt_length: int
    draft: list[int]
    constrained: bool
    logprobs: int | None
    prompt_logprobs: bool


class Submit(WireMessage, frozen=True):
    """Compute this batch, and collect it."""

    batch: list[ChunkCall]


class Trim(WireMessage, frozen=True):
    """ModelRunner.trim."""

    slot: int
    length: int


class Copy(WireMessage, frozen=True):
    """ModelRunner.copy."""

    src: int
    dst: int
    length: int


class Free(WireMessage, frozen=True):
    """ModelRunner.free_sequence."""

    sequence_id: int


class Rest(WireMessage, frozen=True):
    """ModelRunner.release_idle_memory."""


class Reset(WireMessage, frozen=True):
    """ModelRunner.reset."""


Call = Submit | Trim | Copy | Free | Rest | Reset

decode_at_zero = msgspec.msgpack.Decoder(Pulse | Hello | Arrived | Loaded | Failed | Alive).decode
decode_at_others = msgspec.msgpack.Decoder(Join | Meet | Call).decode


class Errand(Struct, frozen=True):
    """What a rank is told on its standard input: where rank 0 is, and how it proves that it was started by it."""

    rank: int
    addresses: list[str]  # its own, for other ranks
    host: str
    port: int
    secret: str


def keep(sock: socket.socket) -> None:
    """Send small frames at once, and notice soon when the other machine is gone."""
    options: list[tuple[int, int, Any]] = [
        (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
        (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
        (socket.IPPROTO_TCP, _IDLE, VANISHED // 2),
        (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 1),
        (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, VANISHED // 2),
    ]
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        options.append((socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, VANISHED * 1000))
    for level, option, value in options:
        sock.setsockopt(level, option, value)
