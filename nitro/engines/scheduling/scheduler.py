"""Who computes what in the next step: waiting → running → finished.

Pure policy: it holds no thread, clock or socket. One step is

    batch = scheduler.schedule(budget)
    runner.submit(batch)          # OutOfKV: batch = scheduler.reclaim_kv(batch), and again; OutOfMemory: relieve
    outputs = scheduler.advance(batch, runner.collect())

What holds between any two calls, for every running sequence:

    tokens:  |<------ prompt ------>|<-- generated -->|
             |<--- computed --->|<---- pending ------>|      computed = what its slot holds
                                                             pending ≥ 1; 1 pending token is a decode

Rules. Decodes come first, then prompts share what is left of the step's token budget, oldest first; where the runner
computes in tiles, decodes and prompts take turns instead, a step of each, and a step of prompts ends with the first
that ends, once it has as many tokens as sequences decode. Where a step can have one adapter set only, the sets take
turns (`adapter_turns.py`), and all this holds within a set. A sequence is admitted when the KV pool has
room for its tokens and `KV_RESERVE` more, besides what the running ones have reserved. The pool holds at least one
whole context, so the oldest sequence always advances. Where several users want the engine, who has had the least of it
goes before who is older, and one that runs may have to give its place to one that waits (`fair_shares.py`).

Rules with a module of their own: who is older, and when a younger one may go first (`fair_order.py`); what gives way
where a step does not fit (`giving_way.py`); what becomes of the KV cache (`prefix_cache.py`); who waits for a prefix
that is being computed (`inflight_prefixes.py`); which tokens are drafted, to be checked together (`draft_policy.py`);
where an image may not be cut (`media_borders.py`).
"""

from bisect import insort
from collections.abc import Callable, Collection, Iterable
from heapq import merge
from math import inf
from typing import Protocol

from msgspec.structs import replace

from nitro.engines.adapters import AdapterSet
from nitro.engines.constraints.min_tokens import MinTokensMatcher
from nitro.engines.runner import Chunk, Result
from nitro.engines.scheduling import giving_way
from nitro.engines.scheduling.adapter_turns import AdapterTurns
from nitro.engines.scheduling.draft_policy import DraftPolicy, draft_limit
from nitro.engines.scheduling.fair_order import age, may_overtake, order_prompts, overtake
from nitro.engines.scheduling.fair_shares import FairShares
from nitro.engines.scheduling.inflight_prefixes import InFlightPrefixes
from nitro.engines.scheduling.media_borders import chunk_end
from nitro.engines.scheduling.prefix_cache import BusySlot, KVStore, PrefixCache, Saver
from nitro.engines.scheduling.sequence import Sequence
from nitro.engines.scheduling.slots import Slots
from nitro.engines.types import FinishReason, ModelInfo, Output

MAX_SCORED = 128  # tokens of a prompt in a step, where each is scored: that takes a row of logits for each


class SchedulerRunner(KVStore, Protocol):
    """What the scheduler needs of a runner; see ModelRunner."""

    def free_sequence(self, sequence_id: int) -> None:
        """See ModelRunner."""


