"""The scheduler: who is served when, what is computed, and that every sequence ends with the right tokens.

A strict runner made here stands for the model: each next token is a checksum of all tokens its slot holds, so an
answer comes out right only when every token was computed once, in order, in the sequence's own slot. The engine
thread's way of calling is copied by `Engine`, which checks after every step what must always hold. First come the rules
one by one, then all of it in any order: adds, aborts, exhaustion, failing rows, failing steps, and crashes.
"""

from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from math import inf
from unittest import mock
from zlib import crc32

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from msgspec.structs import replace

from nitro.engines.adapters import AdapterSet
from nitro.engines.backends.fake import EOG, FakeRunner
from nitro.engines.runner import Chunk, OutOfKV, Result, StepFailed
from nitro.engines.scheduling import fair_order, prefix_cache
from nitro.engines.scheduling import sequence as sequences
from nitro.engines.scheduling.draft_chances import SourceName
from nitro.engines.scheduling.kept_prefixes import KeptPrefix
from nitro.engines.scheduling.scheduler import Scheduler
from nitro.engines.scheduling.sequence import KV_RESERVE, Sequence
from nitro.engines.scheduling.slots import shared_prefix
from nitro.engines.scheduling.speculation import Drafter, Guess
from nitro.engines.types import EngineSpec, ModelInfo, Output, SamplingParams

VOCABULARY = 251


def make_info(
    parallel: int = 4,
    spare: int = 2,
    context: int = 64,
    kv_tokens: int = 256,
    step_tokens: int = 64,
    eog: frozenset[int] = frozenset(),
    offload_tokens: int = 0,
    can_truncate: bool = True,
    draft_tokens: int = 0,
    attention_tile_rows: int = 0,
    has_draft_model: bool = False,
) -> ModelInfo:
    return ModelInfo(
        engine="strict",
        device="none",
        layers="none",
        slots=parallel + spare,
        parallel=parallel,
        context=context,
        trained_context=context,
        kv_tokens=kv_tokens,
        kv_bytes=0,
        step_tokens=step_tokens,
        vocabulary=VOCABULARY,
        eog=eog,
        offload_tokens=offload_tokens,
        can_truncate=can_truncate,
        draft_tokens=draft_tokens if can_truncate else 0,
        attention_tile_rows=attention_tile_rows,
        has_draft_model=has_draft_model,
    )


def next_token(tokens: list[int]) -> int:
    return crc32(bytes(tokens)) % VOCABULARY


def expected(info: ModelInfo, prompt: list[int], max_tokens: int) -> tuple[list[int], str]:
    """The right answer to a prompt, and why it ends."""
    tokens = prompt.copy()
    for _ in range(max_tokens):
        tokens.append(next_token(tokens))
        if tokens[-1] in info.eog:
            return tokens[len(prompt) :], "stop"
    return tokens[len(prompt) :], "length"


class Crash(Exception):
    """A bug in a runner."""


@dataclass
class Faults:
    """What goes wrong in the next step; rows are counted around the batch."""

    exhausted: int = 0  # this many submits find no room, whatever the pool holds
    errors: frozenset[int] = frozenset()  # rows whose sampling fails
    fails: frozenset[int] = frozenset()  # rows for which the step fails
    crashes: bool = False
    at_collect: bool = False  # where it fails or crashes


class StrictRunner:
    """Keeps the contract to the letter, and goes wrong only where `faults` says so."""

    def __init__(self, info: ModelInfo):
        self.info = info
        self.held: list[list[int]] = [[] for _ in range(info.slots)]
        self.under: dict[int, AdapterSet] = {}  # by slot: the adapters that its tokens were computed with
        self.offloaded: dict[int, list[int]] = {}
        self.forgotten: Counter[int] = Counter()
        self.faults = Faults()
        self.can_cut = info.can_truncate
        self.broken = False
        self._batch: list[Chunk] | None = None

    def submit(self, batch: list[Chunk]) -> None:
        assert not self.broken and self._batch is None
        self._check(batch)
        if self.faults.exhausted:
            self.faults.exhausted -= 1
            raise OutOfKV
        if sum(map(len, self.held)) + tokens_in(batch) > self.info.kv_tokens:
            raise OutOfKV
        if not self.faults.at_collect:
            self._go_wrong(batch)
        self._batch = batch

    def _check(self, batch: list[Chunk]) -> None:
        assert batch and tokens_in(batch) <= self.info.step_tokens
        assert len({chunk.slot for chunk in batch}) == len(batch), "a slot twice in a batch"
        assert len({chunk.sequence_id for chunk in batch}) == len(batch), "a sequence twice in a batch"
        for chunk in batch:
            assert 0 <= chunk.start < chunk.stop <= len(chunk.tokens) < self.info.context
            assert not chunk.draft or (chunk.wants_token and len(chunk.tokens) + len(chunk.draft) < self.info.context)
            assert self.held[chunk.slot] == chunk.tokens[: chunk.start], "a chunk starts where its slot ends"
            assert not chunk.start or self.under[chunk.slot] == chunk.adapters, "KV of other adapters"
            assert not self.forgotten[chunk.sequence_id]

    def _go_wrong(self, batch: list[Chunk]) -> None:
        if self.faults.crashes:
            self.broken = True
            for chunk in batch:
                self.held[chunk.slot] = [0]
            raise Crash("a bug")
        if self.faults.fails:
            slots = [batch[row % len(batch)].slot for row in self.faults.fails]
            for slot in slots:
                self.held[slot] = []
            raise StepFailed(slots, "the device failed")

    def collect(self) -> list[Result]:
        assert self._batch is not None
        batch, self._batch = self._batch, None
        if self.faults.at_collect:
            self._go_wrong(batch)
        errors = {row % len(batch) for row in self.faults.errors}
        return [self._compute(chunk, row in errors) for row, chunk in enumerate(batch)]

    def _compute(self, chunk: Chunk, fails: bool) -> Result:
        held = self.held[chunk.slot]
        held += chunk.tokens[chunk.start : chunk.stop]
        self.under[chunk.slot] = chunk.adapters
        if fails:
            return Result([], "no token can follow")
        if not chunk.wants_token:
            return Result([])
        tokens = [next_token(held)]
        for guess in chunk.draft:
            if tokens[-1] != guess or guess in self.info.eog:
                break
            held.append(guess)
            tokens.append(next_token(held))
        return Result(tokens)

    def offload(self, slot: int) -> None:
        assert not self.broken and self._batch is None and self.held[slot] and slot not in self.offloaded
        self.offloaded[slot], self.held[slot] = self.held[slot], []
        assert sum(map(len, self.offloaded.values())) <= self.info.offload_tokens

    def copy(self, src: int, dst: int, length: int) -> int:
        assert (
            not self.broken and self._batch is None and src != dst and not self.held[dst] and dst not in self.offloaded
        )
        source = self.offloaded.get(src) or self.held[src]
        assert 0 < length <= len(source)
        if length < len(source) and not self.can_cut:
            return 0
        if self._used + (len(source) if src in self.offloaded else length) > self.info.kv_tokens:
            return 0
        self.held[dst] = source[:length]
        self.under[dst] = self.under[src]
        return length

    @property
    def _used(self) -> int:
        return sum(map(len, self.held))

    def trim(self, slot: int, length: int) -> int:
        offloaded = self.offloaded.pop(slot, [])
        if length and self._used + len(offloaded) <= self.info.kv_tokens:
            self.held[slot] += offloaded
        elif offloaded:
            return 0
        held = self.held[slot]
        assert not self.broken and self._batch is None and 0 <= length <= len(held)
        if length < len(held) and not self.can_cut:
            length = 0
        del held[length:]
        return length

    def guess(self, chunks: list[Chunk], limits: list[int]) -> list[list[int]]:
        """Fewer than it may where the limit is odd."""
        assert self.info.has_draft_model and chunks
        assert all(chunk.wants_token and chunk.matcher is None and not chunk.draft for chunk in chunks)
        assert all(limit > 0 for limit in limits)
        return [half_right(chunk.tokens, limit - limit % 2) for chunk, limit in zip(chunks, limits, strict=True)]

    def free_sequence(self, sequence_id: int) -> None:
        self.forgotten[sequence_id] += 1

    def reset(self) -> None:
        self.held = [[] for _ in range(self.info.slots)]
        self.offloaded = {}
        self.broken, self._batch = False, None


def tokens_in(batch: list[Chunk]) -> int:
    return sum(chunk.size for chunk in batch)


class HalfRight(Drafter):
    """Guesses what comes, and is wrong where the checksum of all so far says so."""

    def look(self, tokens: list[int], generated: int) -> dict[SourceName, Guess]:
        super().look(tokens, generated)
        self.guesses = {"lookup": Guess(half_right(tokens, 10), 5)}
        return self.guesses


def half_right(tokens: list[int], count: int) -> list[int]:
    guesses: list[int] = []
    while len(guesses) < count:
        right = next_token([*tokens, *guesses])
        guesses.append(right if right % 4 else 250 - right)
    return guesses


