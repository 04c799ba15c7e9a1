"""The server's side of an engine: starts its process, keeps it alive, and carries generations to and from it.

Runs on the event loop of the server process, which never imports an engine. What the engine computes with is not known
here; what a request means is not either: work goes in, token ids and bytes come out.

    loading ──Ready──► ready ──the process dies──► back-off ──► loading …
       └──LoadFailed: the end where it was the first load, else back-off ──► loading …

    Three ends within a minute are the end.
"""

import asyncio
import contextlib
import itertools
import logging
import time
from collections import deque
from typing import Protocol

import msgspec

from nitro.engines import wire
from nitro.engines.process import EngineProcess
from nitro.engines.types import EngineSpec, ModelInfo, Output, StepRecord
from nitro.engines.work import EncodedWork
from nitro.errors import (
    EngineBusy,
    EngineDown,
    EngineError,
    EngineStaysDown,
    PromptRejected,
    PromptTooLong,
    SchemaUnkept,
    SequenceFailed,
)

log = logging.getLogger("nitro.engine")

BACKOFF = (0.0, 0.5)  # seconds before a restart: the first within STEADY, the second
MOST_DEATHS = 3  # within STEADY: it stays down
STEADY = 60.0  # seconds
STALL = 30.0  # seconds without a step, beyond the longest one seen, while work waits
RECORDS = 4096  # step records kept


