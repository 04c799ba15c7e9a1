"""A worker's signs of life: over a connection of their own it sends a byte twice a second, whatever it computes.

`nitro rpc-worker` does so (scripts/ggml_rpc/sign_of_life.cpp); a worker that is llama.cpp's own closes the connection,
or leaves it unanswered while it serves somebody.
"""

import socket
from contextlib import suppress

from nitro.engines.remote.workers import Worker

ALIVE = b"\xc8"  # asks for them
SECONDS = 5.0  # to connect
AT_ONCE = 1.0  # seconds in which a worker that gives signs of life has given the first
MANY = 4096  # bytes: more than come between two looks


def lives(worker: Worker) -> bool:
    """Whether it gives a sign of life at once. False: it is stopped, or gives none."""
    try:
        with socket.create_connection((worker.address, worker.port), AT_ONCE) as sock:
            sock.sendall(ALIVE)
            return bool(sock.recv(1))
    except OSError:
        return False


class Pulse:
    """Of one worker, from now on. No fault of the connection is told: of a worker that is gone others know more."""

    def __init__(self, worker: Worker):
        self.name = worker.name
        self.has_begun = False  # whether it gives signs of life at all
        self._sock: socket.socket | None = None
        with suppress(OSError):
            self._sock = socket.create_connection((worker.address, worker.port), SECONDS)
            self._sock.sendall(ALIVE)
            self._sock.setblocking(False)

    @property
    def descriptor(self) -> int | None:
        """The connection's; None: there is none."""
        return self._sock.fileno() if self._sock else None

    def heard(self) -> bool:
        """Whether there was a sign since the last call. Nothing can be said of a worker that gives none: True."""
        if not self._sock:
            return True
        try:
            found = self._sock.recv(MANY)
        except BlockingIOError:
            return not self.has_begun
        except OSError:
            found = b""
        if not found:
            self.close()
        self.has_begun = bool(found)
        return True

    def close(self) -> None:
        """It is not asked any more."""
        if self._sock:
            self._sock.close()
            self._sock = None
