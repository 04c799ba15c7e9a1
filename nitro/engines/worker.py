"""The engine process: three threads around one scheduler.

    socket → reader (decodes, tokenises, accepts or rejects) → inbox → engine thread (loads, schedules, steps, frees)
    socket ← writer (encodes) ← outbox ←───────────────────────────────────┘

A fourth compiles constraints, which can take seconds: what comes after them on the socket does not wait.
Only the engine thread touches the runner, the reader its tokenizer. The process ends when its socket closes, whatever
the engine thread is doing: the server that held the other end is gone or wants it gone. SIGINT and SIGTERM are the
server's business.
"""

from __future__ import annotations

import logging
import math
import os
import queue
import signal
import socket
import sys
import threading
import time
from dataclasses import dataclass
from itertools import chain, takewhile
from typing import TYPE_CHECKING

import msgspec
from msgspec.structs import replace

from nitro import collector
from nitro.engines import auto, wire
from nitro.engines.budget import StepBudget
from nitro.engines.drafts import Drafts
from nitro.engines.prefixes import WORTH
from nitro.engines.runner import Chunk, LoadError, Matcher, ModelRunner, OutOfKV, Result, StepFailed, Tokenizer
from nitro.engines.scheduler import Scheduler, Sequence
from nitro.engines.thinking import ThinkingMatcher
from nitro.engines.types import Admission, Asked, Logprobs, Output, Row, Scored, StepRecord
from nitro.engines.work import decode_work

if TYPE_CHECKING:
    from nitro.engines.grammar import GrammarMatcher, Grammars

log = logging.getLogger("nitro.engine")

Inbox = queue.SimpleQueue["wire.Load | list[Sequence] | wire.Abort"]
Outbox = queue.SimpleQueue["wire.Message"]

HARDLY_FITS, LEAST_READ = 16, 2**16  # characters for a token of the context, and in all: more may not fit
BANNED = -100.0  # a logit bias this low or lower bans the token, as in the OpenAI API


@dataclass(frozen=True, slots=True)
class Request:
    """What a Generate holds, opened: as many sequences on each prompt, one per id."""

    ids: list[int]
    prompts: list[str | list[int]]
    asked: Asked