class Generation:
    """The sequences of one request, index 0 to n−1 on its first prompt, and so on, from acceptance to end. Made by
    `Engine.generate`.

    Iterate to get bursts of (index, Output): all that came since the last burst, in order. Raises EngineError where a
    sequence failed or the engine died. `abort` may be called at any time, from anywhere, more than once.
    """

    def __init__(self, engine: "Engine", ids: list[int], n: int):
        self.ids = ids
        self.n = n  # sequences on each prompt
        self.prompt_tokens = 0  # of all prompts
        self.echoes: list[list[bytes]] = []  # the tokens of each prompt, if asked for
        self.unenforced: list[str] = []  # what of the constraint's schemas is let through
        self.cached_tokens = 0
        self.queue_seconds: float | None = None  # until the first sequence got its slot; None: still queued
        self._engine = engine
        self._index = {id: i for i, id in enumerate(ids)}
        self._begun: set[int] = set()  # prompts
        self._open = set(ids)
        self._burst: list[tuple[int, Output]] = []
        self._error: EngineError | None = None
        self._news = asyncio.Event()
        self.accepted: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def __aiter__(self) -> "Generation":
        return self

    async def __anext__(self) -> list[tuple[int, Output]]:
        if self._burst:
            await asyncio.sleep(0)  # a consumer that never waits would starve the loop
        while not self._burst:
            if self._error:
                raise self._error
            if not self._open:
                raise StopAsyncIteration
            self._news.clear()
            await self._news.wait()
        burst, self._burst = self._burst, []
        return burst

    def stop(self, index: int) -> None:
        """Enough of this sequence: nothing more comes of it."""
        self._drop([self.ids[index]])

    def abort(self) -> None:
        """Enough of all."""
        self._drop(list(self._open))

    def _drop(self, ids: list[int]) -> None:
        if open_ids := [id for id in ids if id in self._open]:
            self._open.difference_update(open_ids)
            self._engine._abort(open_ids)
            self._news.set()

    # Called as frames arrive

    def _accept(self, prompt_tokens: int, echoes: list[list[bytes]], unenforced: list[str]) -> None:
        self.prompt_tokens, self.echoes, self.unenforced = prompt_tokens, echoes, unenforced
        if not self.accepted.done():
            self.accepted.set_result(None)

    def _admitted(self, id: int, cached: int, queued: float) -> None:
        """Of a prompt, what its first sequence found cached counts."""
        if self.queue_seconds is None:
            self.queue_seconds = queued
        if (prompt := self._index[id] // self.n) not in self._begun:
            self._begun.add(prompt)
            self.cached_tokens += cached

    def _deliver(self, output: Output) -> None:
        if output.finish:
            self._open.discard(output.id)
        if output.finish == "error":
            self._fail(_failure(output))
        else:
            self._burst.append((self._index[output.id], output))
            self._news.set()

    def _fail(self, error: EngineError) -> None:
        self.abort()
        self._error = self._error or error
        self._news.set()
        if not self.accepted.done():
            self.accepted.set_exception(error)
            self.accepted.exception()  # seen, even if nobody waits any more


def _failure(output: Output) -> EngineError:
    error = output.error or "The engine failed."
    if output.unkept:
        return SchemaUnkept(error, output.param)
    return PromptRejected(error, output.param) if output.param else SequenceFailed(error)


class Observer(Protocol):
    """Is told what happens to an engine."""

    def step(self, record: StepRecord) -> None: ...
    def engine_lost(self) -> None: ...
    def engine_restarted(self) -> None: ...


class Engine:
    """One model, served by one process at a time. Every method belongs to the event loop.

    `info` is the loaded model, None while none is ready; `failure` says for people why none is, unless it loads for the
    first time.
    """

    def __init__(self, spec: EngineSpec, max_queue: int = 64, observer: Observer | None = None):
        self.spec = spec
        self._observer = observer
        self.info: ModelInfo | None = None
        self.failure: str | None = None
        self.restarts = 0
        self.steps: deque[StepRecord] = deque(maxlen=RECORDS)
        self._most = spec.parallel + max_queue  # sequences that run or wait
        self._stopped: EngineError | None = None  # set: no engine will come any more
        self._waiting: set[asyncio.Future[None]] = set()  # for `info`
        self._live: dict[int, Generation] = {}  # by sequence id
        self._ids = itertools.count(1)
        self._process: EngineProcess | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._heard = 0.0  # when the engine last took a step, or got work after having none
        self._longest = 0.0  # step seen, seconds

    @property
    def down(self) -> bool:
        """Whether no engine will come any more."""
        return self._stopped is not None

    @property
    def stalled(self) -> str | None:
        """What is wrong, where work waits and no step has ended for too long: a call that never returns, say."""
        if not self.info or not self._live:
            return None
        silent = time.monotonic() - self._heard
        if silent <= STALL + self._longest:
            return None
        return f"The engine has work and has not taken a step for {silent:.0f} seconds."

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    def start(self) -> None:
        """Begin to load; `ready` tells the outcome."""
        self._keeper = asyncio.create_task(self._keep(), name="engine keeper")

    async def ready(self) -> ModelInfo:
        """The loaded model, as soon as it is.

        Raises EngineDown if the load under way fails, EngineBusy if too many wait for it, or what `stop` got.
        """
        while not self._stopped:
            if self.info:
                return self.info
            if len(self._waiting) > self._most:  # the server itself is one of those who wait
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

        Raises PromptTooLong, PromptRejected, EngineBusy, EngineDown, or what `stop` got.
        """
        await self.ready()
        count = work.sequences
        if self._live and len(self._live) + count > self._most:  # alone one is welcome, however many choices it wants
            raise EngineBusy(f"{len(self._live)} sequences run or wait, and no more may queue.")
        generation = Generation(self, list(itertools.islice(self._ids, count)), work.n)
        if not self._live:
            self._heard = time.monotonic()
        self._live.update(dict.fromkeys(generation.ids, generation))
        try:
            self._send(wire.Generate(generation.ids, msgspec.Raw(work.raw)))
            await generation.accepted
        except BaseException:
            generation.abort()
            raise
        return generation

    def stop(self, error: EngineError) -> None:
        """Every open generation ends with `error`, and so does whatever waits or comes later."""
        self._stopped = error
        self._lose(error)

    async def close(self) -> None:
        """End the process, after `stop`."""
        process = self._process
        if self._keeper:
            self._keeper.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._keeper
        if process:
            await process.reap()

    def _send(self, message: wire.Message) -> None:
        if self._process is not None:
            self._process.send(message)

    def _abort(self, ids: list[int]) -> None:
        if known := [id for id in ids if self._live.pop(id, None)]:
            self._send(wire.Abort(known))

    # One process after another

    async def _keep(self) -> None:
        """Run engine processes until the first load fails, or they die too often, or the task is cancelled."""
        deaths: list[float] = []
        while True:
            reason, ready = await self._live_once()
            if not ready and self.restarts == 0:
                return self.stop(EngineDown(reason))
            log.error(reason)
            now = time.monotonic()
            deaths = [*(death for death in deaths if now - death < STEADY), now]
            if len(deaths) == MOST_DEATHS:
                self.failure = f"The engine ended {MOST_DEATHS} times within a minute and stays down. {reason}"
                log.error(self.failure)
                return self.stop(EngineStaysDown(self.failure))
            await asyncio.sleep(BACKOFF[len(deaths) - 1])
            self.restarts += 1
            if self._observer:
                self._observer.engine_restarted()

    async def _live_once(self) -> tuple[str, bool]:
        """One process from its start to its end: why it ended, as a sentence, and whether it was ever ready."""
        process = reason = None
        ready = False
        try:
            self._process = process = await EngineProcess.start()
            process.send(wire.Load(self.spec))
            async for message in process.messages():
                if isinstance(message, wire.LoadFailed):
                    reason = message.message
                else:
                    ready = True
                    self._receive(message)
        except OSError as error:
            reason = f"The engine process could not be started: {error}."
        except Exception as error:
            log.exception("a message from the engine could not be handled")
            reason = f"The engine was ended after a fault in the server: {error!r}"
        self._process = None
        if process and not reason:
            reason = await process.how_it_ended()
        assert reason is not None
        self.failure = reason
        self._lose(EngineDown(reason))
        if process:
            await process.reap()
        return reason, ready

    def _lose(self, error: EngineError) -> None:
        """No engine is there: what runs on it, and what waits for one, ends with `error`."""
        self.info = None
        if self._observer:
            self._observer.engine_lost()
        generations = set(self._live.values())
        self._abort(list(self._live))
        for generation in generations:
            generation._fail(error)
        for news in self._waiting:
            if not news.done():  # its request may have been cancelled just now
                news.set_exception(error)

    def _receive(self, message: wire.FromEngine) -> None:
        match message:
            case wire.Step(record, outputs):
                self.steps.append(record)
                self._heard = time.monotonic()
                self._longest = max(self._longest, record.seconds)
                if self._observer:
                    self._observer.step(record)
                for admission in record.admitted:
                    if generation := self._live.get(admission.id):
                        generation._admitted(admission.id, admission.cached, admission.queued)
                for output in outputs:
                    ended = output.finish is not None
                    if generation := self._live.pop(output.id, None) if ended else self._live.get(output.id):
                        generation._deliver(output)
            case wire.Accepted(id, prompt_tokens, echoes, unenforced):
                if generation := self._live.get(id):
                    generation._accept(prompt_tokens, echoes, unenforced)
            case wire.Rejected(id, text, param):
                if generation := self._live.get(id):
                    generation._fail(PromptRejected(text, param))
            case wire.TooLong(id, prompt_tokens, context, partly):
                if generation := self._live.get(id):
                    generation._fail(PromptTooLong(prompt_tokens, context, partly))
            case wire.Ready(info):
                self.info, self.failure = info, None
                for news in self._waiting:
                    if not news.done():
                        news.set_result(None)
