"""Greets a worker, with a time limit, before llama.cpp's own client does: that one ends its process where nobody
listens, where another protocol is spoken or the connection is closed, and waits for ever where nobody answers.

The protocol (ggml-rpc.cpp and transport.h in llama.cpp, as it is in llama-cpp-python 0.3.36), all numbers little
endian. A request is a command (1 byte), the size of its data (8 bytes), its data; an answer is a size and data:

    HELLO              14   24 bytes: what the connection can, here nothing     major, minor, patch, 1 byte, 24 bytes
    DEVICE_COUNT       15   nothing                                            uint32
    GET_DEVICE_MEMORY  11   uint32: which device                               uint64 free, uint64 total; bytes

A worker serves one client at a time. Others are connected, and get no answer until their turn comes.
"""

import socket
import struct
import time

from msgspec import Struct

from nitro.engines.remote import pulse
from nitro.engines.remote.workers import Worker

HELLO, DEVICE_COUNT, DEVICE_MEMORY = 14, 15, 11
CAPABILITIES = bytes(24)
SECONDS = 5.0  # that a worker has for all of it
_REQUEST = struct.Struct("<BQ")
_SIZE = struct.Struct("<Q")
_MEMORY = struct.Struct("<QQ")
_MOST_DEVICES = 1024

Protocol = tuple[int, int, int]  # major, minor, patch


class WorkerFault(Exception):
    """Why a worker cannot be used: a sentence that names it."""


class Offer(Struct, frozen=True):
    """What a worker has. Bytes, of each of its devices."""

    protocol: Protocol
    free: list[int]
    total: list[int]


def greet(worker: Worker, protocol: Protocol | None = None, seconds: float = SECONDS) -> Offer:
    """What the worker offers. `protocol`: that of our own library, which it has to speak. Raises WorkerFault."""
    end = time.monotonic() + seconds
    who = f"The RPC worker at {worker.name}"
    try:
        sock = socket.create_connection((worker.address, worker.port), seconds)
    except TimeoutError:
        raise WorkerFault(f"{who} cannot be reached: no connection within {seconds:g} seconds.") from None
    except OSError as error:
        cure = "`nitro rpc-worker` on its machine starts one."
        raise WorkerFault(f"{who} cannot be reached: {error.strerror or error}. {cure}") from None
    with sock:
        try:
            return _talk(_Talk(sock, end), who, protocol)
        except TimeoutError:
            # Closed by a reset: else it would answer a client that is gone, later, and may die of it.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            why = (
                "it serves another client (one at a time)."
                if pulse.lives(worker)
                else "it serves another client (one at a time), or it has stopped."
            )
            said = f"{who} has taken the connection and not answered for {seconds:g} seconds: {why}"
            raise WorkerFault(said) from None
        except (EOFError, ConnectionError):
            raise WorkerFault(
                f"{who} has closed the connection instead of answering: it is none, or one of another version."
            ) from None


class _Talk:
    """Requests and answers over one connection. Raises TimeoutError at `end`, EOFError where the connection ends or an
    answer has another size, ConnectionError."""

    def __init__(self, sock: socket.socket, end: float):
        self._sock, self._end = sock, end

    def ask(self, command: int, data: bytes, size: int) -> bytes:
        """The answer, which has this size."""
        self._limit()
        self._sock.sendall(_REQUEST.pack(command, len(data)) + data)
        if _SIZE.unpack(self._read(_SIZE.size))[0] != size:
            raise EOFError
        return self._read(size)

    def _read(self, size: int) -> bytes:
        found = b""
        while len(found) < size:
            self._limit()
            got = self._sock.recv(size - len(found))
            if not got:
                raise EOFError
            found += got
        return found

    def _limit(self) -> None:
        left = self._end - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self._sock.settimeout(left)


def _talk(talk: _Talk, who: str, protocol: Protocol | None) -> Offer:
    major, minor, patch = talk.ask(HELLO, CAPABILITIES, 4 + len(CAPABILITIES))[:3]
    spoken = (major, minor, patch)
    if protocol and (major != protocol[0] or minor > protocol[1]):  # as negotiate_hello in ggml-rpc.cpp
        raise WorkerFault(
            f"{who} speaks version {written(spoken)} of llama.cpp's RPC protocol, and this machine {written(protocol)}."
            f" Have the same version of Nitro on both."
        )
    (count,) = struct.unpack("<I", talk.ask(DEVICE_COUNT, b"", 4))
    if not 0 < count <= _MOST_DEVICES:
        raise WorkerFault(f"{who} has {count} devices, which is no number of devices.")
    found = [_MEMORY.unpack(talk.ask(DEVICE_MEMORY, struct.pack("<I", i), _MEMORY.size)) for i in range(count)]
    return Offer(spoken, [free for free, _ in found], [total for _, total in found])


def written(protocol: Protocol) -> str:
    """As "7.0.0"."""
    return ".".join(map(str, protocol))
