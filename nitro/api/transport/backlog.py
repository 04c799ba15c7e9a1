"""What waits for a connection of TLS until its client reads: in pieces, each encrypted when there is room for it.

A transport of TLS encrypts all that it is given, and then knows no more of it: neither how much a client has not read,
nor whether it reads at all.
"""

from collections import deque
from collections.abc import Callable

PIECE = 2**16  # bytes that are encrypted together
ROOM = 2**16  # bytes that TLS holds before it says that it is full; 512 KiB is what it would say by itself


class Backlog:
    """Of one connection. `size`: bytes that wait here."""

    def __init__(self, write: Callable[[bytes], None], is_full: Callable[[], bool]):
        self.size = 0
        self._write = write
        self._is_full = is_full
        self._waiting: deque[memoryview] = deque()

    def write(self, data: bytes) -> None:
        """Behind what waits."""
        if len(data) <= PIECE and not self.size and not self._is_full():
            return self._write(data)
        if data:
            self._waiting.append(memoryview(data))
            self.size += len(data)
        self.go_on()

    def go_on(self) -> None:
        """There may be room."""
        while self.size and not self._is_full():
            first = self._waiting[0]
            piece = first[:PIECE]
            if len(first) > PIECE:
                self._waiting[0] = first[PIECE:]
            else:
                self._waiting.popleft()
            self.size -= len(piece)
            self._write(bytes(piece))
