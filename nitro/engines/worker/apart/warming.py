"""Starts a process apart before anybody needs it, while the engine computes nothing: otherwise the first constraint
would wait for it, for more than half a second.

It takes a processor's time to begin. As soon as a request comes it is given up, and tried again later.
"""

import logging
import threading
import time
from collections.abc import Callable

from nitro.engines.worker.apart.processes import Processes
from nitro.engines.worker.jobs import NoHelp

log = logging.getLogger("nitro.engine")

QUIET = 3.0  # seconds without a request
LOOK = 0.1  # seconds between two looks whether there is one


class Warming:
    """Of one engine, after its load. `is_busy`: whether there is a request; any thread may ask."""

    def __init__(self, processes: Processes, is_busy: Callable[[], bool]):
        self._processes = processes
        self._is_busy = is_busy

    def start(self) -> None:
        """On a thread of its own, if one is to be had."""
        try:
            threading.Thread(target=self.run, name="warming", daemon=True).start()
        except RuntimeError as error:  # its stack would be more memory than there may be
            log.warning("no process is begun before the first constraint: %s", error)

    def run(self) -> None:
        """Until there is a process, or somebody's question has started one, or none can be had."""
        try:
            while not self._processes.began:
                self._wait()
                if self._processes.began or self._processes.warm(lambda: not self._is_busy()):
                    return
        except NoHelp as error:
            log.warning("constraints cannot be compiled: %s", error)
        except Exception:  # the first constraint does without, or says what is wrong
            log.exception("no process apart could be prepared")

    def _wait(self) -> None:
        since = time.monotonic()
        while time.monotonic() - since < QUIET:
            time.sleep(LOOK)
            if self._is_busy():
                since = time.monotonic()
