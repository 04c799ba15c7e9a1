"""Who computes what in the next step: waiting → running → finished.

Pure policy: it holds no thread, clock or socket. What becomes of the KV cache is decided in `prefixes.py`.
One step is

    batch = scheduler.schedule(budget)
    runner.submit(batch)          # OutOfKV: batch = scheduler.reclaim_kv(batch), and again
    outputs = scheduler.advance(batch, runner.collect())

What holds between any two calls, for every running sequence:

    tokens:  |<------ prompt ------>|<-- generated -->|
             |<--- computed --->|<---- pending ------>|      computed = what its slot holds
                                                             pending ≥ 1; 1 pending token is a decode

Whoever asks for many sequences takes turns with the others. Turns go round: each round has at most one sequence of each
request, and whoever comes begins with the next one. Older means: of an earlier round or, within one, come earlier.

Rules. Decodes come first, then prompts share what is left of the step's token budget, oldest first; where the runner
computes in tiles, decodes and prompts take turns instead, a step of each. A younger prompt that fits whole where an
older one does not may go ahead, but no sequence is overtaken more than `OVERTAKEN` times. A sequence is admitted when
the KV pool has room for its tokens and `RESERVE` more, besides what the running ones have reserved. The pool holds at
least one whole context, so the oldest sequence always advances.

A sequence whose prompt begins as one that is being computed waits for that one's common part, and copies it: the other
is its leader. The leader's chunk ends there, for those models whose state can be copied only where it is.
"""

from bisect import insort
from collections.abc import Iterable
from dataclasses import dataclass, field
from heapq import merge
from typing import Protocol

from nitro.engines.constraints.min_tokens import Unending
from nitro.engines.runner import Chunk, Matcher, Result
from nitro.engines.scheduling.prefix_cache import KV, Busy, PrefixCache
from nitro.engines.scheduling.slots import Slots, shared_prefix
from nitro.engines.scheduling.speculation import Drafts
from nitro.engines.scheduling.step_cost import StepCost
from nitro.engines.types import FinishReason, ModelInfo, Output, SamplingParams

OVERTAKEN = 8
RESERVE = 256
SCORED = 128  # tokens of a prompt in a step, where each is scored: that takes logits of them all


class Cache(KV, Protocol):
    """What the scheduler needs of a runner."""

    def free_sequence(self, sequence_id: int) -> None: ...


@dataclass(slots=True, eq=False)
class Sequence:
    """One generation in the engine. `max_tokens` fits into the context beside the prompt."""

    id: int
    tokens: list[int]
    max_tokens: int
    sampling: SamplingParams
    arrived: float = 0.0
    matcher: Matcher | None = None
    drafts: Drafts = field(default_factory=Drafts)
    snapshot_points: tuple[int, ...] = ()  # ascending positions in the prompt at which a copy of its slot is to be kept
    visible_special_tokens: frozenset[int] = frozenset()  # control tokens whose text is part of the answer
    bypass_cache: bool = False  # nothing of it may come from a cache
    prompt_length: int = field(init=False)
    computed: int = field(init=False, default=0)
    slot: int | None = field(init=False, default=None)
    scored: int = field(init=False, default=0)  # tokens of the prompt whose logprobs have been told
    overtaken: int = field(init=False, default=0)
    leader: int | None = field(init=False, default=None)  # whose prefix it has waited for
    age: tuple[int, int] = field(init=False, default=(0, 0))  # round and number; smaller is older

    def __post_init__(self) -> None:
        self.prompt_length = len(self.tokens)
        self.bypass_cache = self.bypass_cache or self.sampling.prompt_logprobs  # what is to be scored must be computed

    @property
    def pending(self) -> int:
        return len(self.tokens) - self.computed

    @property
    def generated(self) -> int:
        return len(self.tokens) - self.prompt_length

    @property
    def reserve(self) -> int:
        """KV tokens to keep free for it: what it has, and some of what it may yet generate."""
        return len(self.tokens) + min(self.max_tokens - self.generated, RESERVE)