@dataclass
class Told:
    """What a client knows of its sequence, and what it should get."""

    sequence: Sequence
    prompt: list[int]
    right: tuple[list[int], str]  # answer and finish
    request: int = 0  # the first id of those it came with
    answer: list[int] = field(default_factory=list)
    finish: str | None = None  # "abort" included
    passed: int = 0  # times a younger one went first


class Engine:
    """Calls the scheduler as the engine thread does, and checks what must hold after every call."""

    def __init__(self, info: ModelInfo):
        self.info = info
        self.runner = StrictRunner(info)
        self.scheduler = Scheduler(info, self.runner)
        self.told: dict[int, Told] = {}
        self.preempted: list[int] = []  # by the last step
        self.submitted: list[Chunk] = []
        self.decoded = False  # whether the last batch held decodes
        self.latest = (0, 0)  # the age of the youngest that ever was admitted

    @property
    def live(self) -> set[int]:
        return {id for id, told in self.told.items() if told.finish is None}

    def add(
        self,
        prompt: list[int],
        max_tokens: int = 1,
        snapshot_points: tuple[int, ...] = (),
        keeps: tuple[KeptPrefix, ...] = (),
        adapters: AdapterSet = (),
    ) -> int:
        """A request of one sequence."""
        return self.add_request([prompt], max_tokens, snapshot_points, keeps, adapters)[0]

    def add_request(
        self,
        prompts: list[list[int]],
        max_tokens: int = 1,
        snapshot_points: tuple[int, ...] = (),
        keeps: tuple[KeptPrefix, ...] = (),
        adapters: AdapterSet = (),
    ) -> list[int]:
        ids = list(range(len(self.told) + 1, len(self.told) + 1 + len(prompts)))
        request = []
        for id, prompt in zip(ids, prompts, strict=True):
            sequence = Sequence(
                id,
                prompt.copy(),
                max_tokens,
                SamplingParams(seed=id),
                drafter=Drafter() if self.info.has_draft_model else HalfRight(),
                snapshot_points=snapshot_points,
                keeps=keeps,
                arrived=float(id),
                adapters=adapters,
            )
            self.know(sequence, max_tokens, ids[0])
            request.append(sequence)
        self.scheduler.add(*request)
        self._check_turn(request[0])
        return ids

    def know(self, sequence: Sequence, max_tokens: int, request: int = 0) -> None:
        """Its answer is to be right."""
        tokens = sequence.tokens.copy()
        self.told[sequence.id] = Told(sequence, tokens, expected(self.info, tokens, max_tokens), request)

    def _check_turn(self, first: Sequence) -> None:
        """A newcomer waits for at most two sequences of any other request, however many it has: the one of this round,
        and the one of the next; and for those that were passed over."""
        ahead = [s for s in self.scheduler.waiting if self.latest < s.age < first.age]
        assert max(Counter(self.told[s.id].request for s in ahead).values(), default=0) <= 2
        assert all(s.age < first.age for s in self.scheduler.running), "nobody is less old than who comes"

    def abort(self, id: int) -> None:
        sequence = self.told[id].sequence if id in self.told else None
        slot = sequence.slot if sequence else None
        idle = self.scheduler.slots.idle
        self.scheduler.abort(id)
        if id in self.live:
            self.told[id].finish = "abort"
            assert self.scheduler.slots.idle == idle + (slot is not None), "its slot is idle at once"
        else:
            assert self.scheduler.slots.idle == idle

    def step(self, budget: int = 64, faults: Faults | None = None) -> list[Chunk]:
        """One step; returns what was computed."""
        self.runner.faults = faults or Faults()
        may_fail_alone = self.runner.faults.exhausted > 0
        scheduler = self.scheduler
        self.preempted = []
        batch = scheduler.schedule(lambda *_: budget)
        if asked := scheduler.drafts.asked:
            guesses = self.runner.guess([chunk for chunk, _ in asked], [limit for _, limit in asked])
            scheduler.drafts.guessed(guesses, 0.01)
        self._check_admission()
        self._check_batch(batch, budget)
        computed: list[Chunk] = []
        try:
            computed, results = self._compute(batch)
            outputs = scheduler.advance(computed, results)
            scheduler.drafts.observe(computed, 1.0)  # rows cost nothing
        except NoRoom:
            assert may_fail_alone, "the pool holds a whole context: one alone always fits"
            outputs = scheduler.fail([s.id for s in scheduler.running], "no room")
        except StepFailed as failure:
            outputs = scheduler.fail([c.sequence_id for c in self.submitted if c.slot in failure.slots], str(failure))
        except Crash as error:
            outputs = scheduler.fail([c.sequence_id for c in self.submitted], str(error))
            self.runner.reset()
            self.preempted += [s.id for s in reversed(scheduler.running)]
            scheduler.restart()
        self.runner.faults = Faults()
        assert [s.id for s in scheduler.preempted] == self.preempted
        for output in outputs:
            self._deliver(output)
        self.check()
        return computed

    def finish(self, budget: int = 64) -> None:
        """Step until nothing is left.

        The oldest sequence goes on in every step in which it is not overtaken, once it runs. Before, each of the rows
        and each that overtakes it may end first. Where decodes and prompts take turns, it goes on in every other one.
        """
        once = (self.info.context + fair_order.MAX_OVERTAKES) * (2 if self.info.attention_tile_rows else 1)
        most = len(self.live) * (self.info.parallel + fair_order.MAX_OVERTAKES + 1) * once
        while self.scheduler.busy:
            assert most > 0, "it never ends"
            most -= 1
            self.step(budget)
        assert not self.live and self.scheduler.slots.idle == self.info.slots

    def _compute(self, batch: list[Chunk]) -> tuple[list[Chunk], list[Result]]:
        while batch:
            self.submitted = batch
            try:
                self.runner.submit(batch)
                return batch, self.runner.collect()
            except OutOfKV:
                batch = self._relieve(batch)
        return [], []

    def _relieve(self, batch: list[Chunk]) -> list[Chunk]:
        """Drafts go first, then idle caches, one at a time; where the pool has room, what is offloaded; then the
        youngest sequence; never the oldest."""
        scheduler, held = self.scheduler, self.runner.held
        offloaded = list(self.runner.offloaded)
        fits = sum(map(len, held)) + tokens_in(batch) <= self.info.kv_tokens
        busy = {s.slot for s in scheduler.running}
        caches = [slot for slot, tokens in enumerate(held) if tokens and slot not in busy]
        sizes = {slot: len(held[slot]) for slot in caches}
        running = scheduler.running.copy()
        drafted = any(chunk.draft for chunk in batch)
        left = scheduler.reclaim_kv(batch)
        if drafted:
            assert left == batch and scheduler.running == running and not any(chunk.draft for chunk in batch)
        elif caches:
            assert left == batch and scheduler.running == running
            shorter = [slot for slot, before in sizes.items() if len(held[slot]) < before]
            assert len(shorter) == 1, "emptied, or cut to what is to stay"
        elif fits and offloaded:
            assert left == batch and scheduler.running == running
            assert len(self.runner.offloaded) == len(offloaded) - 1
        elif len(running) > 1:
            assert scheduler.running == running[:-1]
            assert left == [chunk for chunk in batch if chunk.sequence_id != running[-1].id]
            self.preempted.append(running[-1].id)
        else:
            assert left is None
        if left is None:
            raise NoRoom
        return left

    def _deliver(self, output: Output) -> None:
        told = self.told[output.id]
        assert told.finish is None, "an output after the end"
        assert output.tokens or output.finish == "error"
        assert (output.error is not None) == (output.finish == "error")
        told.answer += output.tokens
        told.finish = output.finish
        tokens, finish = told.right
        if output.finish in ("stop", "length"):
            assert (told.answer, told.finish) == (tokens, finish)
        else:
            assert told.answer == tokens[: len(told.answer)] and len(told.answer) < len(tokens)

    def _check_admission(self) -> None:
        """Admitted were those with room; the oldest that waits has none; nobody was overtaken too often."""
        scheduler, info = self.scheduler, self.info
        assert not scheduler.preempted, "nobody has to give way to another of the same user"
        admitted = {s.id for s, _ in scheduler.admitted}
        self.latest = max([self.latest, *(s.age for s, _ in scheduler.admitted)])
        assert all(cached == s.computed < len(s.tokens) for s, cached in scheduler.admitted)
        if admitted and len(scheduler.running) > 1:
            assert sum(map(room_for, scheduler.running)) <= info.kv_tokens
        following = [s for s in scheduler.waiting if self._follows(s)]
        stuck = [s for s in scheduler.waiting if s not in following]
        if stuck and len(scheduler.running) + len(following) < info.parallel:
            first = stuck[0]
            before = [s for s in scheduler.running if s.id not in admitted or s.age < first.age]
            before += [s for s in following if s.age < first.age]
            assert before and sum(map(room_for, before)) + room_for(first) > info.kv_tokens
        for sequence in stuck:
            self._pass(sequence, sum(s.age > sequence.age for s, _ in scheduler.admitted))

    def _follows(self, sequence: Sequence) -> bool:
        """Whether a part of its prompt is being computed that no slot holds yet."""
        return any(
            s.computed < min(shared_prefix(s.tokens, sequence.tokens), len(sequence.tokens) - 1)
            for s in self.scheduler.running
            if s.pending > 1
        )

    def _check_batch(self, batch: list[Chunk], budget: int) -> None:
        """Every decode, oldest first, then prompts: as many tokens as allowed, and at most one prompt in part. With
        tiles the decodes or the prompts, in turn."""
        scheduler = self.scheduler
        running = {s.id: s for s in scheduler.running}
        for chunk in batch:
            sequence = running[chunk.sequence_id]
            assert (chunk.slot, chunk.start) == (sequence.slot, sequence.computed)
            assert chunk.tokens is sequence.tokens and chunk.sampling is sequence.sampling
        decodes = [s.id for s in scheduler.running if s.pending == 1]
        enough = max(len(decodes), 1) if self.info.attention_tile_rows else inf
        if self.info.attention_tile_rows and decodes and len(decodes) < len(running):
            running = {id: s for id, s in running.items() if (id in decodes) != self.decoded}
            decodes = [id for id in decodes if id in running]
        self.decoded = bool(decodes)
        assert [chunk.sequence_id for chunk in batch[: len(decodes)]] == decodes
        drafted = sum(len(chunk.draft) for chunk in batch)
        assert not drafted or len(decodes) == len(batch), "never beside prompts"
        assert drafted <= self.info.draft_tokens and tokens_in(batch) <= self.info.step_tokens
        assert (
            not self.info.attention_tile_rows or not drafted or len(decodes) + drafted < self.info.attention_tile_rows
        )
        prompts = min(budget, self.info.step_tokens) - len(decodes) - drafted
        most = len(decodes) + max(prompts, 1)
        leaders = scheduler.in_flight.stops
        own = {id: [b for b in s.snapshot_points if b > s.computed] for id, s in running.items()}
        ends = {id: min([len(s.tokens), *own[id], leaders.get(id, len(s.tokens))]) for id, s in running.items()}
        wanted = {id: ends[id] - s.computed for id, s in running.items()}
        assert all(count > 0 for count in wanted.values())
        fitting = [wanted.get(chunk.sequence_id, 1) for chunk in batch]
        if not decodes and sum(fitting) <= most and sum(fitting) >= enough > sum(fitting[:-1]):
            assert tokens_in(batch) == sum(wanted[chunk.sequence_id] for chunk in batch), (
                "a prompt's chunk ends: so does the step"
            )
        else:
            assert tokens_in(batch) - drafted == min(most, sum(wanted.values()))
        whole = {chunk.sequence_id for chunk in batch if chunk.stop - chunk.start == wanted[chunk.sequence_id]}
        parts = [chunk.sequence_id for chunk in batch if chunk.sequence_id not in whole]
        later = [s for s in running.values() if s.id not in whole]
        assert parts == [s.id for s in later[: len(parts)]] and len(parts) <= 1
        for sequence in later:
            ahead = [id for id in whole if running[id].age > sequence.age and id not in decodes]
            self._pass(sequence, len(ahead))

    def _pass(self, sequence: Sequence, times: int) -> None:
        told = self.told[sequence.id]
        told.passed += times
        assert told.passed <= fair_order.MAX_OVERTAKES

    def check(self) -> None:
        """What holds between any two calls."""
        scheduler, info = self.scheduler, self.info
        for queue in (scheduler.running, scheduler.waiting):
            ages = [s.age for s in queue]
            assert ages == sorted(set(ages)), "oldest first"
        ids = [s.id for s in scheduler.running + scheduler.waiting]
        assert set(ids) == self.live and len(ids) == len(self.live)
        assert scheduler.busy == bool(ids)
        slots = {s.slot for s in scheduler.running}
        assert len(slots) == len(scheduler.running) <= info.parallel and slots <= set(range(info.slots))
        assert scheduler.slots.idle == info.slots - len(slots)
        for sequence in scheduler.running:
            assert 0 <= sequence.computed <= len(sequence.tokens) - 1
            assert self.runner.held[sequence.slot] == sequence.tokens[: sequence.computed]
        for sequence in scheduler.waiting:
            assert sequence.slot is None and sequence.computed == 0
        for id, told in self.told.items():
            assert self.runner.forgotten[id] == (told.finish is not None)
            if told.finish is None:
                assert told.sequence.tokens == told.prompt + told.answer
        assert sum(map(len, self.runner.held)) <= info.kv_tokens


