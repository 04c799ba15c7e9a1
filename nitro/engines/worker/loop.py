"""The engine thread: run the commands that have arrived, take a step, hand out its outputs; wait when idle.

Only this thread touches the runner, but for `ModelRunner.prepare` and the tokenizer.
"""

from __future__ import annotations

import logging
import queue
import time
import traceback
from itertools import chain, islice
from typing import Protocol

from nitro.engines import messages
from nitro.engines.crash_marks import ENGINE_THREAD, CrashMarks
from nitro.engines.memory_faults import is_shortage
from nitro.engines.runner import Chunk, ModelRunner, OutOfKV, OutOfMemory, Result, StepFailed
from nitro.engines.scheduling.embedding_queue import Piece
from nitro.engines.scheduling.scheduler import Scheduler
from nitro.engines.scheduling.sequence import Sequence
from nitro.engines.scheduling.step_plan import StepPlan
from nitro.engines.scheduling.turns import Turns
from nitro.engines.types import Admission, ChunkRecord, Output, StepRecord
from nitro.engines.worker.adapter_shelf import AdapterShelf
from nitro.engines.worker.embeddings import Embeddings
from nitro.engines.worker.outbox import Outbox
from nitro.engines.worker.output_bytes import OutputBytes
from nitro.engines.worker.slot_reports import SlotReports
from nitro.engines.worker.stored_prefixes import StoredPrefixes
from nitro.system.frames import WireMessage

log = logging.getLogger("nitro.engine")

SIGN_OF_LIFE = 5.0  # seconds of a step of embeddings after which the server is told that it goes on


class Command(Protocol):
    """Something to do on the engine thread, between two steps."""

    def run(self, loop: EngineLoop) -> None:
        """Do it. Whatever it raises ends the engine process."""


Inbox = queue.SimpleQueue[Command]  # to the engine thread


