"""Which sequences an engine process is at work on, in memory that outlives it: whoever it died of is found there.

The engine writes, without a lock or a call to the system; the server reads when the process is gone.
"""

import mmap
import os
import struct
import tempfile
from collections.abc import Iterable
from itertools import islice

LANES = 8  # one for each thread that works
MOST = 511  # ids in a lane
_NUMBER = struct.Struct("<Q")
_LANE = (MOST + 1) * _NUMBER.size


class Marks:
    """Shared between processes by a file descriptor, which is not needed any more once it is made; without one it is
    shared with nobody."""

    def __init__(self, fd: int = -1):
        self._memory = mmap.mmap(fd, LANES * _LANE)

    def write(self, lane: int, ids: Iterable[int] = ()) -> None:
        """What the thread of this lane is at work on now, and nothing else. Beyond `MOST` they are left out."""
        marked = list(islice(ids, MOST))
        struct.pack_into(f"<{len(marked) + 1}Q", self._memory, lane * _LANE, len(marked), *marked)

    def read(self) -> set[int]:
        """What all threads were at work on."""
        found: set[int] = set()
        for lane in range(LANES):
            (count,) = _NUMBER.unpack_from(self._memory, lane * _LANE)
            found.update(struct.unpack_from(f"<{min(count, MOST)}Q", self._memory, lane * _LANE + _NUMBER.size))
        return found


def shared_memory() -> int:
    """A file descriptor for Marks, to be closed by the caller. Raises OSError."""
    if hasattr(os, "memfd_create"):
        fd = os.memfd_create("nitro-marks")
    else:
        fd, path = tempfile.mkstemp()
        os.unlink(path)
    try:
        os.write(fd, bytes(LANES * _LANE))  # written, not cut to length: where there is no room, it is told here
    except OSError:
        os.close(fd)
        raise
    return fd
