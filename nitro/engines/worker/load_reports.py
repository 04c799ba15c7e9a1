"""Tells the server, from a thread of its own, how far the load is, while another thread is inside a library.

Where a library maps a file, the system may read all of it before the library counts the first byte: so what this
process has read from disk counts as well, where the system tells that (proc_pid_io(5): read_bytes).
"""

from __future__ import annotations

import logging
import socket
import threading
from pathlib import Path
from typing import Self

from nitro.engines import messages
from nitro.engines.types import LoadProgress
from nitro.engines.weights_read import OF_THIS_PROCESS, WeightsRead
from nitro.system import frames

EVERY = 0.25  # seconds between two reports

log = logging.getLogger("nitro.engine")


class LoadReports(threading.Thread):
    """As a context: reports until it is left. Nobody else may write to the socket meanwhile."""

    def __init__(self, sock: socket.socket, weights: WeightsRead = OF_THIS_PROCESS, every: float = EVERY):
        super().__init__(name="load reports", daemon=True)
        self._sock = sock
        self._weights = weights
        self._every = every
        self._over = threading.Event()

    def run(self) -> None:
        """Report now and then, also where nothing has come: it takes long all the same."""
        before = 0  # bytes that were read from disk when the total was last seen to change
        total = 0
        try:
            while not self._over.wait(self._every):
                counted = self._weights.progress
                on_disk = disk_bytes()
                if counted.total != total:
                    before, total = on_disk - counted.read, counted.total
                progress = LoadProgress(min(max(counted.read, on_disk - before), total), total)
                if total:
                    self._sock.sendall(frames.frame(messages.Loading(progress)))
        except OSError:
            return  # the server is gone, which the reader sees
        except Exception:  # a load without reports is a load
            log.exception("the progress of the load cannot be told")

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self.join()


def disk_bytes() -> int:
    """Bytes that this process has had read from disk; 0 where the system does not say."""
    try:
        lines = Path("/proc/self/io").read_text().splitlines()
        return int(dict(line.split(": ") for line in lines)["read_bytes"])
    except (OSError, KeyError, ValueError):
        return 0
