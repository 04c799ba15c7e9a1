"""The engine process: threads around one scheduler.

    socket → reader → preparers (tokenise, compile, accept or reject) → inbox → engine thread (loads, schedules, steps)
    socket ← writer (encodes) ← outbox ←────────────────────────────────────────────────┘

Only the engine thread touches the runner, the preparers its tokenizer. The process ends when its socket closes,
whatever the engine thread is doing: the server that held the other end is gone or wants it gone. SIGINT and SIGTERM are
the server's business.
"""

from __future__ import annotations

import logging
import os
import queue
import signal
import socket
import sys
import threading
import time
from itertools import chain, islice

from msgspec.structs import replace

from nitro.engines import messages
from nitro.engines.backends import registry
from nitro.engines.crash_marks import Marks
from nitro.engines.runner import Chunk, LoadError, ModelRunner, OutOfKV, Result, StepFailed
from nitro.engines.scheduling.scheduler import Scheduler
from nitro.engines.scheduling.step_budget import StepBudget
from nitro.engines.types import Admission, Logprobs, Output, Row, Scored, StepRecord
from nitro.engines.worker.preparation import Preparation
from nitro.engines.worker.reader import Inbox, Outbox, Preparers, Reader
from nitro.system import frames, gc_tuning

log = logging.getLogger("nitro.engine")

ENGINE_THREAD = 0  # its lane in Marks


def _write(sock: socket.socket, inbox: Inbox, outbox: Outbox) -> None:
    """The writer thread."""
    try:
        while True:
            message = outbox.get()
            try:
                sent = frames.frame(message)
            except Exception as problem:
                log.exception("a message could not be written")
                told = _tellable(message, f"The engine could not tell its answer: {problem!r}", inbox)
                sent = b"".join(map(frames.frame, told))
            sock.sendall(sent)
    except OSError:
        os._exit(0)
    except Exception:
        log.exception("the writer failed")
        os._exit(1)


def _tellable(message: frames.Message, error: str, inbox: Inbox) -> list[frames.Message]:
    """What can be told of a message that has no encoding: the requests that it lies in fail, and no others."""
    match message:
        case messages.Accepted(id):
            return [messages.Rejected(id, error)]  # the server aborts all of it
        case messages.Step(record, outputs):
            faulty = [output.id for output in outputs if not _has_encoding(output)]
            inbox.put(messages.Abort(faulty))
            failed = {id: Output(id, [], [], "error", error) for id in faulty}
            return [messages.Step(record, [failed.get(output.id, output) for output in outputs])]
    return []


def _has_encoding(output: Output) -> bool:
    try:
        return bool(frames.encode(output))
    except Exception:
        return False


