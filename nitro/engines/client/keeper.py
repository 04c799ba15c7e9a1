"""Keeps an engine process alive: starts one after another, for ever, after pauses that grow (`backoff.py`).

A process that is killed while it loads has done nothing wrong: another one loads at once, and what waits waits on. If
that one is killed as well, the reason may lie with the model. One that the system has ended for want of memory is not
tried again at once: it would take as much.

Requests that a process was at work on when it died are not to be sent again; what is there at two deaths is refused for
a while (`suspects.py`). All other requests may be sent again.
"""

import asyncio
import contextlib
import logging
import signal
import time
from typing import NamedTuple, Protocol

from nitro.engines import messages
from nitro.engines.client import spawn
from nitro.engines.client.backoff import Backoff
from nitro.engines.client.generations import Generations
from nitro.engines.client.process import EngineProcess
from nitro.engines.client.spawn import SpawnedEngine
from nitro.engines.client.state import EngineState, Lifecycle
from nitro.engines.types import EngineSpec, LoadProgress
from nitro.errors import EngineDown, EngineOutOfMemory
from nitro.system.child_process import SCARCE
from nitro.system.frames import WireMessage

log = logging.getLogger("nitro.engine")

SHORTAGE = 1.0  # seconds before another try to start a process


class Listener(Protocol):
    """Receives what a process sends, and learns of its end."""

    def receive(self, message: messages.FromEngine) -> None:
        """The process sent this. Whatever is raised here ends the process."""

    def loading(self, progress: LoadProgress | None) -> None:
        """How far its load is; None: it is over, however it ended."""

    def begun(self) -> None:
        """The process has loaded the model, and takes requests."""

    def lost(self) -> None:
        """The process ended."""

    def restarting(self) -> None:
        """Another process is started after one that ended."""


class _Death(NamedTuple):
    """How a process ended, or that there was none."""

    reason: str  # a sentence
    ready: bool = False  # whether its model was loaded
    lived: float = 0.0  # seconds since then
    killed: bool = False  # by SIGKILL, which is no fault of its own
    lacked_memory: bool = False  # the system ended it for that
    out_of_resources: bool = False  # this server is short of what a process needs; no engine is to blame

    def error(self, again: float | None = None) -> EngineDown:
        """What those are told that wanted it."""
        return (EngineOutOfMemory if self.lacked_memory else EngineDown)(self.reason, again)