class NoRoom(Exception):
    pass


def room_for(sequence: Sequence) -> int:
    """KV tokens asked for at admission: all it has, and up to KV_RESERVE of those it may generate; all if the host has
    no memory for it beside others."""
    if sequence.alone:
        return sequences.ALL
    return len(sequence.tokens) + min(sequence.max_tokens - sequence.generated, sequences.KV_RESERVE)


def prompt(length: int, first: int = 1) -> list[int]:
    """Prompts with different first tokens share nothing."""
    return [first, *range(100, 100 + length - 1)]


def rows(batch: list[Chunk]) -> list[tuple[int, int]]:
    """(sequence, tokens) of every chunk, in order."""
    return [(chunk.sequence_id, chunk.stop - chunk.start) for chunk in batch]


def holding(engine: Engine, held: list[int]) -> list[int]:
    """The slots which hold exactly this."""
    return [slot for slot, tokens in enumerate(engine.runner.held) if tokens == held]


# Order of service


def test_decodes_come_first_then_prompts_oldest_first() -> None:
    engine = Engine(make_info(parallel=5))
    engine.add(prompt(4, 1), 9)
    engine.add(prompt(4, 2), 9)
    engine.step()
    engine.add(prompt(10, 3))
    engine.add(prompt(1, 4))
    engine.add(prompt(5, 5))
    assert rows(engine.step()) == [(1, 1), (2, 1), (4, 1), (3, 10), (5, 5)]


def test_prompts_share_the_budget_oldest_first() -> None:
    engine = Engine(make_info())
    for first in (1, 2, 3):
        engine.add(prompt(20, first), 2)
    assert rows(engine.step(30)) == [(1, 20), (2, 10)]
    assert rows(engine.step(30)) == [(1, 1), (2, 10), (3, 19)]


def test_a_long_prompt_is_cut_into_chunks_that_meet() -> None:
    engine = Engine(make_info())
    engine.add(prompt(50), 3)
    chunks = [(c.start, c.stop) for _ in range(5) for c in engine.step(20)]
    assert chunks == [(0, 20), (20, 40), (40, 50), (50, 51), (51, 52)]


def test_only_the_last_chunk_of_a_prompt_gives_a_token() -> None:
    engine = Engine(make_info())
    id = engine.add(prompt(50), 3)
    lengths = []
    for _ in range(4):
        engine.step(20)
        lengths.append(len(engine.told[id].answer))
    assert lengths == [0, 0, 1, 2]


def test_a_prompt_advances_though_decodes_fill_the_budget() -> None:
    engine = Engine(make_info())
    for first in (1, 2, 3):
        engine.add(prompt(2, first), 20)
    engine.step()
    engine.add(prompt(9, 4))
    assert rows(engine.step(3)) == [(1, 1), (2, 1), (3, 1), (4, 1)]
    assert rows(engine.step(1)) == [(1, 1), (2, 1), (3, 1), (4, 1)]


def test_with_tiles_decodes_and_prompts_take_turns() -> None:
    engine = Engine(make_info(attention_tile_rows=16))
    for first in (1, 2):
        engine.add(prompt(2, first), 20)
    for _ in range(4):
        engine.step()
    engine.add(prompt(40, 3), 20)
    decodes = [(1, 1), (2, 1)]
    steps = [rows(engine.step(16)) for _ in range(6)]
    assert steps == [[(3, 16)], decodes, [(3, 16)], decodes, [(3, 8)], [*decodes, (3, 1)]]


def test_with_tiles_a_first_token_does_not_wait_for_the_prompts_of_others() -> None:
    engine = Engine(make_info(attention_tile_rows=16))
    for first in (1, 2):
        engine.add(prompt(6, first), 20)
    assert [rows(engine.step(16)) for _ in range(3)] == [[(1, 6)], [(1, 1)], [(2, 6)]]
    assert rows(engine.step(16)) == [(1, 1), (2, 1)]


def test_with_tiles_prompts_get_as_many_rows_as_decode() -> None:
    engine = Engine(make_info(parallel=8, attention_tile_rows=16))
    for first in range(4):
        engine.add(prompt(2, first), 40)
    for _ in range(8):
        engine.step(16)
    assert len(engine.scheduler.running) == 4 == sum(s.pending for s in engine.scheduler.running)
    for first in range(4, 8):
        engine.add(prompt(2, first), 20)
    assert rows(engine.step(16)) == [(5, 2), (6, 2)]
    assert rows(engine.step(16)) == [(id, 1) for id in range(1, 7)]
    assert rows(engine.step(16)) == [(7, 2), (8, 2)], "as far as there are prompts"