class EngineLoop:
    """The engine thread: read the inbox, take a step, hand out what it gave; wait when there is nothing to do."""

    def __init__(self, runner: ModelRunner, inbox: Inbox, outbox: Outbox, marks: Marks | None = None):
        self._runner, self._inbox, self._outbox, self._marks = runner, inbox, outbox, marks or Marks()
        self._scheduler = Scheduler(runner.info, runner)
        self._budget = StepBudget(runner.info.step_tokens, runner.info.attention_tile_rows)
        self._steps = 0
        self._visible: dict[int, frozenset[int]] = {}  # by sequence

    def run(self) -> None:
        while True:
            self._receive()
            if self._scheduler.busy:
                self._step()
                if not self._scheduler.busy:
                    self._marks.write(ENGINE_THREAD)
                    self._runner.release_idle_memory()

    def _receive(self) -> None:
        """Apply all that has arrived; wait for something when there is nothing to do."""
        try:
            while True:
                match self._inbox.get(block=not self._scheduler.busy):
                    case messages.Abort(ids):
                        self._abort(ids)
                    case list() as sequences:
                        self._scheduler.add(*sequences)
                        for sequence in sequences:
                            if sequence.visible_special_tokens:
                                self._visible[sequence.id] = sequence.visible_special_tokens
        except queue.Empty:
            return

    def _abort(self, ids: list[int]) -> None:
        worked = self._scheduler.busy
        for sequence_id in ids:
            self._scheduler.abort(sequence_id)
            self._visible.pop(sequence_id, None)
        if worked and not self._scheduler.busy:  # no step comes that would tell of it
            self._marks.write(ENGINE_THREAD)
            self._runner.release_idle_memory()
            self._outbox.put(messages.Step(self._record(0.0), []))

    def _step(self) -> None:
        started = time.monotonic()
        scheduler = self._scheduler
        streaming = any(sequence.pending == 1 for sequence in scheduler.running)
        may_be_admitted = islice(scheduler.waiting, self._runner.info.parallel)
        self._marks.write(ENGINE_THREAD, [sequence.id for sequence in chain(scheduler.running, may_be_admitted)])
        batch = scheduler.schedule(self._budget.tokens(streaming))
        self._marks.write(ENGINE_THREAD, [chunk.sequence_id for chunk in batch])
        lost: list[int] = []
        try:
            batch, results = self._compute(batch)
        except _StepLost as failure:
            batch, lost, outputs = [], [chunk.sequence_id for chunk in failure.batch], failure.outputs
        else:
            outputs = scheduler.advance(batch, results)
        self._report(batch, lost, outputs, started)

    def _compute(self, batch: list[Chunk]) -> tuple[list[Chunk], list[Result]]:
        """Submit what fits, and wait for it: what was computed, and what it gave. Raises _StepLost."""
        scheduler = self._scheduler
        while batch:
            try:
                self._runner.submit(batch)
                return batch, self._runner.collect()
            except OutOfKV:
                relieved = scheduler.reclaim_kv(batch)
                if relieved is None:
                    error = "The KV pool has no room left for this request alone."
                    raise _StepLost(batch, scheduler.fail([chunk.sequence_id for chunk in batch], error)) from None
                batch = relieved
            except StepFailed as failure:
                log.error("a step failed: %s", failure)
                failed = [chunk.sequence_id for chunk in batch if chunk.slot in failure.slots]
                raise _StepLost(batch, scheduler.fail(failed, str(failure))) from None
            except Exception as error:
                log.exception("a step raised; its sequences fail, the others are computed again")
                outputs = scheduler.fail([chunk.sequence_id for chunk in batch], f"The engine failed: {error!r}")
                self._runner.reset()
                scheduler.restart()
                raise _StepLost(batch, outputs) from None
        return [], []

    def _report(self, batch: list[Chunk], lost: list[int], outputs: list[Output], started: float) -> None:
        scheduler, now = self._scheduler, time.monotonic()
        prompts, rows = sum(n for c in batch if (n := c.stop - c.start) > 1), sum(c.size for c in batch)
        self._budget.observe(prompts, now - started)
        if batch and not prompts:
            scheduler.cost.observe(rows, now - started)
        self._steps += 1
        record = replace(
            self._record(now - started),
            rows=[Row(c.sequence_id, c.slot, c.start, c.stop) for c in batch],
            lost=lost,
            admitted=[Admission(s.id, cached, started - s.arrived) for s, cached in scheduler.admitted],
            preempted=[s.id for s in scheduler.preempted],
        )
        self._outbox.put(messages.Step(record, [self._told(output) for output in outputs]))

    def _record(self, seconds: float) -> StepRecord:
        """How things stand after the last step, which took so long."""
        scheduler = self._scheduler
        return StepRecord(
            step=self._steps,
            seconds=seconds,
            rows=[],
            lost=[],
            admitted=[],
            preempted=[],
            waiting=len(scheduler.waiting),
            running=len(scheduler.running),
            idle=scheduler.slots.idle,
            kv_used=scheduler.kv_used,
        )

    def _told(self, output: Output) -> Output:
        """With the bytes of its tokens."""
        spoken, written = self._visible.get(output.id, ()), self._runner.tokenizer.vocabulary_text
        pieces = [written(token) if token in spoken else self._piece(token) for token in output.tokens]
        if output.finish:
            self._visible.pop(output.id, None)
        logprobs, of_prompt = map(self._named, output.logprobs), map(self._named, output.prompt_logprobs)
        return replace(output, pieces=pieces, logprobs=list(logprobs), prompt_logprobs=list(of_prompt))

    def _named(self, logprobs: Logprobs) -> Logprobs:
        return Logprobs(self._scored(logprobs.chosen), [self._scored(scored) for scored in logprobs.top])

    def _scored(self, scored: Scored) -> Scored:
        is_special = not self._piece(scored.token)
        return replace(scored, text=self._runner.tokenizer.vocabulary_text(scored.token), is_special=is_special)

    def _piece(self, token: int) -> bytes:
        return b"" if token in self._runner.info.eog else self._runner.tokenizer.token_bytes(token)


class _StepLost(Exception):
    """Nothing of `batch` was computed; `outputs` end the sequences that failed."""

    def __init__(self, batch: list[Chunk], outputs: list[Output]):
        self.batch, self.outputs = batch, outputs


def serve(sock: socket.socket, marks: Marks) -> None:
    """Load what the first frame names, then step until the socket closes. Returns only when loading failed."""
    inbox, outbox = Inbox(), Outbox()
    reader = Reader(sock, inbox)
    reader.start()
    load = inbox.get()
    assert isinstance(load, messages.Load)
    logging.basicConfig(level=load.spec.log_level.upper(), format="%(levelname)s %(name)s: %(message)s")
    try:
        runner = registry.load(load.spec)
    except LoadError as error:
        sock.sendall(frames.frame(messages.LoadFailed(str(error))))
        return
    reader.preparers = Preparers(Preparation(runner), inbox, outbox, marks)
    gc_tuning.settle()
    outbox.put(messages.Ready(runner.info))
    threading.Thread(target=_write, args=(sock, inbox, outbox), name="writer", daemon=True).start()
    EngineLoop(runner, inbox, outbox, marks).run()


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    connection, memory = map(int, sys.argv[1:3])
    serve(socket.socket(fileno=connection), Marks(memory))


if __name__ == "__main__":
    main()