class Reader(threading.Thread):
    """Turns frames into sequences, and answers what can be answered at once.

    It runs from the start, so that a server that goes while a model loads is noticed; the first Generate comes after
    Ready, when `runner` is set.
    """

    runner: ModelRunner
    _grammars: Grammars | None = None  # made with the first constraint

    def __init__(self, sock: socket.socket, inbox: Inbox, outbox: Outbox):
        super().__init__(name="reader", daemon=True)
        self._sock, self._inbox, self._outbox = sock, inbox, outbox
        self._constrained: queue.SimpleQueue[Request] = queue.SimpleQueue()
        self._compiling: set[int] = set()  # the first id of each of these
        self._lock = threading.Lock()  # one of both threads makes sequences

    def run(self) -> None:
        threading.Thread(target=self._compile, name="compiler", daemon=True).start()
        try:
            for payload in wire.payloads(self._sock):
                message = wire.decode_to_engine(payload)
                with self._lock:
                    self._take(message)
            os._exit(0)
        except Exception:
            log.exception("the reader failed")
            os._exit(1)

    def _take(self, message: wire.Load | wire.Generate | wire.Abort) -> None:
        if not isinstance(message, wire.Generate):
            if isinstance(message, wire.Abort):
                self._compiling.difference_update(message.ids)
            self._inbox.put(message)
            return
        try:
            work = decode_work(message.work)
        except (msgspec.MsgspecError, ValueError) as problem:
            self._outbox.put(wire.Rejected(message.ids[0], f"The request cannot be read by the engine: {problem}."))
            return
        request = Request(message.ids, work.prompts, work.asked)
        if work.asked.constraint:
            self._compiling.add(message.ids[0])
            self._constrained.put(request)
        else:
            self._generate(request)

    def _compile(self) -> None:
        """The compiler thread."""
        while True:
            message = self._constrained.get()
            compiled: tuple[GrammarMatcher, list[str]] | None = None
            problem: Exception | None = None
            try:
                compiled = self._matcher(message)
            except Exception as error:
                problem = error
            with self._lock:
                if message.ids[0] not in self._compiling:
                    continue  # its client has left
                self._compiling.remove(message.ids[0])
                if compiled:
                    self._generate(message, *compiled)
                elif problem:
                    self._reject(message, problem)

    def _reject(self, message: Request, problem: Exception) -> None:
        if isinstance(problem, _Rejection):
            self._outbox.put(problem.answer)
        else:
            log.error("a prompt could not be tokenised", exc_info=problem)
            self._outbox.put(wire.Rejected(message.ids[0], f"The prompt could not be tokenised: {problem}"))

    def _generate(
        self, message: Request, matcher: GrammarMatcher | None = None, unenforced: list[str] | None = None
    ) -> None:
        try:
            sequences = self._sequences(message, matcher)
        except Exception as problem:
            return self._reject(message, problem)
        prompts = [sequence.tokens for sequence in sequences[:: len(sequences) // len(message.prompts)]]
        written = self.runner.tokenizer.written
        echoes = [[written(token) for token in tokens] for tokens in prompts] if message.asked.echo else []
        self._outbox.put(wire.Accepted(message.ids[0], sum(map(len, prompts)), echoes, unenforced or []))
        self._inbox.put(sequences)

    def _sequences(self, message: Request, matcher: GrammarMatcher | None) -> list[Sequence]:
        """One sequence per id. Raises _Rejection."""
        now, n = time.monotonic(), len(message.ids) // len(message.prompts)
        sampling = replace(message.asked.sampling, logit_bias=self._bias(message))
        prompts = [self._tokens(message, prompt) for prompt in message.prompts]
        prediction = message.asked.prediction[: max(HARDLY_FITS * self.runner.info.context, LEAST_READ)]
        predicted = self.runner.tokenizer.encode(prediction) if prediction else []
        predicted = list(takewhile(lambda token: token < self.runner.info.vocabulary, predicted))
        spoken = self._spoken(message.asked.spoken)
        self.runner.prepare(sampling)
        sequences = []
        for i, id in enumerate(message.ids):
            tokens = prompts[i // n].copy()
            room = self.runner.info.context - len(tokens)
            most = room if message.asked.max_tokens is None else min(room, message.asked.max_tokens)
            seed = (sampling.seed + i % n) % 2**31
            borders = () if self.runner.info.cuttable else message_borders(tokens, self.runner.tokenizer)
            drawn, mine = replace(sampling, seed=seed), self._limited(message, matcher and matcher.copy())
            drafts, whole = Drafts(predicted), not message.asked.cache
            sequences.append(Sequence(id, tokens, most, drawn, now, mine, drafts, borders, spoken, whole))
        return sequences

    def _limited(self, message: Request, matcher: Matcher | None) -> Matcher | None:
        if message.asked.thinking is None:
            return matcher
        return ThinkingMatcher(message.asked.thinking, matcher, self.runner.tokenizer, self.runner.info.vocabulary)

    def _spoken(self, texts: list[str]) -> frozenset[int]:
        """The control tokens of these texts; a text that is none, or several tokens, is told anyway."""
        encoded = [self.runner.tokenizer.encode(text) for text in texts]
        return frozenset(ids[0] for ids in encoded if len(ids) == 1)

    def _matcher(self, message: Request) -> tuple[GrammarMatcher, list[str]]:
        """The constraint, compiled, and what of it is let through. Raises _Rejection where it cannot be enforced."""
        from nitro.engines.grammar import GrammarError, Grammars  # most engines never need it

        constraint = message.asked.constraint
        assert constraint
        try:
            if self._grammars is None:
                self._grammars = Grammars(self.runner.tokenizer, self.runner.info)
            return self._grammars.matcher(constraint), self._grammars.unenforced(constraint)
        except GrammarError as error:
            param = error.param or constraint.param
            problem = f"Invalid value for '{param}': it cannot be enforced. {error}"
            raise _Rejection(wire.Rejected(message.ids[0], problem, param)) from None

    def _tokens(self, message: Request, prompt: str | list[int]) -> list[int]:
        """Raises _Rejection where the prompt cannot be computed."""
        context, first, tokens = self.runner.info.context, message.ids[0], prompt
        if isinstance(tokens, str):
            tokens = self._encoded(first, tokens)
        if not tokens:
            raise _Rejection(wire.Rejected(first, "The prompt is empty: it holds no token."))
        size = self.runner.info.vocabulary
        if min(tokens) < 0 or max(tokens) >= size:  # the tokenizers of some models know more than the model does
            problem = f"The prompt holds a token that is not in the model's vocabulary (0 to {size - 1})."
            raise _Rejection(wire.Rejected(first, problem))
        if len(tokens) >= context:
            raise _Rejection(wire.TooLong(first, len(tokens), context))
        return tokens

    def _encoded(self, first: int, text: str) -> list[int]:
        """A tokenizer may take minutes for megabytes, in which nobody else is heard. Of a text that can hardly fit only
        the beginning is read. Raises _Rejection."""
        context, encode = self.runner.info.context, self.runner.tokenizer.encode
        part = max(HARDLY_FITS * context, LEAST_READ)
        while part < len(text):
            if (count := len(encode(text[:part]))) > 2 * context:  # where it is cut, a few tokens may be others
                raise _Rejection(wire.TooLong(first, count, context, partly=True))
            part *= 2
        return encode(text)

    def _bias(self, message: Request) -> dict[int, float]:
        """Biases by token id: those given by text too, bans as −∞, and what ignore_eos bans. Raises _Rejection."""
        info, encode = self.runner.info, self.runner.tokenizer.encode
        by_text = ((token, bias) for text, bias in message.asked.text_bias.items() for token in encode(text))
        biases: dict[int, float] = {}
        for token, bias in chain(message.asked.sampling.logit_bias.items(), by_text):
            if not 0 <= token < info.vocabulary:
                problem = f"Token id {token} is not in the vocabulary (0 to {info.vocabulary - 1})."
                raise _Rejection(wire.Rejected(message.ids[0], problem, "logit_bias"))
            biases[token] = -math.inf if bias <= BANNED else bias
        if message.asked.sampling.ignore_eos:
            biases |= dict.fromkeys(info.eog, -math.inf)
        return biases


def message_borders(tokens: list[int], tokenizer: Tokenizer) -> tuple[int, ...]:
    """Where a prompt that begins like this one may well part from it: before the control tokens that end the first
    message, and that open the answer."""
    controls = [i for i, token in enumerate(tokens) if i >= WORTH and not tokenizer.piece(token)]
    return tuple(sorted({controls[0], controls[-1]})) if controls else ()


class _Rejection(Exception):
    def __init__(self, answer: wire.Rejected | wire.TooLong):
        self.answer = answer


def _write(sock: socket.socket, outbox: Outbox) -> None:
    """The writer thread."""
    try:
        while True:
            sock.sendall(wire.frame(outbox.get()))
    except OSError:
        os._exit(0)
    except Exception:
        log.exception("the writer failed")
        os._exit(1)


class EngineLoop:
    """The engine thread: read the inbox, take a step, hand out what it gave; wait when there is nothing to do."""

    def __init__(self, runner: ModelRunner, inbox: Inbox, outbox: Outbox):
        self._runner, self._inbox, self._outbox = runner, inbox, outbox
        self._scheduler = Scheduler(runner.info, runner)
        self._budget = StepBudget(runner.info.step_tokens, runner.info.tile)
        self._steps = 0
        self._spoken: dict[int, frozenset[int]] = {}  # by sequence

    def run(self) -> None:
        while True:
            self._receive()
            if self._scheduler.busy:
                self._step()
                if not self._scheduler.busy:
                    self._runner.rest()

    def _receive(self) -> None:
        """Apply all that has arrived; wait for something when there is nothing to do."""
        try:
            while True:
                match self._inbox.get(block=not self._scheduler.busy):
                    case wire.Abort(ids):
                        self._abort(ids)
                    case list() as sequences:
                        for sequence in sequences:
                            self._scheduler.add(sequence)
                            if sequence.spoken:
                                self._spoken[sequence.id] = sequence.spoken
        except queue.Empty:
            return

    def _abort(self, ids: list[int]) -> None:
        worked = self._scheduler.busy
        for sequence_id in ids:
            self._scheduler.abort(sequence_id)
            self._spoken.pop(sequence_id, None)
        if worked and not self._scheduler.busy:  # no step comes that would tell of it
            self._runner.rest()
            self._outbox.put(wire.Step(self._record(0.0), []))

    def _step(self) -> None:
        started = time.monotonic()
        scheduler = self._scheduler
        streaming = any(sequence.pending == 1 for sequence in scheduler.running)
        batch = scheduler.schedule(self._budget.tokens(streaming))
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
                relieved = scheduler.relieve(batch)
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
        self._outbox.put(wire.Step(record, [self._told(output) for output in outputs]))

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
        spoken, written = self._spoken.get(output.id, ()), self._runner.tokenizer.written
        pieces = [written(token) if token in spoken else self._piece(token) for token in output.tokens]
        if output.finish:
            self._spoken.pop(output.id, None)
        logprobs, of_prompt = map(self._named, output.logprobs), map(self._named, output.prompt_logprobs)
        return replace(output, pieces=pieces, logprobs=list(logprobs), prompt_logprobs=list(of_prompt))

    def _named(self, logprobs: Logprobs) -> Logprobs:
        return Logprobs(self._scored(logprobs.chosen), [self._scored(scored) for scored in logprobs.top])

    def _scored(self, scored: Scored) -> Scored:
        silent = not self._piece(scored.token)
        return replace(scored, written=self._runner.tokenizer.written(scored.token), silent=silent)

    def _piece(self, token: int) -> bytes:
        return b"" if token in self._runner.info.eog else self._runner.tokenizer.piece(token)


class _StepLost(Exception):
    """Nothing of `batch` was computed; `outputs` end the sequences that failed."""

    def __init__(self, batch: list[Chunk], outputs: list[Output]):
        self.batch, self.outputs = batch, outputs


def serve(sock: socket.socket) -> None:
    """Load what the first frame names, then step until the socket closes. Returns only when loading failed."""
    inbox, outbox = Inbox(), Outbox()
    reader = Reader(sock, inbox, outbox)
    reader.start()
    load = inbox.get()
    assert isinstance(load, wire.Load)
    logging.basicConfig(level=load.spec.log_level.upper(), format="%(levelname)s %(name)s: %(message)s")
    try:
        runner = auto.load(load.spec)
    except LoadError as error:
        sock.sendall(wire.frame(wire.LoadFailed(str(error))))
        return
    reader.runner = runner
    collector.settle()
    outbox.put(wire.Ready(runner.info))
    threading.Thread(target=_write, args=(sock, outbox), name="writer", daemon=True).start()
    EngineLoop(runner, inbox, outbox).run()


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    serve(socket.socket(fileno=int(sys.argv[1])))


if __name__ == "__main__":
    main()