def test_with_tiles_a_prompt_counts_as_far_as_it_is_computed() -> None:
    """The older one stops where another branches off: so far it fits, though all of it would not."""
    engine = Engine(make_info(attention_tile_rows=16))
    leader = engine.add(prompt(60, 1), 2)
    engine.step(4)
    engine.add([*prompt(40, 1), 7, 7], 2)
    engine.add(prompt(10, 3), 2)
    assert rows(engine.step(48)) == [(leader, 36)]
    engine.finish()


def test_a_step_never_takes_more_than_the_runner_allows() -> None:
    engine = Engine(make_info(step_tokens=5))
    for first in (1, 2, 3, 4):
        engine.add(prompt(9, first), 4)
    assert rows(engine.step(1000)) == [(1, 5)]
    engine.finish(1000)


def test_rows_are_limited_and_the_rest_waits_in_order() -> None:
    engine = Engine(make_info(parallel=2))
    for first in (1, 2, 3, 4):
        engine.add(prompt(3, first))
    assert rows(engine.step()) == [(1, 3), (2, 3)]
    assert rows(engine.step()) == [(3, 3), (4, 3)]


def test_nothing_queued_is_an_empty_batch() -> None:
    engine = Engine(make_info())
    assert engine.step() == [] and not engine.scheduler.busy


# Overtaking


def test_a_short_prompt_that_fits_whole_goes_ahead() -> None:
    engine = Engine(make_info())
    engine.add(prompt(40, 1))
    engine.add(prompt(30, 2))
    engine.add(prompt(10, 3))
    assert rows(engine.step(30)) == [(2, 30)]
    assert rows(engine.step(30)) == [(3, 10), (1, 20)]


def test_those_that_go_ahead_fit_together() -> None:
    """The third would fit were it not for the second: what is left goes to the first."""
    engine = Engine(make_info())
    engine.add(prompt(60, 1))
    engine.add(prompt(20, 2))
    engine.add(prompt(20, 3))
    assert rows(engine.step(35)) == [(2, 20), (1, 15)]
    engine.finish()


def test_a_prompt_that_fits_exactly_is_whole() -> None:
    engine = Engine(make_info())
    engine.add(prompt(20, 1))
    engine.add(prompt(10, 2))
    assert rows(engine.step(20)) == [(1, 20)]


def test_at_most_so_many_overtake_within_a_step() -> None:
    engine = Engine(make_info(parallel=fair_order.MAX_OVERTAKES + 3))
    engine.add(prompt(60, 1))
    for first in range(2, fair_order.MAX_OVERTAKES + 4):
        engine.add(prompt(2, first))
    ahead = [(first, 2) for first in range(2, fair_order.MAX_OVERTAKES + 2)]
    assert rows(engine.step(50)) == [*ahead, (1, 50 - 2 * fair_order.MAX_OVERTAKES)]
    assert rows(engine.step(50)) == [(1, 26), (10, 2), (11, 2)]


def test_at_most_so_many_overtake_across_steps() -> None:
    """Each younger prompt takes the whole step, so the older one stands still until it may not be overtaken again."""
    engine = Engine(make_info())
    long = engine.add(prompt(20, 1))
    served = []
    for first in range(2, fair_order.MAX_OVERTAKES + 6):
        engine.add(prompt(8, first))
        served += rows(engine.step(8))
    assert served[: fair_order.MAX_OVERTAKES] == [(first, 8) for first in range(2, fair_order.MAX_OVERTAKES + 2)]
    assert served[fair_order.MAX_OVERTAKES : fair_order.MAX_OVERTAKES + 3] == [(long, 8), (long, 8), (long, 4)]


def test_who_may_not_be_overtaken_also_holds_those_behind_an_older_one() -> None:
    """The third prompt would pass two, one of which was passed often enough."""
    engine = Engine(make_info())
    engine.add(prompt(60, 1))
    for first in range(2, fair_order.MAX_OVERTAKES + 2):
        engine.add(prompt(8, first))
        engine.step(8)
    late = engine.add(prompt(30, 20))
    short = engine.add(prompt(2, 21))
    assert rows(engine.step(16)) == [(1, 16)]
    assert engine.told[late].passed == engine.told[short].passed == 0
    engine.finish()


def test_requests_take_turns_however_many_sequences_they_have() -> None:
    """One of each in a round, the oldest request first; who comes begins with the next round."""
    engine = Engine(make_info(parallel=1, kv_tokens=64))
    many = engine.add_request([prompt(2, first) for first in range(1, 10)])
    order = [rows(engine.step())[0][0] for _ in range(3)]
    several = engine.add_request([prompt(2, first) for first in range(20, 24)])
    one = engine.add(prompt(2, 30))
    order += [rows(engine.step())[0][0] for _ in range(2)]
    late = engine.add(prompt(2, 31))
    while engine.live:
        order += [id for id, _ in rows(engine.step())]
    turns = [many[3], several[0], one, many[4], several[1], late, many[5], several[2], many[6], several[3]]
    assert order == [*many[:3], *turns, *many[7:]]


def test_newcomers_do_not_starve_a_request_of_many() -> None:
    """One comes in every other step, the many get the rest."""
    engine = Engine(make_info(parallel=1, kv_tokens=64))
    many = engine.add_request([prompt(2, first) for first in range(1, 9)])
    served = []
    for step in range(len(many)):
        engine.add(prompt(2, 20 + step))
        served += [id for _ in range(2) for id, _ in rows(engine.step())]
    assert [id for id in served if id in many] == many and not engine.live


def test_a_sequence_with_room_in_the_pool_passes_one_without() -> None:
    engine = Engine(make_info(kv_tokens=64))
    engine.add(prompt(20, 1), 20)
    engine.step()
    large = engine.add(prompt(20, 2), 5)
    small = engine.add(prompt(20, 3), 4)
    engine.step()
    assert [s.id for s in engine.scheduler.running] == [1, small]
    assert [s.id for s in engine.scheduler.waiting] == [large]


def test_at_most_so_many_pass_one_that_waits_for_room() -> None:
    engine = Engine(make_info(kv_tokens=64))
    engine.add(prompt(2, 1), 40)
    engine.step()
    large = engine.add(prompt(40, 2), 20)
    small = [engine.add(prompt(4, first)) for first in range(3, fair_order.MAX_OVERTAKES + 6)]
    for _ in range(10):
        engine.step()
    assert [id for id in small if engine.told[id].finish] == small[: fair_order.MAX_OVERTAKES]
    assert engine.told[large].passed == fair_order.MAX_OVERTAKES
    while not engine.told[large].answer:
        assert not any(engine.told[id].finish for id in small[fair_order.MAX_OVERTAKES :])
        engine.step()
    assert engine.told[1].finish
    engine.finish()


