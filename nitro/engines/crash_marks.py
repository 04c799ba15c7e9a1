"""Which sequences an engine process is at work on, in memory that outlives it: if it dies, they are read from there.

The engine writes, without a lock or a call to the system; the server reads when the process is gone.
"""

import mmap
import os
import struct
from collections.abc import Iterable
from itertools import islice

LANES = 8  # one for each thread that works
MAX_IDS = 511  # in a lane
_NUMBER = struct.Struct("<Q")
_LANE_SIZE = (MAX_IDS + 1) * _NUMBER.size  # bytes: the count, and the ids


class CrashMarks:
    """Shared between processes by a file descriptor, which is not needed any more once it is made; without one it is
    shared with nobody."""

    def __init__(self, fd: int = -1):
        self._memory = mmap.mmap(fd, LANES * _LANE_SIZE)
        self._written: list[list[int]] = [[] for _ in range(LANES)]  # by this process

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
        os.write(fd, bytes(LANES * _LANE_SIZE))  # written, not truncated to length: a lack of room shows here
    except OSError:
        os.close(fd)
        raise
    return fd
