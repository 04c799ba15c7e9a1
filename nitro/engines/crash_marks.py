"""Which sequences an engine process is at work on, how far it is, and what it said last, in memory that outlives it: if
it dies, that is read from there.

The engine writes, without a lock or a call to the system. The server reads when the process is gone and, to see whether
it gets anywhere, while it lives.
"""

import mmap
import os
import struct
from collections.abc import Iterable
from itertools import islice

LANES = 8  # one for each thread that works
ENGINE_THREAD = 0  # the lane of the one that computes; the others make requests ready
MAX_IDS = 511  # in a lane
_NUMBER = struct.Struct("<Q")
_LANE_SIZE = (MAX_IDS + 1) * _NUMBER.size  # bytes: the count, and the ids
_BEATS = LANES * _LANE_SIZE  # where a number for each lane begins
_WORDS = _BEATS + LANES * _NUMBER.size  # where the last words begin
_SAID = struct.Struct("<dQ")  # of the last words: time.monotonic() and how many bytes, which follow
MAX_WORDS = 512  # bytes
SIZE = _WORDS + _SAID.size + MAX_WORDS


class CrashMarks:
    """Shared between processes by a file descriptor, which is not needed any more once it is made; without one it is
    shared with nobody."""

    def __init__(self, fd: int = -1):
        self._memory = mmap.mmap(fd, SIZE)
        self._written: list[list[int]] = [[] for _ in range(LANES)]  # by this process
        self._beaten = [0] * LANES  # the same

    def write(self, lane: int, ids: Iterable[int] = ()) -> None:
        """The thread of this lane is at work on these now, and on nothing else. Those beyond `MAX_IDS` are left out."""
        marked = list(islice(ids, MAX_IDS))
        if marked == self._written[lane]:  # as from one step to the next
            return
        self._written[lane] = marked
        struct.pack_into(f"<{len(marked) + 1}Q", self._memory, lane * _LANE_SIZE, len(marked), *marked)

    def read(self) -> set[int]:
        """What all threads were at work on."""
        found: set[int] = set()
        for lane in range(LANES):
            begin = lane * _LANE_SIZE
            (count,) = _NUMBER.unpack_from(self._memory, begin)
            found.update(struct.unpack_from(f"<{min(count, MAX_IDS)}Q", self._memory, begin + _NUMBER.size))
        return found

    def beat(self, lane: int) -> None:
        """What this lane is at work on has got further."""
        self._beaten[lane] += 1
        _NUMBER.pack_into(self._memory, _BEATS + lane * _NUMBER.size, self._beaten[lane])

    def progress(self) -> dict[int, tuple[int, ...]]:
        """Of each lane that is at work: something that is another as soon as it has got further."""
        found = {}
        for lane in range(LANES):
            count, first = struct.unpack_from("<2Q", self._memory, lane * _LANE_SIZE)
            if count:
                found[lane] = (count, first, *_NUMBER.unpack_from(self._memory, _BEATS + lane * _NUMBER.size))
        return found

    def say(self, words: str, now: float) -> None:
        """What the process says of a fault that may end it, and when (time.monotonic()). As much as fits is kept."""
        data = words.encode(errors="replace")[:MAX_WORDS]
        begin = _WORDS + _SAID.size
        self._memory[begin : begin + len(data)] = data
        _SAID.pack_into(self._memory, _WORDS, now, len(data))

    def words(self) -> tuple[str, float]:
        """What it said last, and when; empty: nothing."""
        at, length = _SAID.unpack_from(self._memory, _WORDS)
        begin = _WORDS + _SAID.size
        return self._memory[begin : begin + min(length, MAX_WORDS)].decode(errors="ignore"), at

    def close(self) -> None:
        """Give the memory back, and its file descriptor. Nothing else may be called afterwards."""
        self._memory.close()


def shared_memory() -> int:
    """A file descriptor for CrashMarks, to be closed by the caller. Raises OSError."""
    if hasattr(os, "memfd_create"):
        fd = os.memfd_create("nitro-marks")
    else:
        import tempfile  # brings three libraries to compress

        fd, path = tempfile.mkstemp()
        os.unlink(path)
    try:
        os.write(fd, bytes(SIZE))  # written, not truncated to length: a lack of room shows here
    except OSError:
        os.close(fd)
        raise
    return fd
