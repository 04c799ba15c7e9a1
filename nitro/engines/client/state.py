"""What state an engine is in, and who waits for it to change. The state changes only here, on the event loop.

    LOADING ───the model is loaded───► READY ◄───the model is loaded─── RESTARTING ◄─┐ another process ended,
       │                                 │                                  ▲   └────┘ or could not be started
       │                                 └─────────the process ended────────┤
       ├──────────no process to be had, for want of memory or descriptors───┘
       └──the first load failed──► DOWN ◄── `stop`, from any state; and from READY the process's end, if the engine
                                            is not to come back

A READY engine may be stalled: it has work and takes no step (`stall.py`). It is READY all the same, since a step that
ends makes it well again.
"""

import asyncio
import time
from enum import Enum
from typing import NamedTuple

from msgspec.structs import replace

from nitro.engines.adapters import AdapterInfo
from nitro.engines.types import LoadProgress, ModelInfo
from nitro.errors import EngineBusy, EngineDown, EngineError

MAX_PATIENCE = 1.0  # seconds of a pause before a restart that a request simply waits for


class EngineState(Enum):
    """The values are those of `status` in `GET /health`, but for READY, which is "ok" there."""

    LOADING = "loading"  # for the first time
    READY = "ready"
    RESTARTING = "restarting"  # the next process loads, or will be started after a pause
    DOWN = "down"  # for good


class Pause(NamedTuple):
    """Before the next process: how many have failed soon, one after the other, and seconds that are left."""

    failures: int
    seconds: float


class Lifecycle:
    """The state of one engine.

    `info` is the loaded model, None unless READY. `failure` says for people why the engine is not READY; it is None
    while it loads for the first time, or where nothing failed. `progress`: how far a load is; None: none is under way,
    or it has not told yet.
    """

    def __init__(self, max_waiting: int):
        self.state = EngineState.LOADING
        self.info: ModelInfo | None = None
        self.failure: str | None = None
        self.progress: LoadProgress | None = None
        self.first_info: ModelInfo | None = None  # of the first load
        self.waiting: set[asyncio.Future[None]] = set()  # requests that wait for READY
        self.resumes = 0.0  # time.monotonic() when the pause before the next process ends
        self.load_seconds = 0.0  # of the last load
        self._max_waiting = max_waiting
        self._stopped: EngineError | None = None  # why it is DOWN
        self._down = asyncio.Event()
        self._first_outcome = asyncio.Event()  # of the first load: READY or DOWN

    def ready(self, info: ModelInfo, load_seconds: float) -> None:
        """A process has loaded the model."""
        if self.state is EngineState.DOWN:
            return
        self.state = EngineState.READY
        self.info = info
        self.failure = self.progress = None
        self.load_seconds = load_seconds
        self.first_info = self.first_info or info
        self._first_outcome.set()
        for waiting in self.waiting:
            if not waiting.done():
                waiting.set_result(None)

    def have_adapters(self, adapters: list[AdapterInfo]) -> None:
        """The loaded model has these now."""
        if self.info:
            self.info = replace(self.info, adapters=adapters)

    def lost(self, failure: str, resumes: float, error: EngineError) -> None:
        """No process is there: the next is started when the clock shows `resumes`. What waits ends with `error`."""
        self.failure = failure
        self.resumes = resumes
        if self.state is not EngineState.DOWN:
            self.state = EngineState.RESTARTING
        self._end_waiting(error)

    def stop(self, error: EngineError) -> None:
        """For good. What waits, or comes later, ends with `error`; only the first error counts."""
        self._stopped = self._stopped or error
        self.state = EngineState.DOWN
        self._down.set()
        self._first_outcome.set()
        self._end_waiting(error)

    def _end_waiting(self, error: EngineError) -> None:
        self.info = self.progress = None
        for waiting in self.waiting:
            if not waiting.done():  # its request may have been cancelled just now
                waiting.set_exception(error)

    async def until_ready(self) -> ModelInfo:
        """The loaded model, as soon as the engine is READY.

        Raises EngineDown if the load under way fails or is not begun soon, EngineBusy if too many wait, or what `stop`
        got.
        """
        while self._stopped is None:
            if self.info:
                return self.info
            pause = self.resumes - time.monotonic()
            if pause > MAX_PATIENCE:
                raise EngineDown(f"{self.failure} It is started again after a pause.", pause + self.load_seconds)
            if len(self.waiting) >= self._max_waiting:
                raise EngineBusy(f"{len(self.waiting)} requests wait for the model, and no more may queue.")
            change = asyncio.get_running_loop().create_future()
            self.waiting.add(change)
            try:
                await change
            finally:
                self.waiting.discard(change)
        raise self._stopped

    async def until_loaded(self) -> ModelInfo:
        """The model of the first load, however long that takes. Raises what `stop` got before."""
        await self._first_outcome.wait()
        if self.first_info is None:
            assert self._stopped
            raise self._stopped
        return self.first_info

    async def until_down(self) -> EngineError:
        """Wait until the engine is DOWN: why."""
        await self._down.wait()
        assert self._stopped
        return self._stopped
