"""The server's side of an engine: starts its process, keeps it alive, and carries generations to and from it.

Runs on the event loop of the server process, which never imports an engine. What the engine computes with is not known
here; what a request means is not either: work goes in, token ids and bytes come out.

    loading ──Ready──► ready ──the process dies──► pause ──► loading …
       ├──LoadFailed: the end where it was the first load, else pause ──► loading …
       └──no process to be had, for want of memory or descriptors: pause ──► loading …

It comes back for ever, after pauses that grow (`backoff.py`). Requests that it was at work on when it died are not to
be sent again; what is there at two deaths is refused for a while (`suspects.py`).
"""

import asyncio
import contextlib
import itertools
import logging
import time
from collections import deque
from typing import NamedTuple, Protocol

from nitro.engines import messages
from nitro.engines.client.backoff import Backoff
from nitro.engines.client.generation import Generation
from nitro.engines.client.process import EngineProcess
from nitro.engines.client.suspects import Suspects
from nitro.engines.types import EngineSpec, ModelInfo, StepRecord
from nitro.engines.work import EncodedWork
from nitro.errors import (
    EngineBusy,
    EngineDied,
    EngineDown,
    EngineError,
    PromptRejected,
    PromptTooLong,
    RequestRefused,
)
from nitro.system import frames
from nitro.system.child_process import SCARCE

log = logging.getLogger("nitro.engine")

SHORTAGE = 1.0  # seconds before a process is tried for again that could not be had
BRIEF = 1.0  # seconds of a pause that a request may as well wait for
STALL = 30.0  # seconds without a step, beyond the longest one seen, while work waits
RECORDS = 4096  # step records kept
LEFT = 256  # aborted sequences remembered


class Observer(Protocol):
    """Is told what happens to an engine."""

    def step(self, record: StepRecord) -> None: ...
    def engine_lost(self) -> None: ...
    def engine_restarted(self) -> None: ...