def test_waiting_for_room_and_waiting_for_tokens_count_together() -> None:
    engine = Engine(make_info(kv_tokens=64))
    engine.add(prompt(2, 1), 9)
    engine.step()
    long = engine.add(prompt(50, 2), 10)
    for first in range(3, 3 + fair_order.MAX_OVERTAKES // 2):
        engine.add(prompt(2, first))
    while engine.told[1].finish is None:
        engine.step()
    assert engine.told[long].passed == fair_order.MAX_OVERTAKES // 2 and engine.told[long].sequence.slot is None
    engine.info = engine.scheduler.info = replace(engine.info, kv_tokens=256)
    for first in range(20, 20 + fair_order.MAX_OVERTAKES):
        engine.add(prompt(3, first))
        engine.step(3)
    assert engine.told[long].passed == fair_order.MAX_OVERTAKES
    assert engine.told[long].sequence.computed == 3 * (fair_order.MAX_OVERTAKES - fair_order.MAX_OVERTAKES // 2)


def steps_under_a_stream(engine: Engine, long: int, short: Callable[[int], None], budget: int, most: int) -> int:
    """Before each step another short request comes. How many steps until the long one ends?"""
    for step in range(most):
        if engine.told[long].finish:
            return step
        short(step)
        engine.step(budget)
    raise AssertionError("the long prompt starves")


@pytest.mark.parametrize("per_step", [1, 3])
def test_a_prompt_of_many_chunks_ends_under_an_endless_stream_of_short_ones(per_step: int) -> None:
    """Each short prompt fits whole and would take all of the step's tokens."""
    engine = Engine(make_info(context=512, kv_tokens=2048))
    long = engine.add(prompt(100), 4)

    def short(step: int) -> None:
        for i in range(per_step):
            engine.add(prompt(8, 2 + (step * per_step + i) % 90))

    steps = steps_under_a_stream(engine, long, short, budget=8, most=100)
    assert steps <= fair_order.MAX_OVERTAKES + 13 + 3


@pytest.mark.parametrize("max_tokens", [1, 6])
def test_a_prompt_that_needs_the_whole_pool_ends_under_an_endless_stream_of_short_ones(max_tokens: int) -> None:
    """There is always a short one that runs, and room for another: never for the long one."""
    engine = Engine(make_info(kv_tokens=64))
    engine.add(prompt(4, 2), 8)
    engine.step()
    long = engine.add(prompt(55), 5)

    def short(step: int) -> None:
        engine.add(prompt(4, 3 + step % 90), max_tokens)
        engine.add(prompt(4, 3 + (step + 50) % 90), max_tokens)

    assert steps_under_a_stream(engine, long, short, budget=64, most=200) < 60
    assert engine.told[long].passed == fair_order.MAX_OVERTAKES


def test_a_prompt_of_many_chunks_ends_though_the_pool_is_always_short() -> None:
    """Short ones preempt nothing older: idle caches and younger ones give way."""
    engine = Engine(make_info(parallel=3, kv_tokens=80))
    long = engine.add(prompt(58), 6)

    def short(step: int) -> None:
        engine.add(prompt(6, 2 + step % 90), 2)

    with mock.patch.object(sequences, "KV_RESERVE", 0):
        assert steps_under_a_stream(engine, long, short, budget=6, most=200) <= fair_order.MAX_OVERTAKES + 10 + 6


# Admission


def test_admission_asks_for_the_prompt_and_what_it_may_generate() -> None:
    for max_tokens, fits in ((14, True), (15, False)):
        engine = Engine(make_info(kv_tokens=64))
        engine.add(prompt(20, 1), 10)
        engine.add(prompt(20, 2), max_tokens)
        engine.step()
        assert len(engine.scheduler.running) == 1 + fits


def test_admission_asks_for_no_more_than_the_reserve() -> None:
    asked = 10 + 10 + 2 * KV_RESERVE
    for kv_tokens, fits in ((asked, True), (asked - 1, False)):
        engine = Engine(make_info(context=500, kv_tokens=kv_tokens))
        engine.add(prompt(10, 1), KV_RESERVE + 100)
        engine.add(prompt(10, 2), KV_RESERVE + 200)
        engine.step()
        assert len(engine.scheduler.running) == 1 + fits


def test_one_alone_is_admitted_whatever_it_asks() -> None:
    engine = Engine(make_info(context=64, kv_tokens=64))
    id = engine.add(prompt(63), 1)
    engine.finish()
    assert engine.told[id].finish == "length"


def test_admission_tells_who_came_and_what_was_cached() -> None:
    engine = Engine(make_info())
    first = engine.add(prompt(10))
    engine.step()
    assert [(s.id, cached) for s, cached in engine.scheduler.admitted] == [(first, 0)]
    second = engine.add(prompt(15), 2)
    engine.step()
    assert [(s.id, cached) for s, cached in engine.scheduler.admitted] == [(second, 10)]
    engine.step()
    assert engine.scheduler.admitted == []


@pytest.mark.parametrize("length, max_tokens", [(0, 1), (64, 1), (63, 2), (10, 0), (1, 64)])
def test_what_does_not_fit_the_context_is_a_bug_of_the_caller(length: int, max_tokens: int) -> None:
    engine = Engine(make_info(context=64))
    with pytest.raises(AssertionError):
        engine.scheduler.add(Sequence(1, [1] * length, max_tokens, SamplingParams()))
    assert not engine.scheduler.busy


def test_an_id_in_use_cannot_be_added_again() -> None:
    engine = Engine(make_info())
    engine.add(prompt(4), 2)
    with pytest.raises(AssertionError):
        engine.scheduler.add(Sequence(1, prompt(5), 1, SamplingParams()))
    engine.finish()


# Ends


def test_max_tokens_ends_with_length() -> None:
    engine = Engine(make_info())
    id = engine.add(prompt(4), 5)
    engine.finish()
    assert engine.told[id].finish == "length" and len(engine.told[id].answer) == 5


def test_an_end_token_ends_with_stop_and_is_part_of_the_answer() -> None:
    answer, _ = expected(make_info(), prompt(4), 9)
    engine = Engine(make_info(eog=frozenset({answer[2]})))
    id = engine.add(prompt(4), 9)
    engine.finish()
    assert engine.told[id].finish == "stop" and engine.told[id].answer == answer[:3]


def test_an_end_token_in_the_last_place_is_a_stop() -> None:
    answer, _ = expected(make_info(), prompt(4), 3)
    engine = Engine(make_info(eog=frozenset({answer[2]})))
    id = engine.add(prompt(4), 3)
    engine.finish()
    assert engine.told[id].finish == "stop" and engine.told[id].answer == answer


def test_an_end_token_in_the_prompt_ends_nothing() -> None:
    answer, _ = expected(make_info(), prompt(4), 3)
    engine = Engine(make_info(eog=frozenset(prompt(4)) - set(answer)))
    id = engine.add(prompt(4), 3)
    engine.finish()
    assert engine.told[id].finish == "length"


@pytest.mark.parametrize("length", [1, 32, 63])
def test_an_answer_may_fill_the_context_to_its_end(length: int) -> None:
    engine = Engine(make_info(context=64, kv_tokens=64))
    id = engine.add(prompt(length), 64 - length)
    engine.finish()
    assert engine.told[id].finish == "length" and len(engine.told[id].answer) == 64 - length


def test_several_tokens_of_one_step_are_cut_at_the_end() -> None:
    for drawn, kept, finish in (
        ([7, 8], [7, 8], None),
        ([7, 8, 9], [7, 8, 9], "length"),
        ([7, 8, 9, 10], [7, 8, 9], "length"),
        ([7, 99, 8], [7, 99], "stop"),
        ([7, 8, 99], [7, 8, 99], "stop"),
        ([7, 8, 9, 99], [7, 8, 9], "length"),
    ):
        engine = Engine(make_info(eog=frozenset({99})))
        id = engine.add(prompt(4), 3)
        batch = engine.scheduler.schedule(lambda *_: 64)
        assert engine.scheduler.advance(batch, [Result(drawn)]) == [Output(id, kept, [], finish)]
        assert engine.scheduler.busy == (finish is None)


# Aborts


def test_abort_while_it_waits() -> None:
    engine = Engine(make_info(parallel=1))
    engine.add(prompt(4, 1), 3)
    waits = engine.add(prompt(4, 2), 3)
    engine.step()
    engine.abort(waits)
    engine.check()
    engine.finish()


def test_abort_before_the_first_step() -> None:
    engine = Engine(make_info())
    engine.abort(engine.add(prompt(4)))
    engine.check()
    assert not engine.scheduler.busy and engine.step() == []


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_abort_of_a_prompt_half_computed_or_of_a_stream_leaves_its_cache(steps: int) -> None:
    engine = Engine(make_info())
    id = engine.add(prompt(20), 9)
    for _ in range(steps):
        engine.step(10)
    sequence = engine.told[id].sequence
    held = sequence.tokens[: sequence.computed]
    engine.abort(id)
    engine.check()
    assert engine.scheduler.slots.idle == engine.info.slots
    again = engine.add([*held, 77], 2)
    engine.step()
    assert [(s.id, cached) for s, cached in engine.scheduler.admitted] == [(again, len(held))]


def test_abort_of_an_unknown_or_ended_id_is_ignored() -> None:
    engine = Engine(make_info())
    id = engine.add(prompt(4), 2)
    engine.abort(99)
    engine.finish()
    engine.abort(id)
    engine.check()
    assert engine.runner.forgotten == {id: 1}


def test_abort_of_one_that_was_preempted() -> None:
    engine = Engine(make_info())
    engine.add(prompt(4, 1), 9)
    id = engine.add(prompt(4, 2), 9)
    engine.step()
    engine.step(faults=Faults(exhausted=1))
    assert engine.preempted == [id] and engine.told[id].answer
    engine.abort(id)
    engine.check()
    engine.finish()


def test_the_place_of_one_that_was_aborted_goes_to_the_next() -> None:
    engine = Engine(make_info(parallel=1, spare=0))
    first, second = engine.add(prompt(4, 1), 9), engine.add(prompt(4, 2), 9)
    engine.step()
    engine.abort(first)
    assert rows(engine.step()) == [(second, 4)]


# Reuse

offloadings = pytest.mark.parametrize("offload_tokens", [0, 200])


@offloadings
def test_what_is_shared_is_not_computed_again(offload_tokens: int) -> None:
    engine = Engine(make_info(offload_tokens=offload_tokens))
    engine.add(prompt(20), 5)
    engine.finish()
    engine.add(prompt(30), 1)
    assert rows(engine.step()) == [(2, 10)]


def test_a_conversation_goes_on_from_its_answer() -> None:
    engine = Engine(make_info())
    id = engine.add(prompt(20), 5)
    engine.finish()
    engine.add([*prompt(20), *engine.told[id].answer, 1, 2, 3])
    assert rows(engine.step()) == [(2, 4)], "the last token of an answer was never computed"


def test_the_last_token_of_a_prompt_is_always_computed() -> None:
    engine = Engine(make_info())
    for id in (1, 2, 3):
        engine.add(prompt(20), 3)
        engine.finish()
        assert engine.told[id].answer == engine.told[1].answer
    engine.add(prompt(20), 3)
    assert rows(engine.step()) == [(4, 1)]


def test_a_cache_that_cannot_be_cut_is_computed_again() -> None:
    engine = Engine(make_info())
    engine.runner.can_cut = False
    engine.add(prompt(20), 5)
    engine.finish()
    engine.add(prompt(30), 1)
    assert rows(engine.step()) == [(2, 30)]
    assert engine.scheduler.admitted[0][1] == 0


@offloadings
def test_a_slot_that_would_lose_more_than_little_is_copied(offload_tokens: int) -> None:
    engine = Engine(make_info(offload_tokens=offload_tokens))
    engine.add(prompt(40), 1)
    engine.finish()
    engine.add([*prompt(30), 5, 6])
    assert rows(engine.step()) == [(2, 2)]
    engine.add([*prompt(39), 5, 6])
    assert rows(engine.step()) == [(3, 2)], "the longer conversation was still there"
    engine.add([*prompt(40), 5, 6])
    assert rows(engine.step()) == [(4, 3)], "and lost one token only"


@offloadings
def test_two_with_the_same_prefix_do_not_share_a_slot(offload_tokens: int) -> None:
    engine = Engine(make_info(offload_tokens=offload_tokens))
    engine.add(prompt(20), 1)
    engine.finish()
    engine.add([*prompt(20), 5], 3)
    engine.add([*prompt(20), 6], 3)
    assert rows(engine.step()) == [(2, 1), (3, 1)]
    engine.finish()


# Sharing in flight


def test_a_prefix_that_is_being_computed_is_waited_for() -> None:
    engine = Engine(make_info())
    for last in (5, 6, 7):
        engine.add([*prompt(40), last, last], 2)
    assert rows(engine.step(30)) == [(1, 30)]
    assert rows(engine.step(30)) == [(1, 10)], "a chunk ends where the others branch off"
    assert rows(engine.step(30)) == [(1, 2), (2, 2), (3, 2)]
    engine.finish()


def test_the_same_prompt_three_times_is_computed_once() -> None:
    engine = Engine(make_info())
    for _ in range(3):
        engine.add(prompt(40), 2)
    assert rows(engine.step()) == [(1, 39)]
    assert rows(engine.step()) == [(1, 1), (2, 1), (3, 1)]


@offloadings
def test_a_copy_is_kept_at_a_border(offload_tokens: int) -> None:
    engine = Engine(make_info(can_truncate=False, offload_tokens=offload_tokens))
    engine.add([*prompt(40), 5, 6], 3, snapshot_points=(20, 40))
    assert [rows(engine.step()) for _ in range(3)] == [[(1, 20)], [(1, 20)], [(1, 2)]]
    engine.finish()
    engine.add([*prompt(40), 7, 8], 3, snapshot_points=(20, 40))
    assert rows(engine.step()) == [(2, 2)]
    engine.add([*prompt(30), 7, 8], 3)
    assert rows(engine.step()) == [(2, 1), (3, 12)]
    engine.finish()


@offloadings
def test_a_border_is_kept_once_and_for_all(offload_tokens: int) -> None:
    engine = Engine(make_info(can_truncate=False, spare=4, offload_tokens=offload_tokens))
    computed = []
    for last in (5, 6, 7, 8):
        engine.add([*prompt(30), last, last], 2, snapshot_points=(30,))
        computed.append(rows(engine.step()))
        engine.finish()
    assert computed == [[(1, 30)], [(2, 2)], [(3, 2)], [(4, 2)]]
    assert len(holding(engine, prompt(30))) + list(engine.runner.offloaded.values()).count(prompt(30)) == 1


def test_what_cannot_be_cut_is_copied_where_it_ends() -> None:
    engine = Engine(make_info(can_truncate=False))
    for last in (5, 6):
        engine.add([*prompt(40), last, last], 2)
    assert rows(engine.step()) == [(1, 40)]
    assert rows(engine.step()) == [(1, 2), (2, 2)]


def test_a_short_prefix_is_not_worth_waiting_for() -> None:
    engine = Engine(make_info())
    for last in (5, 6):
        engine.add([*prompt(prefix_cache.MIN_PREFIX - 1), last], 2)
    assert rows(engine.step()) == [(1, 16), (2, 16)]


def test_when_the_leader_goes_the_next_goes_on() -> None:
    engine = Engine(make_info())
    for last in (5, 6, 7):
        engine.add([*prompt(40), last, last], 2)
    engine.step(20)
    engine.abort(1)
    assert rows(engine.step(30)) == [(2, 20)]
    assert rows(engine.step(30)) == [(2, 2), (3, 2)]


def test_one_that_waits_for_a_prefix_keeps_its_row() -> None:
    engine = Engine(make_info(parallel=2))
    for last in (5, 6):
        engine.add([*prompt(40), last], 9)
    other = engine.add(prompt(4, 2), 2)
    assert rows(engine.step(64)) == [(1, 40)]
    assert rows(engine.step(64)) == [(1, 1), (2, 1)]
    assert [s.id for s in engine.scheduler.waiting] == [other]


def test_those_that_share_nothing_run_beside_those_that_wait() -> None:
    engine = Engine(make_info())
    for last in (5, 6):
        engine.add([*prompt(40), last], 9)
    engine.add(prompt(4, 2), 2)
    assert rows(engine.step(64)) == [(1, 40), (3, 4)]


# Parking


def test_idle_slots_are_offloaded_while_others_run() -> None:
    engine = Engine(make_info(offload_tokens=25))
    fill_caches(engine, 1, 2)
    assert sum(map(len, engine.runner.held)) == 10, "nothing runs, so nothing hurries"
    engine.add(prompt(4, 3), 3)
    engine.step()
    assert sorted(map(len, engine.runner.offloaded.values())) == [10, 10]
    assert engine.scheduler.kv_used == 4
    engine.finish()


def test_the_least_recently_used_gives_way_where_no_more_can_be_offloaded() -> None:
    engine = Engine(make_info(offload_tokens=25))
    fill_caches(engine, 1, 2, 3)
    engine.add(prompt(4, 4))
    engine.step()
    assert sorted(held[0] for held in engine.runner.offloaded.values()) == [2, 3]


def test_what_is_offloaded_gives_way_where_the_host_has_no_memory() -> None:
    engine = Engine(make_info(offload_tokens=25))
    fill_caches(engine, 1, 2)
    engine.add(prompt(4, 3), 3)
    engine.add(prompt(4, 4), 3)
    engine.step(faults=Faults(exhausted=1))
    assert [held[0] for held in engine.runner.offloaded.values()] == [2], "the oldest"
    assert not engine.preempted
    engine.step(faults=Faults(exhausted=2))
    assert not engine.runner.offloaded and len(engine.preempted) == 1
    engine.finish()


def test_one_that_is_too_large_stays_in_the_pool() -> None:
    engine = Engine(make_info(offload_tokens=9))
    fill_caches(engine, 1)
    engine.add(prompt(4, 4))
    engine.step()
    assert not engine.runner.offloaded and holding(engine, prompt(10, 1))


def test_a_offloaded_slot_comes_back_though_the_pool_is_full_of_idle_ones() -> None:
    engine = Engine(make_info(offload_tokens=300, kv_tokens=64))
    fill_caches(engine, 1, 2, 3)
    engine.add(prompt(60, 4), 2)
    engine.finish()
    engine.add([*prompt(10, 1), 7])
    assert rows(engine.step()) == [(5, 1)]


def test_a_long_offloaded_slot_is_not_brought_for_a_few_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prefix_cache, "MAX_RESTORED", 2)
    engine = Engine(make_info(offload_tokens=300))
    engine.add(prompt(50, 1))
    engine.finish()
    engine.add(prompt(4, 2))
    engine.finish()
    engine.add([*prompt(20, 1), 7, 7])
    assert rows(engine.step()) == [(3, 22)]
    engine.add([*prompt(30, 1), 7, 7])
    assert rows(engine.step()) == [(4, 2)]


# Exhaustion


def fill_caches(engine: Engine, *firsts: int) -> None:
    for first in firsts:
        engine.add(prompt(10, first))
        engine.finish()


def test_the_least_recently_used_cache_goes_first() -> None:
    engine = Engine(make_info())
    fill_caches(engine, 1, 2, 3)
    engine.add([*prompt(10, 1), 7])
    engine.finish()
    engine.add(prompt(4, 9), 9)
    dropped = []
    for _ in range(3):
        before = [first for first in (1, 2, 3) if has_cache(engine, first)]
        engine.step(faults=Faults(exhausted=1))
        dropped += [first for first in before if not has_cache(engine, first)]
        assert engine.preempted == []
    assert dropped == [2, 3, 1]
    engine.finish()


def has_cache(engine: Engine, first: int) -> bool:
    return any(held[:10] == prompt(10, first) for held in engine.runner.held)


def test_then_the_youngest_is_preempted_and_the_oldest_never() -> None:
    engine = Engine(make_info())
    fill_caches(engine, 1)
    oldest, middle, youngest = (engine.add(prompt(4, first), 9) for first in (2, 3, 4))
    engine.step()
    assert rows(engine.step(faults=Faults(exhausted=3))) == [(oldest, 1)]
    assert engine.preempted == [youngest, middle] and not has_cache(engine, 1)
    assert [s.id for s in engine.scheduler.waiting] == [middle, youngest]
    engine.finish()


def test_one_that_is_alone_has_nothing_to_give() -> None:
    engine = Engine(make_info())
    id = engine.add(prompt(4), 9)
    engine.step()
    engine.step(faults=Faults(exhausted=1))
    assert engine.told[id].finish == "error"


def test_one_that_found_no_room_leaves_nothing_in_the_pool() -> None:
    """Its slot counts as empty, so nothing else would ever free what it held."""
    engine = Engine(make_info(kv_tokens=64))
    engine.add(prompt(40, 1), 9)
    engine.step()
    engine.step(faults=Faults(exhausted=1))
    assert engine.told[1].finish == "error"
    second = engine.add(prompt(40, 2), 9)
    engine.finish()
    assert engine.told[second].finish == "length"


def test_a_preempted_sequence_is_computed_again_and_goes_on() -> None:
    engine = Engine(make_info())
    engine.add(prompt(4, 1), 9)
    id = engine.add(prompt(4, 2), 9)
    for _ in range(3):
        engine.step()
    assert rows(engine.step(faults=Faults(exhausted=1))) == [(1, 1)]
    assert rows(engine.step()) == [(1, 1), (id, 7)]
    assert len(engine.told[id].answer) == 4
    engine.finish()


def test_a_preempted_prompt_starts_again() -> None:
    engine = Engine(make_info())
    engine.add(prompt(4, 1), 9)
    engine.step()
    id = engine.add(prompt(40, 2), 9)
    engine.step(20)
    assert rows(engine.step(20, Faults(exhausted=1))) == [(1, 1)]
    assert rows(engine.step()) == [(1, 1), (id, 40)]
    engine.finish()


def test_a_preempted_sequence_comes_before_those_that_came_later() -> None:
    engine = Engine(make_info(parallel=2))
    for first in (1, 2, 3):
        engine.add(prompt(4, first), 9)
    engine.step()
    engine.step(faults=Faults(exhausted=1))
    assert [s.id for s in engine.scheduler.waiting] == [2, 3]
    assert [id for id, _ in rows(engine.step())] == [1, 2]
    engine.finish()


def test_a_preempted_sequence_comes_after_an_older_one_that_never_had_room() -> None:
    engine = Engine(make_info(kv_tokens=64))
    engine.add(prompt(4, 1), 9)
    engine.step()
    large = engine.add(prompt(50, 2), 9)
    small = engine.add(prompt(4, 3), 9)
    engine.step()
    engine.step(faults=Faults(exhausted=1))
    assert engine.preempted == [small]
    assert [s.id for s in engine.scheduler.waiting] == [large, small]
    engine.finish()


def test_one_admitted_late_runs_before_the_younger_that_passed_it() -> None:
    """So the younger gives way first when the pool is full, though it was there before."""
    engine = Engine(make_info(kv_tokens=64))
    first = engine.add(prompt(10, 1), 2)
    engine.step()
    large = engine.add(prompt(45, 2), 9)
    small = engine.add(prompt(4, 3), 6)
    engine.step()
    assert engine.told[first].finish and [s.id for s in engine.scheduler.running] == [small]
    engine.step()
    assert [s.id for s in engine.scheduler.running] == [large, small]
    engine.step(faults=Faults(exhausted=2))
    assert engine.preempted == [small]
    engine.finish()


def test_a_step_may_be_left_with_nothing() -> None:
    """The only chunk was the youngest's, which had overtaken; the older one goes on in the next step."""
    engine = Engine(make_info())
    engine.add(prompt(40, 1))
    engine.add(prompt(10, 2))
    assert engine.step(10, Faults(exhausted=1)) == []
    assert engine.preempted == [2]
    engine.finish()


def test_a_real_pool_runs_full_and_every_answer_is_as_if_it_had_not() -> None:
    """Admitted with room for KV_RESERVE more, three outgrow the pool; and the one which goes stays away for a while."""
    engine = Engine(make_info(context=1000, kv_tokens=1000, parallel=3, step_tokens=1000))
    for first in (1, 2, 3):
        engine.add(prompt(20, first), 900)
    preempted = []
    while engine.scheduler.busy:
        engine.step(100)
        preempted += engine.preempted
    assert preempted == [3, 2]
    assert [told.finish for told in engine.told.values()] == ["length"] * 3


def test_a_full_pool_of_idle_caches_does_not_stop_anyone() -> None:
    engine = Engine(make_info(parallel=2, spare=6, kv_tokens=64))
    fill_caches(engine, 1, 2, 3, 4, 5, 6)
    engine.add(prompt(60, 9), 4)
    engine.finish()
    assert engine.told[7].finish == "length"


class Passing:
    """A constraint on the first tokens."""

    param, problem = "passing", ""

    def __init__(self, count: int):
        self.left = count

    def allows(self, token: int) -> bool:
        return True

    def mask(self) -> None:
        return None

    def accept(self, token: int) -> bool:
        return True

    @property
    def active(self) -> "Passing | None":
        self.left -= 1
        return self if self.left else None


def test_where_a_constraint_matters_no_more_is_guessed_again() -> None:
    engine = Engine(make_info(draft_tokens=8))
    told = engine.told[engine.add(prompt(10), 30)]
    told.sequence.matcher = Passing(3)
    drafted = []
    while told.finish is None:
        drafted += [len(chunk.draft) for chunk in engine.step()]
    assert drafted[:3] == [0, 0, 0] and any(drafted[3:])


# Faults


def test_a_row_that_fails_ends_alone_and_its_cache_stays() -> None:
    engine = Engine(make_info())
    engine.add(prompt(4, 1), 4)
    engine.add(prompt(20, 2), 4)
    engine.step(faults=Faults(errors=frozenset({1})))
    assert [told.finish for told in engine.told.values()] == [None, "error"]
    engine.add([*prompt(20, 2), 7])
    assert rows(engine.step()) == [(1, 1), (3, 1)]
    engine.finish()


def test_what_a_runner_drops_of_a_row_that_fails_is_no_prefix() -> None:
    engine = Engine(make_info())
    engine.add(prompt(20), 4)
    dropping = mock.patch.object(engine.runner, "trim", lambda slot, length: engine.runner.held[slot].clear() or 0)
    with dropping:
        engine.step(faults=Faults(errors=frozenset({0})))
    assert engine.scheduler.kv_used == 0
    engine.add(prompt(20), 4)
    assert rows(engine.step()) == [(2, 20)]
    engine.finish()


def test_a_prompt_that_fails_half_way_leaves_what_was_computed() -> None:
    engine = Engine(make_info())
    engine.add(prompt(40), 4)
    engine.step(25, Faults(errors=frozenset({0})))
    engine.add(prompt(40), 4)
    assert rows(engine.step()) == [(2, 15)]
    engine.finish()


@pytest.mark.parametrize("at_collect", [False, True])
def test_a_step_that_fails_for_some_leaves_the_others_where_they_were(at_collect: bool) -> None:
    engine = Engine(make_info())
    for first in (1, 2, 3):
        engine.add(prompt(4, first), 5)
    engine.step()
    engine.step(faults=Faults(fails=frozenset({0, 2}), at_collect=at_collect))
    assert [told.finish for told in engine.told.values()] == ["error", None, "error"]
    assert [len(told.answer) for told in engine.told.values()] == [1, 1, 1]
    again = engine.add(prompt(4, 1), 5)
    assert rows(engine.step()) == [(2, 1), (again, 4)], "a slot that failed holds nothing"
    engine.finish()


@pytest.mark.parametrize("at_collect", [False, True])
def test_after_a_crash_those_of_the_step_end_and_the_others_are_computed_again(at_collect: bool) -> None:
    engine = Engine(make_info())
    fill_caches(engine, 1)
    decodes = engine.add(prompt(10, 2), 5)
    engine.step()
    long = engine.add(prompt(50, 3), 2)
    later = [engine.add(prompt(20, first), 2) for first in (4, 5)]
    engine.step(6, Faults(crashes=True, at_collect=at_collect))
    assert {id for id, told in engine.told.items() if told.finish == "error"} == {decodes, long}
    assert [s.id for s in engine.scheduler.waiting] == later and engine.scheduler.running == []
    assert engine.scheduler.slots.idle == engine.info.slots and not engine.scheduler.slots.in_pool()
    engine.add(prompt(10, 1))
    assert rows(engine.step()) == [(4, 20), (5, 20), (6, 10)], "no cache was left"
    engine.finish()


def test_after_a_crash_answers_go_on_where_they_were() -> None:
    engine = Engine(make_info())
    old = engine.add(prompt(60, 1), 4)
    engine.step(20)
    stream = engine.add(prompt(4, 2), 9)
    engine.step(4)
    for _ in range(3):
        engine.step(4)
    engine.abort(old)
    engine.runner.reset()
    engine.scheduler.restart()
    engine.check()
    assert len(engine.told[stream].answer) == 4
    assert rows(engine.step()) == [(stream, 8)]
    engine.finish()


# Together with the runner that the other tests use


def test_the_fake_runner_counts_on_through_a_pool_that_is_too_small() -> None:
    runner = FakeRunner(EngineSpec(engine="fake", model="", context=700, parallel=4), kv_tokens=700)
    scheduler = Scheduler(runner.info, runner)
    texts = {id: runner.tokenizer.encode(f"prompt {id} ends in {chr(64 + id)}") for id in range(1, 7)}
    for id, text in texts.items():
        scheduler.add(Sequence(id, text.copy(), 500 if id % 2 else 20, SamplingParams(logit_bias={EOG: -inf})))
    answers: dict[int, list[int]] = {id: [] for id in texts}
    preempted = 0
    for _ in range(5_000):
        batch = submit_what_fits(scheduler, runner)
        for output in scheduler.advance(batch, runner.collect() if batch else []):
            answers[output.id] += output.tokens
        preempted += len(scheduler.preempted)
        if not scheduler.busy:
            break
    assert preempted > 0 and not scheduler.busy
    for id, answer in answers.items():
        first = texts[id][-1] - 32 + 1
        assert answer == [32 + (first + i) % 95 for i in range(500 if id % 2 else 20)]


def submit_what_fits(scheduler: Scheduler, runner: FakeRunner) -> list[Chunk]:
    batch: list[Chunk] | None = scheduler.schedule(lambda *_: 60)
    for _ in range(runner.info.slots + runner.info.parallel):
        assert batch is not None
        if not batch:
            return []
        try:
            runner.submit(batch)
            return batch
        except OutOfKV:
            batch = scheduler.reclaim_kv(batch)
    raise AssertionError("everything was given, and still there is no room")


# In any order


class SchedulerMachine(RuleBasedStateMachine):
    """Adds, aborts, steps and faults as they come. `Engine` checks every step; at the end, all must end."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = ExitStack()

    @initialize(
        parallel=st.integers(1, 5),
        spare=st.integers(0, 3),
        context=st.integers(4, 40),
        more_kv=st.integers(0, 120),
        more_step=st.integers(1, 24),
        ends=st.sampled_from([0, 16]),
        reserve=st.sampled_from([0, 3, KV_RESERVE]),
        overtaken=st.sampled_from([0, 1, 3, fair_order.MAX_OVERTAKES]),
        offload_tokens=st.sampled_from([0, 0, 20, 100]),
        worth=st.sampled_from([1, 4, 16]),
        brings=st.sampled_from([1, 256]),
        can_truncate=st.booleans(),
        draft_tokens=st.sampled_from([0, 2, 10]),
        tiles=st.booleans(),
        has_draft_model=st.booleans(),
    )
    def start(
        self,
        parallel: int,
        spare: int,
        context: int,
        more_kv: int,
        more_step: int,
        ends: int,
        reserve: int,
        overtaken: int,
        offload_tokens: int,
        worth: int,
        brings: int,
        can_truncate: bool,
        draft_tokens: int,
        tiles: bool,
        has_draft_model: bool,
    ) -> None:
        eog = frozenset(range(0, VOCABULARY, ends)) if ends else frozenset()
        self.patches.enter_context(mock.patch.object(sequences, "KV_RESERVE", reserve))
        self.patches.enter_context(mock.patch.object(fair_order, "MAX_OVERTAKES", overtaken))
        self.patches.enter_context(mock.patch.multiple(prefix_cache, MIN_PREFIX=worth, MAX_RESTORED=brings))
        info = make_info(
            *(parallel, spare, context, context + more_kv, parallel + more_step, eog, offload_tokens, can_truncate),
            *(draft_tokens, more_step if tiles else 0, has_draft_model),
        )
        self.engine = Engine(replace(info, takes_adapters=True, mixes_adapters=True))

    @rule(
        tokens=st.lists(st.integers(1, 2), min_size=1, max_size=40),
        max_tokens=st.integers(1, 40),
        snapshot_points=st.sets(st.integers(1, 40), max_size=2),
        seconds=st.sampled_from([None, 2.0, 100.0]),
        key=st.sampled_from([None, None, "a", "b"]),
        adapters=st.sampled_from([(), (), ((0, 1.0),), ((0, 0.5),)]),
    )
    def add(
        self,
        tokens: list[int],
        max_tokens: int,
        snapshot_points: set[int] = frozenset(),
        seconds: float | None = None,
        key: str | None = None,
        adapters: AdapterSet = (),
    ) -> None:
        """Prompts of few different tokens: many begin alike. With `seconds` their prefixes are to stay."""
        context = self.engine.info.context
        tokens = tokens[: context - 1]
        kept = tuple(sorted(b for b in snapshot_points if b < len(tokens)))
        keeps = tuple(KeptPrefix(point, seconds, key) for point in kept) if seconds else ()
        self.engine.add(tokens, min(max_tokens, context - len(tokens)), kept, keeps, adapters)

    @rule(lengths=st.lists(st.integers(1, 40), min_size=2, max_size=6), max_tokens=st.integers(1, 40))
    def add_several(self, lengths: list[int], max_tokens: int) -> None:
        for first, length in enumerate(lengths):
            self.add([first + 1] * length, max_tokens)

    @rule(
        lengths=st.lists(st.integers(1, 40), min_size=2, max_size=12),
        alike=st.booleans(),
        max_tokens=st.integers(1, 40),
    )
    def add_many_at_once(self, lengths: list[int], alike: bool, max_tokens: int) -> None:
        """In one request."""
        context = self.engine.info.context
        prompts = [[1 if alike else first + 1] * min(length, context - 1) for first, length in enumerate(lengths)]
        self.engine.add_request(prompts, min(max_tokens, context - max(map(len, prompts))))

    @rule(length=st.integers(16, 40))
    def add_one_that_fills_the_context(self, length: int) -> None:
        self.add([3] * length, 40)

    @precondition(lambda self: self.engine.told)
    @rule(data=st.data(), more=st.lists(st.integers(1, 2), max_size=6), max_tokens=st.integers(1, 40))
    def add_one_that_goes_on(self, data: st.DataObject, more: list[int], max_tokens: int) -> None:
        told = self.engine.told[data.draw(st.integers(1, len(self.engine.told)))]
        self.add(told.prompt + told.answer + more, max_tokens)

    @rule(data=st.data())
    def abort(self, data: st.DataObject) -> None:
        """Of one in any state; ids not yet given are unknown."""
        self.engine.abort(data.draw(st.integers(1, len(self.engine.told) + 1)))

    @rule(budget=st.integers(1, 40), count=st.integers(1, 8))
    def step(self, budget: int, count: int) -> None:
        for _ in range(count):
            self.engine.step(budget)

    @rule(budget=st.integers(1, 40), exhausted=st.integers(1, 8), errors=st.frozensets(st.integers(0, 3), max_size=2))
    def step_without_room(self, budget: int, exhausted: int, errors: frozenset[int]) -> None:
        self.engine.step(budget, Faults(exhausted, errors))

    @rule(budget=st.integers(1, 40), errors=st.frozensets(st.integers(0, 3), min_size=1))
    def step_with_failing_rows(self, budget: int, errors: frozenset[int]) -> None:
        self.engine.step(budget, Faults(errors=errors))

    @rule(
        budget=st.integers(1, 40),
        exhausted=st.integers(0, 4),
        fails=st.frozensets(st.integers(0, 3)),
        at_collect=st.booleans(),
    )
    def step_that_fails_or_crashes(self, budget: int, exhausted: int, fails: frozenset[int], at_collect: bool) -> None:
        self.engine.step(budget, Faults(exhausted, fails=fails, crashes=not fails, at_collect=at_collect))

    @rule(can=st.booleans())
    def caches_can_be_cut(self, can: bool) -> None:
        self.engine.runner.can_cut = can and self.engine.info.can_truncate

    @invariant()
    def what_always_holds(self) -> None:
        self.engine.check()

    def teardown(self) -> None:
        with self.patches:
            if hasattr(self, "engine"):
                self.engine.finish(budget=16)


TestSchedulerMachine = SchedulerMachine.TestCase
TestSchedulerMachine.settings = settings(
    max_examples=200, stateful_step_count=40, deadline=None, database=None, report_multiple_bugs=False
)