class Keeper:
    """Runs one process at a time, and changes the engine's state as they come and go.

    It gives up if the very first load fails and, unless the engine `comes_back`, when a process dies that was ready.
    """

    def __init__(
        self,
        spec: EngineSpec,
        lifecycle: Lifecycle,
        generations: Generations,
        listener: Listener,
        comes_back: bool,
        first: SpawnedEngine | None = None,
    ):
        """`first`: a process that loads already, and is taken instead of starting one."""
        self.spec = spec  # of the next process
        self.backoff = Backoff()
        self.process: EngineProcess | None = None
        self.ending: EngineProcess | None = None  # the one before, which has not gone yet
        self.started = 0.0  # time.monotonic() when the process was started
        self.restarts = 0
        self._lifecycle = lifecycle
        self._generations = generations
        self._listener = listener
        self._comes_back = comes_back
        self._ready_since = 0.0
        self._killed_in_load = False  # the last process
        self._problem: str | None = None  # why it is useless, or was ended, as far as that is known
        self._first = first
        self._task: asyncio.Task[None] | None = None

    @property
    def started_once(self) -> bool:
        """Whether `start` was called."""
        return self._task is not None

    def start(self) -> None:
        """Begin. Returns at once."""
        self._task = asyncio.create_task(self._keep(), name="engine keeper")

    def send(self, message: WireMessage) -> None:
        """Send to the process, if there is one."""
        if self.process is not None:
            self.process.send(message)

    def kill(self, why: str) -> None:
        """End the process, though it takes its requests; they are told why."""
        if self.process:
            waits = self.process.recent_words()
            self._problem = f"{why} It said last: {waits}." if waits else why
            self.process.abandon()

    async def close(self) -> None:
        """End the process, and start no other."""
        if self._first:
            spawn.end(self._first)
        if self._task:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        for process in (self.process, self.ending):
            if process:
                await process.reap()

    async def _keep(self) -> None:
        while self._lifecycle.state is not EngineState.DOWN:
            answered = self._generations.completed
            death = await self._run_process()
            if self._tries_again(death):
                log.error("%s It was loading the model, which is tried once more.", death.reason)
                await self._reap()
                self._count_restart(death)
                continue
            if death.out_of_resources:
                pause = SHORTAGE
            else:
                pause = self.backoff.pause(death.lived, self._generations.completed > answered)
            resumes = time.monotonic() + pause
            final = self._is_final(death)
            self._handle_death(death, resumes, None if final else pause + self._lifecycle.load_seconds)
            if final:
                self._lifecycle.stop(death.error())
            else:
                log.error("%s The next is started in %.1f seconds.", death.reason, pause)
            await self._reap()
            if not final:
                await asyncio.sleep(resumes - time.monotonic())
                self._count_restart(death)

    def _tries_again(self, death: _Death) -> bool:
        """Whether the next process takes over what waits for this one's load."""
        before, self._killed_in_load = self._killed_in_load, death.killed and not death.ready
        return self._killed_in_load and not before and self._comes_back

    async def _reap(self) -> None:
        """See the last process off."""
        self.ending, self.process = self.process or self.ending, None
        if self.ending:
            await self.ending.reap()
            self.ending = None

    def _is_final(self, death: _Death) -> bool:
        if death.out_of_resources:
            return False
        return self._lifecycle.first_info is None or (death.ready and not self._comes_back)

    def _count_restart(self, death: _Death) -> None:
        if not death.out_of_resources:
            self.restarts += 1
            self._listener.restarting()

    async def _run_process(self) -> _Death:
        """One process from its start to its end."""
        self._problem = None
        try:
            spawned = self._first or spawn.load(self.spec)
            self._first = None
            self.started = spawned.since
            self.process = await EngineProcess.attached(spawned)
        except OSError as error:
            problem = f"The engine process could not be started: {error.strerror or error}."
            return _Death(problem, out_of_resources=error.errno in SCARCE)
        try:
            await self.process.messages(self._receive)
        except Exception as error:
            log.exception("a message from the engine could not be handled")
            self._problem = f"The engine was ended after a fault in the server: {error!r}"
        self._loading(None)
        ready = self._ready_since > self.started
        lived = time.monotonic() - self._ready_since if ready else 0.0
        reason = self._problem or await self.process.how_it_ended()
        lacked = self.process.lacked_memory
        killed = not self._problem and not lacked and self.process.status == -signal.SIGKILL
        return _Death(reason, ready, lived, killed, lacked)

    def _receive(self, burst: list[messages.FromEngine]) -> None:
        """What the process sent together. Of all of it a generation is told once."""
        self._generations.hold()
        try:
            for message in burst:
                match message:
                    case messages.LoadFailed(problem):
                        self._problem = problem
                    case messages.Loading(progress):
                        self._loading(progress)
                    case messages.Ready(info):
                        self._ready_since = time.monotonic()
                        self._loading(None)
                        self._lifecycle.ready(info, self._ready_since - self.started)
                        self._listener.begun()
                    case _:
                        self._listener.receive(message)
        finally:
            self._generations.tell()

    def _loading(self, progress: LoadProgress | None) -> None:
        self._lifecycle.progress = progress
        self._listener.loading(progress)

    def _handle_death(self, death: _Death, resumes: float, retry_after: float | None) -> None:
        """What the process was at work on is suspected of its death; all else may be sent again, `retry_after` seconds
        from now."""
        self.ending = self.process
        self.process = None
        at_work = self.ending.at_work() if self.ending else set()
        error = death.error(retry_after)
        self._generations.blame(at_work, death.reason)
        self._lifecycle.lost(death.reason, resumes, error)
        self._generations.lost(error)
        self._listener.lost()