class Scheduler:
    """Add sequences, then step. Every call is on the engine thread, and none between `schedule` and `advance`."""

    def __init__(self, info: ModelInfo, runner: SchedulerRunner, saver: Saver | None = None):
        """`saver`: told what idle slots are about to lose."""
        assert info.parallel <= info.slots and info.parallel < info.step_tokens and info.context <= info.kv_tokens
        assert info.attention_tile_rows <= info.step_tokens
        self.info = info
        self.waiting: list[Sequence] = []  # oldest first, and so is running
        self.running: list[Sequence] = []
        self.admitted: list[tuple[Sequence, int]] = []  # by the last schedule(), with the tokens found cached
        self.preempted: list[Sequence] = []  # since the last schedule()
        self.prefixes = PrefixCache(info, runner, saver)
        self.in_flight = InFlightPrefixes(self.prefixes)
        self.drafts = DraftPolicy(info.has_draft_model)
        self.turns = AdapterTurns(info.takes_adapters and not info.mixes_adapters)
        self.shares = FairShares()
        self._runner = runner
        self._by_id: dict[int, Sequence] = {}
        self._added = 0
        self._round = 0  # the latest of which one was admitted
        self._decoded: set[AdapterSet] = set()  # those whose last step had decodes

    @property
    def kv_used(self) -> int:
        """Tokens in the KV pool, those of idle slots too."""
        return self.slots.held + self.kv_running

    @property
    def kv_running(self) -> int:
        """Of these, the tokens of sequences that run: what idle slots hold gives way to others."""
        return sum([sequence.computed for sequence in self.running])

    @property
    def slots(self) -> Slots:
        """Which slot holds what."""
        return self.prefixes.slots

    @property
    def sequences(self) -> Iterable[Sequence]:
        """Those that run or wait."""
        return self._by_id.values()

    @property
    def busy(self) -> bool:
        """Whether any sequence runs or waits."""
        return bool(self._by_id)

    def add(self, *request: Sequence) -> None:
        """Queue a request's sequences. Ids are new, and each prompt and its max_tokens fit into the context."""
        for turn, sequence in enumerate(request, self._round + 1):
            assert sequence.id not in self._by_id and sequence.max_tokens >= 1
            assert 1 <= sequence.prompt_length <= self.info.context - sequence.max_tokens
            self._added += 1
            sequence.age = (turn, self._added)
            if self.info.prompt_grid:
                sequence.snapshot_points = self.prefixes.grid.down_all(sequence.snapshot_points)
            self._by_id[sequence.id] = sequence
            self.shares.join(sequence.share)
        self.waiting = list(merge(self.waiting, request, key=age))

    def abort(self, sequence_id: int) -> None:
        """End a sequence in any state; its slot is idle at once. Unknown ids are ignored."""
        if sequence := self._by_id.get(sequence_id):
            self._end(sequence)

    def schedule(self, budget: Callable[[int, int], int]) -> list[Chunk]:
        """The next step's chunks: every decode, and prompt chunks up to so many tokens in all as `budget` says, which
        is told how far the furthest of the prompts is computed, and how many tokens its next chunk would have.

        At least one prompt token where prompts wait, at most the runner's `step_tokens`; of a runner with tiles either
        decodes or prompts. Empty only when nothing is queued.
        """
        self.preempted = []
        self._admit()
        if self.running:
            self.prefixes.offload()
        decodes: list[Sequence] = []
        prompts: list[Sequence] = []
        running = self.turns.next(self.shares.present(self.running))
        for sequence in self.shares.in_order(running):
            (decodes if len(sequence.tokens) - sequence.computed == 1 else prompts).append(sequence)
        others_wait = bool(prompts) or len(running) < len(self.running)
        enough = max(len(decodes), 1) if self.info.attention_tile_rows else inf
        if self.info.attention_tile_rows and decodes and prompts:  # in turn
            decodes, prompts = ([], prompts) if self.turns.current in self._decoded else (decodes, [])
        self._note(bool(decodes))
        batch = self._decode_chunks(decodes, bool(prompts), others_wait)
        if not prompts:
            return batch
        furthest = max(prompts, key=lambda sequence: sequence.computed)
        tokens = budget(furthest.computed, self._longest_chunk(furthest))
        prompt_budget = max(min(tokens, self.info.step_tokens) - sum(chunk.size for chunk in batch), 1)
        return batch + self._prompt_chunks(prompts, prompt_budget, enough)

    def reclaim_kv(self, batch: list[Chunk]) -> list[Chunk] | None:
        """After OutOfKV: free some KV, and return the chunks that are left to submit, maybe none.

        Drafts go first, then an idle slot's cache. Where the pool has room by count, it is the host that has no memory
        for it: then what is offloaded there goes. Else the youngest sequence is preempted: its tokens stay, its KV is
        computed again; where the host has none a second time, when nothing else is computed. None when there is nothing
        to free: the one running sequence, now without KV, must `fail`.
        """
        return giving_way.reclaim_kv(self, batch)

    def relieve(self, batch: list[Chunk], lost: Collection[int] | None) -> int | None:
        """After OutOfMemory, which has emptied these slots or, None, all: the next step asks for less. The sequence
        that must `fail`, since nothing else is left that could give way; None: none."""
        return giving_way.relieve(self, batch, lost)

    def advance(self, batch: list[Chunk], results: list[Result]) -> list[Output]:
        """The batch was computed: append what was sampled, and end what ended."""
        outputs = []
        by_id = self._by_id
        for chunk, result in zip(batch, results, strict=True):
            sequence = by_id[chunk.sequence_id]
            tokens, stop = result.tokens, chunk.stop
            self.shares.charge(sequence.share, stop - chunk.start)
            if result.error is not None:
                sequence.computed = self._runner.trim(chunk.slot, chunk.stop)  # all of it, unless it cannot be cut
                outputs.append(self._fail(sequence, result.error, result.param, result.schema_violated))
                continue
            assert bool(tokens) == (stop == len(chunk.tokens))  # as it wants one
            sequence.computed = stop + len(tokens) - 1 if tokens else stop
            if stop in sequence.snapshot_points:
                self._snapshot(sequence, stop)
            if tokens or result.prompt_logprobs:
                outputs.append(self._append(sequence, chunk, result))
        return outputs

    def fail(self, sequence_ids: Iterable[int], error: str, too_large: bool = False) -> list[Output]:
        """These sequences end with an error; their slots are taken to be empty. `too_large`: see Output."""
        outputs = []
        for sequence_id in sequence_ids:
            sequence = self._by_id[sequence_id]
            sequence.computed = 0
            outputs.append(replace(self._fail(sequence, error), too_large=too_large))
        return outputs

    def restart(self) -> None:
        """The runner was reset: every slot is empty, and what ran is computed again from its tokens."""
        for sequence in reversed(self.running.copy()):
            self.preempt(sequence, lost=True)
        self.prefixes.restart()

    def _note(self, decoded: bool) -> None:
        """Whether this step of an adapter set has decodes."""
        turn = self.turns.current
        if not decoded:
            self._decoded.discard(turn)
        elif turn not in self._decoded:
            self._decoded.intersection_update(sequence.adapters for sequence in self.running)
            self._decoded.add(turn)

    def _admit(self) -> None:
        """Move waiting sequences to slots while rows and KV last, oldest first. One that waits for a prefix keeps its
        row free."""
        self.admitted = []
        self.in_flight.begin_step()
        if not self.waiting:
            return
        waiting = self.shares.in_order(self.waiting, ahead=self.running).copy()
        self._make_room(waiting[0])
        reserved = self._reserved
        rows = self.info.parallel - len(self.running)
        passed: list[Sequence] = []
        for sequence in waiting:
            if rows == 0:
                break
            if self.running and reserved + sequence.reserve > self.info.kv_tokens:
                passed.append(sequence)
                continue
            if not may_overtake(passed):
                break
            rows -= 1
            reserved += sequence.reserve
            busy = self.busy_slots()
            if self.in_flight.should_wait(sequence, self.running, busy):
                continue
            overtake(passed)
            self._start(sequence, busy)

    def _make_room(self, first: Sequence) -> None:
        """Those that have had more than their share give way to one that waits; their caches stay, while they can."""
        while len(self.running) == self.info.parallel or self._reserved + first.reserve > self.info.kv_tokens:
            sequence = self.shares.gives_way(first, self.running) if self.running else None
            if sequence is None:
                return
            self.preempt(sequence, keep=self._reusable(sequence))

    @property
    def _reserved(self) -> int:
        """KV tokens for all that runs."""
        return sum(sequence.reserve for sequence in self.running)

    def _start(self, sequence: Sequence, busy: list[BusySlot]) -> None:
        """A waiting sequence gets a slot."""
        tokens = sequence.tokens[: sequence.prompt_length] if self.info.prompt_grid else sequence.tokens
        prefix = [] if sequence.bypass_cache else tokens
        kept = self.prefixes.keep(sequence.tokens, sequence.keeps, sequence.arrived, sequence.adapters)
        stored, sequence.stored = sequence.stored, None
        placed = stored and self.prefixes.restore(stored, prefix, busy, sequence.adapters)
        sequence.restored = placed is not None
        sequence.slot, sequence.computed = placed or self.prefixes.place(prefix, busy, sequence.adapters)
        sequence.cached = sequence.computed
        sequence.written = max(kept - sequence.computed, 0)
        self.waiting.remove(sequence)
        insort(self.running, sequence, key=age)
        self._round = max(self._round, sequence.age[0])
        self.admitted.append((sequence, sequence.computed))
        self._snapshot(sequence, sequence.computed)  # it may have taken over the snapshot itself

    def _snapshot(self, sequence: Sequence, computed: int) -> None:
        """Keep a copy of the slot, if it holds the prompt exactly up to one of its snapshot points."""
        if computed in sequence.snapshot_points and sequence.slot is not None:
            self.prefixes.snapshot(sequence.slot, sequence.tokens[:computed], self.busy_slots(), sequence.adapters)

    def busy_slots(self) -> list[BusySlot]:
        """What the slots of those that run hold, as far as others may use it."""
        return [BusySlot(s.slot, s.tokens, self._reusable(s), s.adapters) for s in self.running if s.slot is not None]

    def _reusable(self, sequence: Sequence) -> int:
        return self.prefixes.grid.reusable(sequence.computed, sequence.prompt_length)

    def _prompt_chunks(self, prompts: list[Sequence], budget: int, enough: float) -> list[Chunk]:
        """Chunks of prompts that share `budget` tokens."""
        chunks: list[Chunk] = []
        wanted = [(sequence, self._longest_chunk(sequence)) for sequence in prompts]
        for sequence, longest in order_prompts(wanted, budget, enough):
            count = self._whole_pieces(sequence, min(longest, budget)) if budget else 0
            if not count or (chunks and count > budget):
                break
            chunks.append(self._chunk(sequence, count))
            budget = max(budget - count, 0)
        return chunks

    def _longest_chunk(self, sequence: Sequence) -> int:
        """Tokens of a prompt's next chunk: it ends where a copy is to be made, at the latest."""
        end = min(sequence.next_snapshot, self.in_flight.stops.get(sequence.id, len(sequence.tokens)))
        count = min(end - sequence.computed, sequence.longest_chunk)
        if sequence.sampling.prompt_logprobs:
            count = min(count, self.info.attention_tile_rows or MAX_SCORED)
        return self._whole_pieces(sequence, count)

    def _whole_pieces(self, sequence: Sequence, count: int) -> int:
        """So many tokens, or fewer; more where what comes first may not be cut."""
        start = sequence.computed
        end = self.prefixes.grid.chunk_end(start, start + count, sequence.prompt_length)
        return chunk_end(sequence.tokens, sequence.media, start, end) - start

    def _decode_chunks(self, sequences: list[Sequence], beside_prompts: bool, others_wait: bool) -> list[Chunk]:
        """A chunk for each, with a draft where that pays: never in a step that prompts fill."""
        chunks = [self._chunk(sequence, 1) for sequence in sequences]
        limit = 0 if beside_prompts else draft_limit(self.info, len(sequences))
        self.drafts.plan(list(zip(sequences, chunks, strict=True)) if limit > 0 else [], limit, others_wait)
        return chunks

    def _chunk(self, sequence: Sequence, count: int) -> Chunk:
        slot, start, sampling = sequence.slot, sequence.computed, sequence.sampling
        assert slot is not None
        matcher = sequence.matcher
        if sequence.generated < sampling.min_tokens:
            matcher = MinTokensMatcher(matcher, self.info)
        return Chunk(
            sequence_id=sequence.id,
            slot=slot,
            tokens=sequence.tokens,
            start=start,
            stop=start + count,
            sampling=sampling,
            prompt_length=sequence.prompt_length,
            matcher=matcher,
            media=sequence.media,
            adapters=sequence.adapters,
        )

    def _append(self, sequence: Sequence, chunk: Chunk, result: Result) -> Output:
        """Append sampled tokens, up to the first that ends the sequence."""
        tokens = result.tokens
        finish: FinishReason | None = None
        if sequence.drafter.guesses:
            self.drafts.settle(sequence, tokens)
        scores = result.prompt_logprobs
        if scores:
            scores = scores[max(sequence.scored - chunk.start, 0) :]  # not again after a preemption
            sequence.scored += len(scores)
        eog, longest = self.info.eog, sequence.prompt_length + sequence.max_tokens
        for count, token in enumerate(tokens, 1):
            sequence.tokens.append(token)
            if token in eog:
                finish = "stop"
            elif len(sequence.tokens) == longest:
                finish = "length"
            if finish:
                tokens = tokens[:count]
                self._end(sequence)
                break
        if sequence.matcher:
            sequence.matcher = sequence.matcher.active
        if not (chunk.draft or scores or result.logprobs):
            return Output(sequence.id, tokens, [], finish)
        drafted = len(chunk.draft)
        source = sequence.drafter.checked
        return Output(
            id=sequence.id,
            tokens=tokens,
            pieces=[],
            finish=finish,
            logprobs=result.logprobs[: len(tokens)],
            prompt_logprobs=scores,
            drafted=drafted,
            accepted=len(result.tokens) - 1 if drafted else 0,
            predicted=drafted > 0 and source == "prediction",
            modelled=drafted > 0 and source == "model",
        )

    def _fail(self, sequence: Sequence, error: str, param: str | None = None, schema_violated: bool = False) -> Output:
        self._end(sequence)
        return Output(sequence.id, [], [], "error", error, param=param, schema_violated=schema_violated)

    def _end(self, sequence: Sequence) -> None:
        del self._by_id[sequence.id]
        if sequence.slot is None:
            self.waiting.remove(sequence)
        else:
            self._release(sequence, self._reusable(sequence))
        self.shares.leave(sequence.share)
        self._runner.free_sequence(sequence.id)

    def preempt(self, sequence: Sequence, keep: int = 0, lost: bool = False) -> None:
        """One that runs goes back to the queue, at the place of its age. Its sampler stays, and as much of its KV as
        `keep` says. `lost`: the runner has none of it."""
        if lost:
            sequence.computed = 0
        self._release(sequence, keep)
        sequence.computed = 0
        self.preempted.append(sequence)
        insort(self.waiting, sequence, key=age)

    def _release(self, sequence: Sequence, keep: int) -> None:
        """It runs no longer. Its slot is idle, and holds at most so many of its tokens."""
        assert sequence.slot is not None
        self.running.remove(sequence)
        kept = sequence.computed
        if keep < kept:
            kept = self._runner.trim(sequence.slot, keep)
        self.prefixes.release(sequence.slot, sequence.tokens[:kept], sequence.adapters if kept else ())
        sequence.slot = None