class Scheduler:
    """Add sequences, then step. Every call is on the engine thread, and none between `schedule` and `advance`."""

    def __init__(self, info: ModelInfo, cache: Cache):
        assert info.parallel <= info.slots and info.parallel < info.step_tokens and info.context <= info.kv_tokens
        assert info.attention_tile_rows <= info.step_tokens
        self.info = info
        self.waiting: list[Sequence] = []  # oldest first, and so is running
        self.running: list[Sequence] = []
        self.admitted: list[tuple[Sequence, int]] = []  # by the last schedule(), with the tokens found cached
        self.preempted: list[Sequence] = []  # since the last schedule()
        self.prefixes = PrefixCache(info, cache)
        self.cost = StepCost()
        self._cache = cache
        self._borders: dict[int, int] = {}  # by leader: where the next to be copied of it ends
        self._by_id: dict[int, Sequence] = {}
        self._added = 0
        self._round = 0  # the latest of which one was admitted
        self._decoded = False  # whether the last step had decodes

    @property
    def kv_used(self) -> int:
        """Tokens in the KV pool, those of idle slots too."""
        return self.slots.held + sum(s.computed for s in self.running)

    @property
    def slots(self) -> Slots:
        return self.prefixes.slots

    @property
    def busy(self) -> bool:
        return bool(self._by_id)

    def add(self, *request: Sequence) -> None:
        """Queue a request's sequences. Ids are new, and each prompt and its max_tokens fit into the context."""
        for turn, sequence in enumerate(request, self._round + 1):
            assert sequence.id not in self._by_id and sequence.max_tokens >= 1
            assert 1 <= sequence.prompt_length <= self.info.context - sequence.max_tokens
            self._added += 1
            sequence.age = (turn, self._added)
            self._by_id[sequence.id] = sequence
        self.waiting = list(merge(self.waiting, request, key=_age))

    def abort(self, sequence_id: int) -> None:
        """End a sequence in any state; its slot is idle at once. Unknown ids are ignored."""
        if sequence := self._by_id.get(sequence_id):
            self._end(sequence)

    def schedule(self, budget: int) -> list[Chunk]:
        """The next step's chunks: every decode, and prompt chunks up to `budget` tokens in all (at least one prompt
        token when prompts wait, at most the runner's `step_tokens`); of a runner with tiles one or the other. Empty
        only when nothing is queued."""
        self.preempted = []
        self._admit()
        if self.running:
            self.prefixes.offload()
        decodes = [s for s in self.running if s.pending == 1]
        prompts = [s for s in self.running if s.pending > 1]
        if self.info.attention_tile_rows and decodes and prompts:  # in turn
            decodes, prompts = ([], prompts) if self._decoded else (decodes, [])
        self._decoded = bool(decodes)
        batch = self._decodes(decodes, beside=min(budget, sum(s.pending for s in prompts)))
        left = max(min(budget, self.info.step_tokens) - sum(chunk.size for chunk in batch), 1)
        for sequence in self._in_turn(prompts, left):
            own = next(
                (border for border in sequence.snapshot_points if border > sequence.computed), len(sequence.tokens)
            )
            end = min(own, self._borders.get(sequence.id, own))
            count = min(end - sequence.computed, left, SCORED if sequence.sampling.prompt_logprobs else left)
            if count == 0:
                break
            batch.append(self._chunk(sequence, count))
            left -= count
        return batch

    def reclaim_kv(self, batch: list[Chunk]) -> list[Chunk] | None:
        """After OutOfKV: give KV back, and return the chunks that are left to submit, maybe none.

        Drafts go first, then an idle slot's cache, else the youngest sequence is preempted: its tokens stay, its KV is
        computed again. None when there is nothing to give: the one running sequence, now without KV, must `fail`.
        """
        if any(chunk.draft for chunk in batch):
            for chunk in batch:
                chunk.draft = []
            return batch
        if self.prefixes.reclaim_kv():
            return batch
        youngest = self.running[-1]
        if len(self.running) == 1:
            assert youngest.slot is not None
            self._cache.trim(youngest.slot, 0)
            return None
        self._preempt(youngest)
        return [chunk for chunk in batch if chunk.sequence_id != youngest.id]

    def advance(self, batch: list[Chunk], results: list[Result]) -> list[Output]:
        """The batch was computed: append what was sampled, and end what ended."""
        outputs = []
        for chunk, result in zip(batch, results, strict=True):
            assert result.error is not None or bool(result.tokens) == chunk.wants_token
            sequence = self._by_id[chunk.sequence_id]
            if result.error is not None:
                sequence.computed = self._cache.trim(chunk.slot, chunk.stop)  # all of it, unless it is no use to anyone
                outputs.append(self._fail(sequence, result.error, result.param, result.schema_violated))
                continue
            sequence.computed = chunk.stop + max(len(result.tokens) - 1, 0)
            self._keep_border(sequence, chunk.stop)
            if result.tokens or result.prompt_logprobs:
                outputs.append(self._append(sequence, chunk, result))
        return outputs

    def fail(self, sequence_ids: Iterable[int], error: str) -> list[Output]:
        """These sequences end with an error; their slots are taken to be empty."""
        outputs = []
        for sequence_id in sequence_ids:
            sequence = self._by_id[sequence_id]
            sequence.computed = 0
            outputs.append(self._fail(sequence, error))
        return outputs

    def restart(self) -> None:
        """The runner was reset: every slot is empty, and what ran is computed again from its tokens."""
        for sequence in reversed(self.running.copy()):
            self._preempt(sequence, trim=False)
        self.prefixes.restart()

    def _admit(self) -> None:
        """Move waiting sequences to slots while rows and KV last, oldest first. One that follows keeps its row free."""
        self.admitted, self._borders = [], {}
        reserved, rows = sum(s.reserve for s in self.running), self.info.parallel - len(self.running)
        passed: list[Sequence] = []
        for sequence in self.waiting.copy():
            if rows == 0:
                break
            if self.running and reserved + sequence.reserve > self.info.kv_tokens:
                passed.append(sequence)
                continue
            if not _may_overtake(passed):
                break
            rows -= 1
            reserved += sequence.reserve
            busy = self._busy()
            if self._follows(sequence, busy):
                continue
            _overtake(passed)
            sequence.slot, sequence.computed = self.prefixes.place(
                [] if sequence.bypass_cache else sequence.tokens, busy
            )
            self.waiting.remove(sequence)
            insort(self.running, sequence, key=_age)
            self._round = max(self._round, sequence.age[0])
            self.admitted.append((sequence, sequence.computed))
            self._keep_border(sequence, sequence.computed)  # it may have taken over the copy that was kept there

    def _keep_border(self, sequence: Sequence, computed: int) -> None:
        """Keep a copy of a slot that holds a prompt exactly up to one of its borders."""
        if computed in sequence.snapshot_points and sequence.slot is not None:
            self.prefixes.keep(sequence.slot, sequence.tokens[:computed], self._busy())

    def _follows(self, sequence: Sequence, busy: list[Busy]) -> bool:
        """Whether it should wait for a prefix that is being computed."""
        if sequence.bypass_cache:
            return False
        most = len(sequence.tokens) - 1
        shared, leader = max(
            ((min(shared_prefix(s.tokens, sequence.tokens), most), s) for s in self.running if s.pending > 1),
            key=lambda pair: pair[0],
            default=(0, sequence),
        )
        if shared <= leader.computed:
            return False
        if sequence.leader != leader.id and not self.prefixes.gains(sequence.tokens, busy, shared):
            return False
        sequence.leader = leader.id
        self._borders[leader.id] = min(shared, self._borders.get(leader.id, shared))
        return True

    def _busy(self) -> list[Busy]:
        return [Busy(s.slot, s.tokens, s.computed) for s in self.running if s.slot is not None]

    def _in_turn(self, prompts: list[Sequence], left: int) -> list[Sequence]:
        """Prompts in the order in which they get the `left` tokens: a younger one that fits whole may come first."""
        ahead: list[Sequence] = []
        passed: list[Sequence] = []
        for sequence in prompts:
            if sequence.pending <= left and _may_overtake(passed):
                _overtake(passed)
                ahead.append(sequence)
                left -= sequence.pending
            else:
                passed.append(sequence)
        return ahead + passed

    def _decodes(self, sequences: list[Sequence], beside: int) -> list[Chunk]:
        """A chunk for each, with what it may say next. Drafts share what the step and the runner take. `beside`: tokens
        of prompts that are computed with them."""
        rows = (
            self.info.attention_tile_rows - len(sequences)
            if self.info.attention_tile_rows
            else self.info.step_tokens - self.info.parallel
        )
        spare = min(self.info.draft_tokens, rows - 1)
        most = spare // len(sequences) if 0 < len(sequences) <= self.info.draft_rows else 0
        pays = self.cost.share(len(sequences) + beside)
        chunks = [self._chunk(s, 1) for s in sequences]
        for sequence, chunk in zip(sequences, chunks, strict=True):
            room = min(most, sequence.max_tokens - sequence.generated - 1)
            if room > 0 and chunk.matcher is None:  # a grammar looks at one token at a time
                chunk.draft = sequence.drafts.guess(sequence.tokens, sequence.generated, room, pays)
        return chunks

    def _chunk(self, sequence: Sequence, count: int) -> Chunk:
        assert sequence.slot is not None
        start, matcher = sequence.computed, sequence.matcher
        if sequence.generated < sequence.sampling.min_tokens:
            matcher = Unending(matcher, self.info)
        return Chunk(
            *(sequence.id, sequence.slot, sequence.tokens, start, start + count, sequence.sampling),
            *(sequence.prompt_length, matcher),
        )

    def _append(self, sequence: Sequence, chunk: Chunk, result: Result) -> Output:
        """Append sampled tokens, up to the first that ends the sequence."""
        fresh = []
        finish: FinishReason | None = None
        scores = result.prompt_logprobs[max(sequence.scored - chunk.start, 0) :]  # not again after a preemption
        sequence.scored += len(scores)
        for token in result.tokens:
            fresh.append(token)
            sequence.tokens.append(token)
            if token in self.info.eog:
                finish = "stop"
            elif sequence.generated == sequence.max_tokens:
                finish = "length"
            if finish:
                self._end(sequence)
                break
        if sequence.matcher:
            sequence.matcher = sequence.matcher.active
        logprobs = result.logprobs[: len(fresh)]
        if not (guessed := len(chunk.draft)):
            return Output(sequence.id, fresh, [], finish, None, None, logprobs, scores)
        right = len(result.tokens) - 1
        sequence.drafts.settle(guessed, right)
        predicted = sequence.drafts.predicted
        return Output(sequence.id, fresh, [], finish, None, None, logprobs, scores, guessed, right, predicted)

    def _fail(self, sequence: Sequence, error: str, param: str | None = None, schema_violated: bool = False) -> Output:
        self._end(sequence)
        return Output(sequence.id, [], [], "error", error, param, schema_violated=schema_violated)

    def _end(self, sequence: Sequence) -> None:
        del self._by_id[sequence.id]
        if sequence.slot is None:
            self.waiting.remove(sequence)
        else:
            self.running.remove(sequence)
            self.prefixes.release(sequence.slot, sequence.tokens[: sequence.computed])
            sequence.slot = None
        self._cache.free_sequence(sequence.id)

    def _preempt(self, sequence: Sequence, trim: bool = True) -> None:
        """Back to the queue, at the place of its age. Its sampler stays; its KV does not."""
        assert sequence.slot is not None
        if trim:
            self._cache.trim(sequence.slot, 0)
        self.running.remove(sequence)
        self.prefixes.release(sequence.slot, [])
        sequence.slot, sequence.computed = None, 0
        self.preempted.append(sequence)
        insort(self.waiting, sequence, key=_age)


def _age(sequence: Sequence) -> tuple[int, int]:
    return sequence.age


def _may_overtake(passed: list[Sequence]) -> bool:
    return all(s.overtaken < OVERTAKEN for s in passed)


def _overtake(passed: list[Sequence]) -> None:
    for sequence in passed:
        sequence.overtaken += 1
