"""The server's side of an engine: starts its process, keeps it alive, and carries requests to and from it.

Runs on the event loop of the server process, which never imports an engine. What the engine computes with is not known
here; what a request means is not either: work goes in, token ids and bytes come out.

    Engine ─┬─ Lifecycle     loading, ready, restarting, down; who waits for that (`state.py`)
            ├─ Keeper        one process after another (`keeper.py`, `process.py`, `backoff.py`)
            ├─ Generations   requests under way, and what comes back for them (`generations.py`, `generation.py`)
            ├─ Suspects      requests that an engine may have died of (`suspects.py`)
            ├─ StallWatch    whether steps end (`stall.py`)
            └─ Watchdog      ends a process whose steps do not, if that is wanted (`watchdog.py`)
"""

import itertools
import time
from collections import deque
from collections.abc import Callable, Coroutine, Mapping
from functools import partial
from typing import Any, Protocol

from msgspec.structs import replace

from nitro.engines import messages
from nitro.engines.adapters import AdapterInfo, AdapterSource
from nitro.engines.client.embedding import Embedding
from nitro.engines.client.generation import Generation
from nitro.engines.client.generations import Generations
from nitro.engines.client.keeper import Keeper
from nitro.engines.client.spawn import SpawnedEngine
from nitro.engines.client.stall import StallWatch
from nitro.engines.client.state import EngineState, Lifecycle, Pause
from nitro.engines.client.suspects import Suspects
from nitro.engines.client.watchdog import Standstill, Watchdog
from nitro.engines.crash_marks import ENGINE_THREAD
from nitro.engines.shares import NOBODYS, Share
from nitro.engines.types import EngineSpec, LoadProgress, ModelInfo, Overflow, SlotState, StepRecord
from nitro.engines.work import EncodedEmbeddingWork, EncodedWork
from nitro.errors import EngineError, RequestRefused
from nitro.system.frames import WireMessage

MAX_RECORDS = 4096  # step records kept
NO_WORK = b""  # the digest of questions that no request can be suspected for


class Observer(Protocol):
    """Learns what happens to an engine, for metrics."""

    def step(self, record: StepRecord) -> None:
        """A step has ended."""

    def engine_lost(self) -> None:
        """The process ended, or the engine was stopped: nothing runs or waits."""

    def engine_restarted(self) -> None:
        """Another process is started."""


class Watcher(Protocol):
    """Sees what an engine computes, while somebody looks."""

    def step(self, message: messages.Step) -> None:
        """A step has ended."""

    def slots(self, slots: list[SlotState]) -> None:
        """What the slots hold, a few times a second while something is computed."""

    def lost(self) -> None:
        """The process has ended, and what it held is gone."""


