"""Slots that decode together: their KV caches are merged, so that one pass through the weights serves them all.

A group is one token ahead of what the scheduler wants. When `now` goes to the host, the pass that takes `now` in and
samples `ahead` has been submitted already, and the device is never idle while the host hands tokens out:

    tokens of a row:  |<------ held by the slot ------>|  now  |  ahead
    its KV cache:     |<---------- computed ------------------>|

If the next batch goes on with `now`, `ahead` is its result. A row that does not is taken out, and its cache is stepped
back by that one token. Where it cannot be (a full window, a recurrent state), the group keeps the arrays of before.
A group in which any row has a grammar is not ahead: what may follow `now` is known when that is on the host.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import mlx.core as mx

from nitro.engines.adapters import AdapterSet
from nitro.engines.backends.mlx import kv_cache, sampler
from nitro.engines.backends.mlx.adapters import MlxAdapters
from nitro.engines.backends.mlx.kv_cache import Caches
from nitro.engines.backends.mlx.sampler import LazyLogprobs, SamplerRow
from nitro.engines.runner import Chunk


@dataclass(slots=True)
class GroupRow:
    """One slot in a group."""

    slot: int
    sequence_id: int
    length: int  # tokens in the KV cache
    sampler_row: SamplerRow
    adapters: AdapterSet = ()
    shift: int = 0  # by how much positions differ from places


class Group:
    """Made of rows whose caches hold all but the last of their tokens; `now` is sampled after that one."""

    def __init__(self, network: MlxAdapters, rows: list[GroupRow], caches: list[Caches], last: list[int]):
        """`caches`: each row's own, which are the group's from now on. `last`: each row's last token."""
        self.rows = rows
        self._network = network
        self._merged = len(rows) > 1
        self._caches = kv_cache.merge(caches) if self._merged else caches[0]
        self._before: list[Any] = []  # see kv_cache.before
        self._ahead, self._ahead_scores = self._next(mx.array(last, mx.uint32), newest=False)
        self.now = self._ahead  # each row's next token
        self.scores = self._ahead_scores  # its logprobs, where the request wants them
        self.fetched: list[int] = []  # `now`, on the host
        self._looked = False  # whether `ahead` is computed, and the caches hold `now`

    @property
    def constrained(self) -> bool:
        """Whether a row has a grammar: what comes after `now` can be drawn only when it is known on the host."""
        return any(row.sampler_row.matcher for row in self.rows)

    def goes_on(self, row: int, chunk: Chunk) -> bool:
        """Whether the chunk is that row's one token which has been computed already."""
        group_row = self.rows[row]
        held = group_row.length - self._looked
        known = (group_row.sequence_id, held, held + 1, self.fetched[row])
        return chunk.wants_token and known == (chunk.sequence_id, chunk.start, chunk.stop, chunk.tokens[chunk.start])

    def advance(self, chunks: list[Chunk]) -> None:
        """Give the chunks, one per row, the tokens that they want: those computed ahead, or else computed now."""
        for row, chunk in zip(self.rows, chunks, strict=True):
            row.sampler_row.tokens = chunk.tokens
            row.sampler_row.matcher = chunk.matcher
        if not self._looked:
            self._ahead, self._ahead_scores = self._next(mx.array(self.fetched, mx.uint32), newest=False)
        self.now = self._ahead
        self.scores = self._ahead_scores
        self._before = []
        self._looked = False

    def look_ahead(self) -> None:
        """Submit `now`, and the pass after it."""
        # by itself: what is evaluated together is ready together
        mx.async_eval(self.now, [scores.arrays for scores in self.scores if scores])
        if self.constrained:
            mx.async_eval(kv_cache.arrays(self._caches))
            return
        self._looked = True
        self._before = kv_cache.before(self._caches)
        self._ahead, self._ahead_scores = self._next(self.now, newest=True)
        mx.async_eval(self._ahead, kv_cache.arrays(self._caches))

    def fetch(self) -> list[int]:
        """Wait for `now`, and bring it to the host."""
        self.fetched = self.now.tolist()  # type: ignore[assignment]
        return self.fetched

    def absorb(self, other: "Group") -> None:
        """Take over the other group's rows. Both have `now`, and neither has looked ahead. The other group
        cannot be used afterwards."""
        self._merge()
        other._merge()
        kv_cache.extend(self._caches, other._caches)
        self.rows += other.rows
        self.now = mx.concatenate([self.now, other.now])
        self.scores = self.scores + other.scores

    def own_caches(self, row: int) -> Caches:
        """A row's caches without what was computed ahead. They share nothing that changes with the group's."""
        caches = self._extract(self._caches, row)
        if self._looked:
            kv_cache.step_back(caches, self._extract(self._before, row))
        return caches

    def keep(self, rows: list[int]) -> None:
        """Drop all other rows. At least one is kept."""
        if len(rows) == len(self.rows):
            return
        self._caches = self._kept(self._caches, rows)
        if self._looked:
            self._before = self._kept(self._before, rows)
            self._ahead = self._ahead[mx.array(rows)]
            self._ahead_scores = [self._ahead_scores[row] for row in rows]
        self._merged = len(rows) > 1
        self.rows = [self.rows[row] for row in rows]
        self.fetched = [self.fetched[row] for row in rows]

    def _next(self, tokens: mx.array, newest: bool) -> tuple[mx.array, list[LazyLogprobs | None]]:
        """Each row's next token after `tokens`, and its scores, lazy. `newest`: `tokens` are on the device only."""
        tokens = mx.where(tokens == sampler.NONE, 0, tokens)  # MLX would read beyond the embedding
        sets, shifts = [row.adapters for row in self.rows], [row.shift for row in self.rows]
        logits = self._network.logits(tokens[:, None], self._caches, sets, shifts)[:, -1, :]
        for row in self.rows:
            row.length += 1
        sampler_rows = [row.sampler_row for row in self.rows]
        if self.constrained:
            mx.async_eval(logits)  # while the masks are made
        drawn = self._network.draw(logits, sampler_rows, tokens if newest else None)
        counts = [row.sampling.logprobs for row in sampler_rows]
        scores = [None if n is None else sampler.logprobs(logits[i], drawn[i], n) for i, n in enumerate(counts)]
        return drawn, scores

    def _merge(self) -> None:
        if not self._merged:
            self._caches = kv_cache.merge([self._caches])
            self._merged = True

    def _extract(self, caches: Caches, row: int) -> Caches:
        return kv_cache.extract(caches, row) if self._merged else kv_cache.snapshot(caches)

    def _kept(self, caches: Caches, rows: list[int]) -> Caches:
        if len(rows) == 1:
            return self._extract(caches, rows[0])
        kv_cache.keep(caches, rows)
        return caches


def padding(lengths: Iterable[int]) -> int:
    """Tokens of KV cache that hold nothing, when rows of these lengths are merged."""
    known = list(lengths)
    return len(known) * max(known, default=0) - sum(known)