class Engine:
    """One model, served by one process at a time. Every method belongs to the event loop.

    `info` is the loaded model, None while none is ready; `failure` says for people why none is, unless it loads for the
    first time. Unless it `comes_back`, the end of a process that was ready is the end.
    """

    def __init__(
        self, spec: EngineSpec, max_queue: int = 64, observer: Observer | None = None, comes_back: bool = True
    ):
        self.spec = spec
        self.backoff = Backoff()
        self.suspects = Suspects()
        self._observer, self._comes_back = observer, comes_back
        self.info: ModelInfo | None = None
        self.failure: str | None = None
        self.restarts = 0
        self.steps: deque[StepRecord] = deque(maxlen=RECORDS)
        self._most = spec.parallel + max_queue  # sequences that run or wait
        self._stopped: EngineError | None = None  # set: no engine will come any more
        self._end = asyncio.Event()  # it is set
        self._first: ModelInfo | None = None  # of the first load
        self._loaded = asyncio.Event()  # it is there, or will never be
        self._waiting: set[asyncio.Future[None]] = set()  # for `info`
        self._live: dict[int, Generation] = {}  # by sequence id
        self._generations: set[Generation] = set()  # the same
        self._left: dict[int, bytes] = {}  # digests of the last aborted ones: the engine may still be at work on them
        self._ids = itertools.count(1)
        self._process: EngineProcess | None = None
        self._dead: EngineProcess | None = None  # the one before, which has not gone yet
        self._keeper: asyncio.Task[None] | None = None
        self._begun = self._ready_since = 0.0  # when the process was started, when its model was loaded
        self._loading = 0.0  # seconds that it took, the last time
        self._answered = False  # whether this process has answered a request, whole
        self._resumes = 0.0  # when the pause ends before the next process
        self._heard = 0.0  # when the engine last took a step, or got work after having none
        self._longest = 0.0  # step seen, seconds

    @property
    def down(self) -> bool:
        """Whether no engine will come any more."""
        return self._stopped is not None

    @property
    def stalled(self) -> str | None:
        """What is wrong, where work waits and no step has ended for too long: a call that never returns, say."""
        if not self.info or not self._accepted:
            return None
        silent = time.monotonic() - self._heard
        if silent <= STALL + self._longest:
            return None
        return f"The engine has work and has not taken a step for {silent:.0f} seconds."

    @property
    def _accepted(self) -> bool:
        """Whether the engine has something to compute; what is still made ready takes no steps."""
        return any(generation.accepted.done() for generation in self._generations)

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    def start(self) -> None:
        """Begin to load; `ready` tells the outcome."""
        self._keeper = asyncio.create_task(self._keep(), name="engine keeper")

    async def ready(self) -> ModelInfo:
        """The loaded model, as soon as it is.

        Raises EngineDown if the load under way fails or is not begun soon, EngineBusy if too many wait for it, or what
        `stop` got.
        """
        while not self._stopped:
            if self.info:
                return self.info
            if (pause := self._resumes - time.monotonic()) > BRIEF:
                raise EngineDown(f"{self.failure} It is started again after a pause.", pause + self._loading)
            if len(self._waiting) >= self._most:
                raise EngineBusy(f"{len(self._waiting)} requests wait for the model, and no more may queue.")
            news = asyncio.get_running_loop().create_future()
            self._waiting.add(news)
            try:
                await news
            finally:
                self._waiting.discard(news)
        raise self._stopped

    async def generate(self, work: EncodedWork) -> Generation:
        """Begin its sequences. Returns when the engine has accepted all, before it computes anything.

        Raises PromptTooLong, PromptRejected, RequestRefused, EngineBusy, EngineDown, or what `stop` got.
        """
        await self.ready()
        if refusal := self.suspects.refusal(work.digest):
            raise RequestRefused(refusal)
        self._check_queue(work.sequences)
        generation = Generation(self, list(itertools.islice(self._ids, work.sequences)), work.n, work.digest)
        self._generations.add(generation)
        self._live.update(dict.fromkeys(generation.ids, generation))
        try:
            self._send(messages.Generate(generation.ids, work.raw))
            await generation.accepted
        except BaseException:
            generation.abort()
            raise
        return generation

    def _check_queue(self, sequences: int) -> None:
        """Raises EngineBusy. Of a request count as many sequences as can run at once: it takes turns with the others.
        Alone it is welcome, however many they are."""
        parallel = self.spec.parallel
        there = sum(min(generation.open, parallel) for generation in self._generations)
        if there and there + min(sequences, parallel) > self._most:
            raise EngineBusy(f"{there} sequences run or wait, and no more may queue.")

    def stop(self, error: EngineError) -> None:
        """Every open generation ends with `error`, and so does whatever waits or comes later."""
        self._stopped = self._stopped or error
        self._end.set()
        self._loaded.set()
        self._lose(error)

    async def loaded(self) -> ModelInfo:
        """The model, when it is loaded for the first time, however long it takes. Raises what `stop` got before."""
        await self._loaded.wait()
        if self._first is None:
            assert self._stopped
            raise self._stopped
        return self._first

    async def ended(self) -> EngineError:
        """Wait until no engine will come any more: why."""
        await self._end.wait()
        assert self._stopped
        return self._stopped

    async def close(self) -> None:
        """End the process, after `stop`."""
        if self._keeper:
            self._keeper.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._keeper
        for process in (self._process, self._dead):
            if process:
                await process.reap()

    def _send(self, message: frames.Message) -> None:
        if self._process is not None:
            self._process.send(message)

    # What its generations tell

    def abort(self, ids: list[int]) -> None:
        known = {id: generation.digest for id in ids if (generation := self._live.pop(id, None))}
        if known:
            self._send(messages.Abort(list(known)))
            self._left |= known
            while len(self._left) > LEFT:
                del self._left[next(iter(self._left))]

    def over(self, generation: Generation, well: bool) -> None:
        self._generations.discard(generation)
        if well:
            self._answered = True
            self.suspects.answered(generation.digest)

    # One process after another

    async def _keep(self) -> None:
        """Run engine processes until the first load fails, or the task is cancelled."""
        while not self._stopped:
            death = await self._live_once()
            final = not death.scarce and (not self._first or (death.ready and not self._comes_back))
            pause = SHORTAGE if death.scarce else self.backoff.pause(death.lived, self._answered)
            self._resumes = time.monotonic() + pause
            self._bury(death, None if final else pause + self._loading)
            if final:
                self.stop(EngineDown(death.reason))
            else:
                log.error("%s The next is started in %.1f seconds.", death.reason, pause)
            if self._dead:
                await self._dead.reap()
                self._dead = None
            if not final:
                await asyncio.sleep(self._resumes - time.monotonic())
                self._restarted(death)

    def _restarted(self, death: "_Death") -> None:
        if not death.scarce:
            self.restarts += 1
            if self._observer:
                self._observer.engine_restarted()

    async def _live_once(self) -> "_Death":
        """One process from its start to its end."""
        self._begun, self._answered, reason = time.monotonic(), False, None
        try:
            self._process = await EngineProcess.start()
        except OSError as error:
            reason = f"The engine process could not be started: {error.strerror or error}."
            return _Death(reason, scarce=error.errno in SCARCE)
        try:
            self._send(messages.Load(self.spec))
            async for message in self._process.messages():
                if isinstance(message, messages.LoadFailed):
                    reason = message.message
                else:
                    self._receive(message)
        except Exception as error:
            log.exception("a message from the engine could not be handled")
            reason = f"The engine was ended after a fault in the server: {error!r}"
        ready = self.info is not None
        lived = time.monotonic() - self._ready_since if ready else 0.0
        return _Death(reason or await self._process.how_it_ended(), lived, ready)

    def _bury(self, death: "_Death", again: float | None) -> None:
        """What it was at work on is suspected of its death; all else may be sent `again`, after so many seconds."""
        self.failure = death.reason
        self._dead, self._process = self._process, None
        at_work = self._dead.at_work() if self._dead else set()
        suspects = {generation for id in at_work if (generation := self._live.get(id))}
        left = [self._left[id] for id in at_work & self._left.keys()]
        self.suspects.died(left + [generation.digest for generation in suspects], death.reason)
        for generation in suspects:
            generation.fail(EngineDied(f"{death.reason} It was at work on this request, which may be the cause."))
        self._lose(EngineDown(death.reason, again))
        self._left.clear()

    def _lose(self, error: EngineError) -> None:
        """No engine is there: what runs on it, and what waits for one, ends with `error`."""
        self.info = None
        if self._observer:
            self._observer.engine_lost()
        for generation in list(self._generations):
            generation.fail(error)
        for news in self._waiting:
            if not news.done():  # its request may have been cancelled just now
                news.set_exception(error)

    def _receive(self, message: messages.FromEngine) -> None:
        match message:
            case messages.Step(record, outputs):
                self.steps.append(record)
                self._heard = time.monotonic()
                self._longest = max(self._longest, record.seconds)
                if self._observer:
                    self._observer.step(record)
                for admission in record.admitted:
                    if generation := self._live.get(admission.id):
                        generation.admitted(admission.id, admission.cached, admission.queued)
                for output in outputs:
                    ended = output.finish is not None
                    if generation := self._live.pop(output.id, None) if ended else self._live.get(output.id):
                        generation.deliver(output)
            case messages.Accepted(id, prompt_tokens, echoes, unenforced):
                if generation := self._live.get(id):
                    if not self._accepted:
                        self._heard = time.monotonic()
                    generation.accept(prompt_tokens, echoes, unenforced)
            case messages.Rejected(id, text, param):
                if generation := self._live.get(id):
                    generation.fail(PromptRejected(text, param))
            case messages.TooLong(id, prompt_tokens, context, partly):
                if generation := self._live.get(id):
                    generation.fail(PromptTooLong(prompt_tokens, context, partly))
            case messages.Ready(info):
                self.info, self.failure = info, None
                self._first = self._first or info
                self._loaded.set()
                self._ready_since = time.monotonic()
                self._loading = self._ready_since - self._begun
                for news in self._waiting:
                    if not news.done():
                        news.set_result(None)


class _Death(NamedTuple):
    """How a process ended, or that there was none."""

    reason: str  # a sentence
    lived: float = 0.0  # seconds, from its model was loaded
    ready: bool = False
    scarce: bool = False  # this server is short of what a process needs; no engine is to blame
