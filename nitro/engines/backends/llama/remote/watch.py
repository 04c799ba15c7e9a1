"""Watches the workers of this process, so that whoever reads of its end reads which worker was to blame.

The backend ends the process where a worker is gone, and says no name. This thread notes names where the server finds
them (`last_words`), and ends the process when a worker goes while nothing is computed, or gives no sign of life. Where
workers give none at all (`pulse`), it ends one that gets nowhere while a model is loaded, when no watchdog looks yet.
"""

import logging
import os
import threading
import time
from collections.abc import Sequence

from nitro.engines.backends.llama import library
from nitro.engines.backends.llama.remote.connections import Connections
from nitro.engines.last_words import OF_THIS_PROCESS
from nitro.engines.remote.pulse import Pulse
from nitro.engines.remote.workers import Worker
from nitro.engines.silence import LIMIT, Silence
from nitro.engines.weights_read import OF_THIS_PROCESS as WEIGHTS

log = logging.getLogger("llama.cpp")

PERIOD = 0.2  # seconds between two looks
# In which nothing may happen while a model is loaded by workers of whose life nothing is known: memory is taken and
# cleared in between.
LOAD_SECONDS = 60.0
NOT_AT_ONCE = 0.2  # seconds that any answer may take


class WorkerWatch:
    """Of one engine process, from the first connection to its end."""

    def __init__(self, workers: Sequence[Worker]):
        self._pulses = {Pulse(worker): Silence(PERIOD) for worker in workers}
        self._connections = Connections(workers, lambda: [pulse.descriptor for pulse in self._pulses])
        self._names = [worker.name for worker in workers]
        self._is_loading = True
        self._read, self._read_at = -1, 0.0  # bytes of weights that were read, and when that was seen first
        self._ended = threading.Event()
        library.explain_aborts(self._explained)
        threading.Thread(target=self._watch, name="RPC workers", daemon=True).start()

    def loaded(self) -> None:
        """The model is there: connections stay, and answers take as long as what is computed."""
        self._is_loading = False

    def stop(self) -> None:
        """The model is freed: connections are closed."""
        self._ended.set()
        OF_THIS_PROCESS.wait_for("")

    def _watch(self) -> None:
        while not self._ended.wait(PERIOD):
            self._connections.keep_alive()
            problem = self._silent() or (self._stalled() if self._is_loading else self._gone())
            if problem and not self._ended.is_set():
                OF_THIS_PROCESS.replace(problem)
                log.error("%s", problem)
                os._exit(1)
            OF_THIS_PROCESS.wait_for(_unanswered(self._connections.awaited(NOT_AT_ONCE)))
        for pulse in self._pulses:
            pulse.close()

    def _silent(self) -> str:
        """A worker gave signs of life, and does no longer."""
        for pulse, silence in self._pulses.items():
            seconds = silence.look(pulse.heard())
            if seconds > LIMIT:
                return f"the RPC worker at {pulse.name} has given no sign of life for {seconds:.1f} seconds"
        return ""

    def _gone(self) -> str:
        gone = self._connections.gone()
        return f"{_worker(gone)} gone" if gone else ""

    def _stalled(self) -> str:
        """While a model is loaded: nothing goes to any worker or comes, and no weights are read. Nothing where all
        give signs of life: then it takes what it takes."""
        if all(pulse.has_begun for pulse in self._pulses):
            return ""
        now, read = time.monotonic(), WEIGHTS.progress.read
        if read != self._read:
            self._read, self._read_at = read, now
        if min(self._connections.silence(), now - self._read_at) < LOAD_SECONDS:
            return ""
        return _unanswered(self._connections.awaited(LOAD_SECONDS / 2)) or f"{_worker(self._names)} not answering"

    def _explained(self, text: str) -> str:
        """What an abort of the backend means."""
        if "rpc" not in text.lower():
            return text
        if gone := self._gone():
            return gone
        if said := _unanswered(self._connections.awaited(NOT_AT_ONCE)):
            return said
        return f"{_worker(self._names)} gone, or gave no answer"


def _worker(names: Sequence[str]) -> str:
    """ "the RPC worker at a:1 is", or of several."""
    if len(names) == 1:
        return f"the RPC worker at {names[0]} is"
    return f"of the RPC workers at {', '.join(names)} one at least is"


def _unanswered(awaited: dict[str, float]) -> str:
    found = [
        f"the RPC worker at {name} has not answered for {seconds:.1f} seconds" for name, seconds in awaited.items()
    ]
    return ", and ".join(found)