class EngineLoop:
    """Runs one model: `run` never returns. Every method belongs to the engine thread."""

    def __init__(
        self,
        runner: ModelRunner,
        inbox: Inbox,
        outbox: Outbox,
        marks: CrashMarks | None = None,
        stored: StoredPrefixes | None = None,
    ):
        self.runner = runner
        self.outbox = outbox
        self._inbox = inbox
        self._marks = marks or CrashMarks()
        info = runner.info
        self.stored = stored or StoredPrefixes(runner)
        self._scheduler = Scheduler(info, runner, self.stored if self.stored.active else None)
        self._plan = StepPlan(self._scheduler, info)
        self._output_bytes = OutputBytes(runner)
        self.embeddings = Embeddings(runner)
        self.adapters = AdapterShelf(runner, outbox)
        self.slot_reports = SlotReports(self._scheduler, outbox)
        self._turns = Turns()
        self._embeds = False  # whether a step of embeddings is under way
        self._steps = 0

    def run(self) -> None:
        """Commands and steps in turn, for ever."""
        self.stored.rest(True)
        while True:
            self._run_commands()
            self.stored.rest(not self.busy)
            if self._turns.embeds(self._scheduler.busy, self.embeddings.busy):
                self._embed()
            elif self._scheduler.busy:
                self._step()
            else:
                continue
            self.adapters.free(self._scheduler.sequences)
            if not self.busy:
                self._rest()

    @property
    def busy(self) -> bool:
        """Whether there is anything to compute."""
        return self._scheduler.busy or self.embeddings.busy or self._embeds

    # What commands do

    def add(self, sequences: list[Sequence]) -> None:
        """Queue the sequences of one request, as soon as what files hold of them is read."""
        if not self.stored.hold_back(sequences, self._scheduler):
            self.queue(sequences)

    def queue(self, sequences: list[Sequence]) -> None:
        """Queue the sequences of one request, or end them where what they apply was dropped meanwhile."""
        if lost := [sequence for sequence in sequences if not self.adapters.has(sequence.adapters)]:
            error = "An adapter of this request was unloaded before it began."
            self.outbox.send(messages.Step(self._record(0.0), [Output(s.id, [], [], "error", error) for s in lost]))
            return
        self._scheduler.add(*sequences)
        for sequence in sequences:
            self._output_bytes.begin(sequence)

    def abort(self, ids: list[int]) -> None:
        """End these sequences and embeddings. Where none is left, a record says so: no step comes that would."""
        was_busy = self.busy
        self.stored.abort(ids)
        for sequence_id in ids:
            self._scheduler.abort(sequence_id)
            self._output_bytes.end(sequence_id)
            self.embeddings.abort(sequence_id)
        if was_busy and not self.busy:
            self._rest()
            self.outbox.send(messages.Step(self._record(0.0), []))

    def save(self, seconds: float) -> None:
        """End all sequences, and write what slots hold to files."""
        for sequence in list(self._scheduler.sequences):
            self._scheduler.abort(sequence.id)
        self.stored.save(self._scheduler.prefixes, seconds)
        self.outbox.put(messages.Saved())

    def forget(self, id: int) -> None:
        """Forget all prefixes."""
        tokens = self._scheduler.prefixes.forget()
        self.stored.forget(lambda: self.outbox.put(messages.Forgotten(id, tokens)))

    # One turn

    def _run_commands(self) -> None:
        """Run all that have arrived; wait for one when there is nothing to compute."""
        try:
            while True:
                self._inbox.get(block=not self.busy).run(self)
                self.adapters.free(self._scheduler.sequences)
        except queue.Empty:
            return

    def _rest(self) -> None:
        """Nothing runs or waits."""
        self._marks.write(ENGINE_THREAD)
        try:
            self.runner.release_idle_memory()
        except Exception as error:
            if not is_shortage(error):
                raise
            self.runner.reset()
            self._scheduler.restart()
        self.slot_reports.tell()

    def _embed(self) -> None:
        """A step of embeddings."""
        self._embeds = True
        streaming = self._scheduler.busy
        pieces = self.embeddings.next(streaming)
        if self.embeddings.has_lanes:
            return self._embed_in_lanes(pieces)
        marked = list(dict.fromkeys(piece.request for piece in pieces))
        self._marks.write(ENGINE_THREAD, marked)
        started = since = told = time.monotonic()  # `since`: the last pause
        paused = 0.0

        def meanwhile() -> float:
            nonlocal since, told, paused
            seconds = self._generate_meanwhile(time.monotonic() - since)
            self._marks.write(ENGINE_THREAD, marked)
            since = time.monotonic()
            paused += seconds
            if since - told > SIGN_OF_LIFE:
                told = since
                self.outbox.send(messages.Step(self._record(0.0), []))
            return seconds

        answers = self.embeddings.compute(pieces, meanwhile)
        self._embeds = False
        self._turns.embedded(time.monotonic() - since)
        self._steps += 1
        seconds = time.monotonic() - started - paused
        self.outbox.send(messages.Step(self._record(seconds, embedded=len(pieces)), []), *answers)

    def _embed_in_lanes(self, pieces: list[Piece]) -> None:
        """A step that goes on for as long as a lane finds something to do. Each report of a lane counts as a step."""
        since = time.monotonic()

        def tell(count: int, answers: list[WireMessage]) -> None:
            nonlocal since
            now = time.monotonic()
            self._steps += 1
            self.outbox.send(messages.Step(self._record(now - since, embedded=count), []), *answers)
            since = now
            self._run_commands()

        self.embeddings.compute_in_lanes(pieces, tell, self._mark)
        self._embeds = False

    def _mark(self, requests: list[int]) -> None:
        self._marks.write(ENGINE_THREAD, list(dict.fromkeys(requests)))

    def _generate_meanwhile(self, embedded: float) -> float:
        """Within a step of embeddings, which has computed for so many seconds: text, until embeddings have their turn
        again. Returns the seconds that it took."""
        began = time.monotonic()
        self._turns.embedded(embedded)
        self._run_commands()
        while self._scheduler.busy and not self._turns.embeds(True, True):
            self._step()
            self._run_commands()
        return time.monotonic() - began

    def _step(self) -> None:
        started = time.monotonic()
        scheduler = self._scheduler
        may_be_admitted = islice(scheduler.waiting, self.runner.info.parallel)
        self._marks.write(ENGINE_THREAD, [sequence.id for sequence in chain(scheduler.running, may_be_admitted)])
        batch = self._plan.next()
        self._marks.write(ENGINE_THREAD, [chunk.sequence_id for chunk in batch])
        lost: list[int] = []
        try:
            batch, results = self._compute(batch)
        except _StepLost as failure:
            batch = []
            lost = [chunk.sequence_id for chunk in failure.batch]
            outputs = failure.outputs
        else:
            outputs = scheduler.advance(batch, results)
        self._report(batch, lost, outputs, started)

    def _compute(self, batch: list[Chunk]) -> tuple[list[Chunk], list[Result]]:
        """Submit what fits into the KV pool, and wait for it. Returns what was computed, and the results of each chunk.

        Raises _StepLost.
        """
        scheduler = self._scheduler
        while batch:
            try:
                self._guess()
                self.runner.submit(batch)
                return batch, self.runner.collect()
            except OutOfKV:
                smaller, ends = self._plan.without_room(batch)
                if ends:
                    raise _StepLost(batch, ends) from None
                batch = smaller
            except OutOfMemory as shortage:
                raise _StepLost(batch, self._relieve(batch, shortage)) from None
            except StepFailed as failure:
                log.error("a step failed: %s", failure)
                failed = [chunk.sequence_id for chunk in batch if chunk.slot in failure.slots]
                raise _StepLost(batch, scheduler.fail(failed, str(failure))) from None
            except Exception as error:
                if is_shortage(error):
                    traceback.clear_frames(error.__traceback__)  # which hold what was computed
                    raise _StepLost(batch, self._relieve(batch, OutOfMemory(str(error), None))) from None
                log.exception("a step raised; its sequences fail, the others are computed again")
                outputs = scheduler.fail([chunk.sequence_id for chunk in batch], f"The engine failed: {error!r}")
                self.runner.reset()
                scheduler.restart()
                raise _StepLost(batch, outputs) from None
        return [], []

    def _relieve(self, batch: list[Chunk], shortage: OutOfMemory) -> list[Output]:
        """The next step asks for less, or the one that asks for too much fails."""
        log.warning("a step of %d sequences finds no memory: %s", len(batch), shortage)
        if shortage.lost is None:
            self.runner.reset()
        failed = self._scheduler.relieve(batch, shortage.lost)
        if failed is None:
            return []
        error = f"There is no memory for this request, though nothing else is computed. {shortage}"
        return self._scheduler.fail([failed], error, too_large=True)

    def _guess(self) -> None:
        """Let the draft model guess what the scheduler has asked of it."""
        drafts = self._scheduler.drafts
        if drafts.asked:
            started = time.monotonic()
            chunks, limits = zip(*drafts.asked, strict=True)
            drafts.guessed(self.runner.guess(list(chunks), list(limits)), time.monotonic() - started)

    def _report(self, batch: list[Chunk], lost: list[int], outputs: list[Output], started: float) -> None:
        """Tell the server what the step did, and learn from the time that it took."""
        seconds = time.monotonic() - started
        scheduler = self._scheduler
        self._steps += 1
        rows = [ChunkRecord(chunk.sequence_id, chunk.slot, chunk.start, chunk.stop) for chunk in batch]
        record = self._record(
            seconds,
            rows=rows,
            lost=lost,
            admitted=[Admission(s.id, cached, started - s.arrived, s.written) for s, cached in scheduler.admitted],
            preempted=[sequence.id for sequence in scheduler.preempted],
        )
        for sequence, cached in scheduler.admitted:
            if sequence.restored:
                self.outbox.put(messages.PrefixEvent("restored", cached, 0))
        # first of all: what the server does with it takes no core from the next step before that has begun
        self.outbox.send(messages.Step(record, list(map(self._output_bytes.complete, outputs))))
        self.slot_reports.after_step()
        self._plan.took(batch, seconds)
        self._turns.generated(seconds)
        scheduler.drafts.observe(batch, scheduler.turns.observe(batch, seconds))

    def _record(
        self,
        seconds: float,
        rows: list[ChunkRecord] | None = None,
        lost: list[int] | None = None,
        admitted: list[Admission] | None = None,
        preempted: list[int] | None = None,
        embedded: int = 0,
    ) -> StepRecord:
        """How things stand after the last step, which took so long."""
        scheduler = self._scheduler
        return StepRecord(
            step=self._steps,
            seconds=seconds,
            rows=rows or [],
            lost=lost or [],
            admitted=admitted or [],
            preempted=preempted or [],
            waiting=len(scheduler.waiting),
            running=len(scheduler.running),
            idle=scheduler.slots.idle,
            kv_used=scheduler.kv_used,
            embedded=embedded,
            inputs=self.embeddings.waiting,
            kv_running=scheduler.kv_running,
        )


class _StepLost(Exception):
    """Nothing of `batch` was computed; `outputs` end the sequences that failed."""

    def __init__(self, batch: list[Chunk], outputs: list[Output]):
        self.batch = batch
        self.outputs = outputs