class Engine:
    """One model, served by one process at a time. Every method belongs to the event loop.

    Unless it `comes_back`, the end of a process that was ready is the end.
    """

    def __init__(
        self,
        spec: EngineSpec,
        max_queue: int = 64,
        observer: Observer | None = None,
        comes_back: bool = True,
        first: SpawnedEngine | None = None,
        loading: Callable[[LoadProgress | None], None] = lambda progress: None,
        stall_timeout: float | None = None,
    ):
        """`first`: a process that loads this model already, and is taken instead of starting one. `loading`: called
        with how far a load is, a few times a second, and with None when it is over. `stall_timeout`: seconds without a
        step, or at one piece of a request's preparation, after which a process that has work is ended; None: none."""
        max_sequences = spec.parallel + max_queue  # that run or wait
        self.spec = spec
        self._adapter_ids = itertools.count(len(spec.adapters or spec.lora))
        self.suspects = Suspects()
        self.steps: deque[StepRecord] = deque(maxlen=MAX_RECORDS)
        self.lifecycle = Lifecycle(max_waiting=max_sequences)
        self.generations = Generations(spec.parallel, max_sequences, self.suspects, self._send)
        self.keeper = Keeper(spec, self.lifecycle, self.generations, listener=self, comes_back=comes_back, first=first)
        self._stall = StallWatch()
        self._standstill = Standstill()
        self._watchdog = Watchdog(stall_timeout, self._gets_nowhere, self.keeper.kill) if stall_timeout else None
        self._observer = observer
        self._watcher: Watcher | None = None
        self._told_loading = loading
        # Who receives the answers of each verb; Ready and LoadFailed are the keeper's.
        self._receivers: dict[type[WireMessage], Callable[[Any], None]] = {
            messages.Accepted: self._accepted,
            messages.Tokenized: self.generations.questions.answered,
            messages.Detokenized: self.generations.questions.answered,
            messages.AdapterLoaded: self.generations.questions.answered,
            messages.AdapterDropped: self.generations.questions.answered,
            messages.Rejected: self.generations.rejected,
            messages.TooLong: self.generations.too_long,
            messages.Step: self._step,
            messages.Embedded: self.generations.embedded,
            messages.EmbeddingFailed: self.generations.embedding_failed,
            messages.Slots: self._slots,
        }

    @property
    def state(self) -> EngineState:
        """See EngineState."""
        return self.lifecycle.state

    @property
    def info(self) -> ModelInfo | None:
        """The loaded model, None unless the engine is READY."""
        return self.lifecycle.info

    @property
    def failure(self) -> str | None:
        """Why the engine is not READY, for people; None while it loads for the first time."""
        return self.lifecycle.failure

    @property
    def stalled(self) -> str | None:
        """What is wrong with a READY engine that has work and takes no step; None: nothing is."""
        return self._stall.problem() if self.info and self.generations.computing else None

    @property
    def pause(self) -> Pause | None:
        """While no process is there and the next is to be started after a pause."""
        seconds = self.lifecycle.resumes - time.monotonic()
        if self.state is not EngineState.RESTARTING or seconds <= 0:
            return None
        return Pause(self.keeper.backoff.quick_failures, seconds)

    @property
    def progress(self) -> LoadProgress | None:
        """How far a load is; None: none is under way, or it has not told yet."""
        return self.lifecycle.progress

    @property
    def restarts(self) -> int:
        """How many processes were started after one that died."""
        return self.keeper.restarts

    @property
    def pid(self) -> int | None:
        """The process, while there is one."""
        return self.keeper.process.pid if self.keeper.process else None

    @property
    def started(self) -> bool:
        """Whether `start` was called. An engine starts once, and not again after `stop`."""
        return self.keeper.started_once

    def start(self) -> None:
        """Begin to load; `ready` tells the outcome."""
        self.keeper.start()

    async def ready(self) -> ModelInfo:
        """The loaded model, as soon as it is. Raises what `Lifecycle.until_ready` does."""
        return await self.lifecycle.until_ready()

    async def generate(self, work: EncodedWork, share: Share = NOBODYS) -> Generation:
        """Begin its sequences, for this share. Returns when the engine has accepted all, before it computes anything.

        Raises PromptTooLong, PromptRejected, RequestRefused, EngineBusy, EngineDown, or what `stop` got.
        """
        await self.ready()
        if refusal := self.suspects.refusal(work.digest):
            raise RequestRefused(refusal)
        generation = self.generations.begin(work, share)
        try:
            self._send(messages.Generate(generation.ids, work.raw, share))
            await generation.accepted
        except BaseException:
            generation.abort()
            raise
        return generation

    async def embed(self, work: EncodedEmbeddingWork, overflow: Overflow = "error", user: str = "") -> Embedding:
        """Begin to embed its inputs, for this user. `overflow`: for work that says none. Returns when the engine has
        accepted them. Raises what `generate` does."""
        await self.ready()
        if refusal := self.suspects.refusal(work.digest):
            raise RequestRefused(refusal)
        embedding = self.generations.begin_embedding(work, user)
        try:
            self._send(messages.Embed(embedding.id, work.raw, overflow, user))
            await embedding.accepted
        except BaseException:
            embedding.abort()
            raise
        return embedding

    async def tokenize(
        self, work: EncodedWork, ids: bool = False, pieces: bool = False, parse_special: bool = True
    ) -> messages.Tokenized:
        """The tokens of its prompts: see messages.Tokenize. Raises what `generate` does."""
        asked = partial(messages.Tokenize, work=work.raw, ids=ids, pieces=pieces, parse_special=parse_special)
        answer = await self._ask(asked, work)
        assert isinstance(answer, messages.Tokenized)
        return answer

    async def detokenize(self, work: EncodedWork) -> messages.Detokenized:
        """What its prompts, which are token ids, say. Raises what `generate` does."""
        answer = await self._ask(partial(messages.Detokenize, work=work.raw), work)
        assert isinstance(answer, messages.Detokenized)
        return answer

    async def _ask(self, question: Callable[[int], messages.Question], work: EncodedWork) -> messages.Answer:
        await self.ready()
        if refusal := self.suspects.refusal(work.digest):
            raise RequestRefused(refusal)
        return await self.generations.ask(question, work.digest)

    async def load_adapter(self, name: str, path: str) -> AdapterInfo:
        """Have one more adapter, also after a restart. Raises PromptRejected where it is none of this model's, or what
        `ready` does."""
        await self.ready()
        source = AdapterSource(next(self._adapter_ids), name, path)
        answer = await self.generations.ask(partial(messages.LoadAdapter, source=source), NO_WORK)
        assert isinstance(answer, messages.AdapterLoaded)
        self._have_adapters([*self._adapters, answer.info])
        return answer.info

    def drop_adapter(self, adapter: int) -> Coroutine[Any, Any, messages.Answer]:
        """Forget an adapter at once. What is returned waits until the engine has freed it, after the last that applies
        it. Raises, when awaited, what the engine's end is told with."""
        self._have_adapters([each for each in self._adapters if each.id != adapter])
        return self.generations.ask(partial(messages.DropAdapter, adapter=adapter), NO_WORK)

    def scale_adapters(self, scales: Mapping[int, float]) -> list[AdapterInfo]:
        """Those that apply no adapters by name or number apply these, at these scales, and no others."""
        self._have_adapters([replace(each, scale=scales.get(each.id, 0.0)) for each in self._adapters])
        return self._adapters

    @property
    def _adapters(self) -> list[AdapterInfo]:
        return self.info.adapters if self.info else []

    def _have_adapters(self, adapters: list[AdapterInfo]) -> None:
        sources = [AdapterSource(each.id, each.name, each.path, each.scale) for each in adapters]
        self.spec = self.keeper.spec = replace(self.spec, adapters=sources)
        self.lifecycle.have_adapters(adapters)

    def watch(self, watcher: Watcher | None) -> None:
        """Somebody looks, or nobody any more: what the slots hold is told only then."""
        self._watcher = watcher
        if self.info:
            self._send(messages.Watch(watcher is not None))

    def stop(self, error: EngineError) -> None:
        """Every open generation ends with `error`, and so does whatever waits or comes later."""
        self.lifecycle.stop(error)
        self._told_loading(None)
        self.generations.fail_all(error)
        self.lost()

    async def loaded(self) -> ModelInfo:
        """The model, when it is loaded for the first time, however long it takes. Raises what `stop` got before."""
        return await self.lifecycle.until_loaded()

    async def ended(self) -> EngineError:
        """Wait until no engine will come any more: why."""
        return await self.lifecycle.until_down()

    async def close(self) -> None:
        """End the process, after `stop`."""
        await self.keeper.close()

    def _send(self, message: WireMessage) -> None:
        self.keeper.send(message)

    # Called by the keeper

    def receive(self, message: messages.FromEngine) -> None:
        """See Listener."""
        self._receivers[type(message)](message)

    def loading(self, progress: LoadProgress | None) -> None:
        """See Listener."""
        self._told_loading(progress)

    def begun(self) -> None:
        """See Listener."""
        if self._watcher:
            self._send(messages.Watch(True))
        if self._watchdog:
            self._watchdog.start()

    def lost(self) -> None:
        """See Listener."""
        if self._watchdog:
            self._watchdog.stop()
        if self._watcher:
            self._watcher.lost()
        if self._observer:
            self._observer.engine_lost()

    def restarting(self) -> None:
        """See Listener."""
        if self._observer:
            self._observer.engine_restarted()

    def _gets_nowhere(self, patience: float) -> str | None:
        """See Watchdog. What takes steps is not looked at here: they are told."""
        at_work = self.keeper.process.progress() if self.keeper.process else {}
        preparing = {lane: found for lane, found in at_work.items() if lane != ENGINE_THREAD}
        if (seconds := self._standstill.longest(preparing)) > patience:
            return f"The engine has been at one piece of a request's preparation for {seconds:.0f} seconds."
        return self._stall.problem(patience) if self.generations.computing else None

    def _accepted(self, message: messages.Accepted) -> None:
        if not self.generations.computing:
            self._stall.work_came()
        self.generations.accepted(message)

    def _step(self, message: messages.Step) -> None:
        record = message.record
        self.steps.append(record)
        self._stall.step(record.seconds)
        if self._observer:
            self._observer.step(record)
        if self._watcher:
            self._watcher.step(message)
        self.generations.step(message)

    def _slots(self, message: messages.Slots) -> None:
        if self._watcher:
            self._watcher.slots(message.slots)
