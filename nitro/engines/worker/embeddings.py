"""Embeddings on the engine thread: what waits, the step that computes it, and what is told of it.

Which inputs go together is `scheduling/embedding_queue`, whether a step embeds at all `scheduling/turns`.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import cast

from nitro.engines import messages
from nitro.engines.embedder import Embedder, LanedEmbedder, Pair, Scorer
from nitro.engines.memory_faults import is_shortage
from nitro.engines.scheduling.embedding_queue import EmbeddingQueue, Piece
from nitro.engines.scheduling.step_budget import StepBudget
from nitro.engines.worker import vectors
from nitro.system.frames import WireMessage

log = logging.getLogger("nitro.engine")

Tell = Callable[[int, list[WireMessage]], None]


@dataclass(slots=True)
class EmbeddingTask:
    """The inputs of one request. `counts`: of each input, its pieces, which come one after the other."""

    id: int
    pieces: list[Piece]  # until they are queued
    counts: list[int]
    dimensions: int | None
    scores: bool = False  # whether its inputs are pairs, each of which gets one number
    user: str = ""  # whose it is
    computed: dict[int, list[tuple[bytes, int]]] = field(default_factory=dict)  # by input that lacks some: see `add`
    missing: int = 0  # inputs without a vector

    def __post_init__(self) -> None:
        self.missing = len(self.counts)

    def add(self, piece: Piece, pooled: bytes) -> bytes | None:
        """The input's vector, once all of its pieces are computed. Raises ValueError for one that is no vector."""
        there = self.computed.setdefault(piece.place, [])
        there.append((pooled, len(piece.tokens)))
        if len(there) < self.counts[piece.place]:
            return None
        del self.computed[piece.place]
        self.missing -= 1
        return vectors.score(pooled) if self.scores else vectors.finished(there, self.dimensions)


class Embeddings:
    """All that one model is to embed, or to score. Every method belongs to the engine thread."""

    def __init__(self, runner: Embedder | Scorer):
        self._runner = runner
        info = runner.info.embedding or runner.info.rerank
        self._queue = EmbeddingQueue(info.step_inputs if info else 1, info.lanes if info else 1)
        self._budget = StepBudget(info.step_tokens if info else 1)
        self._pauses = bool(info and info.pauses)
        self.has_lanes = bool(runner.info.embedding and runner.info.embedding.lanes > 1)
        self._tasks: dict[int, EmbeddingTask] = {}

    @property
    def waiting(self) -> int:
        """Pieces that are not computed."""
        return len(self._queue)

    @property
    def busy(self) -> bool:
        """Whether anything waits."""
        return bool(self._queue)

    def add(self, task: EmbeddingTask) -> None:
        """Queue the inputs of a request."""
        self._tasks[task.id] = task
        self._queue.add(task.id, task.pieces, task.user)
        task.pieces = []

    def abort(self, id: int) -> None:
        """Forget a request. Unknown ids are ignored."""
        self._queue.drop(id)
        self._tasks.pop(id, None)

    def next(self, streaming: bool) -> list[Piece]:
        """What the next step computes. `streaming`: somebody waits for text meanwhile."""
        return self._queue.take(self._budget.tokens(streaming))

    def compute(self, pieces: list[Piece], meanwhile: Callable[[], float]) -> list[WireMessage]:
        """Compute them. `meanwhile`: may be called in between; returns the seconds that it took. Returns what is to be
        told: vectors, and failures, each of which ends its request. What `meanwhile` raises is raised."""
        started = time.monotonic()
        paused = 0.0
        is_paused = False

        def pause() -> None:
            nonlocal paused, is_paused
            is_paused = True
            paused += meanwhile()
            is_paused = False

        try:
            pooled = self._computed(pieces, pause)
        except Exception as error:
            if is_paused:  # it is no fault of what is embedded
                raise
            log.exception("a step of embeddings raised")
            requests = list(dict.fromkeys(piece.request for piece in pieces))
            if len(requests) == 1:
                return self._failed(set(requests), f"The engine failed: {error!r}", is_shortage(error))
            each = ([piece for piece in pieces if piece.request == request] for request in requests)
            return [told for alone in each for told in self.compute(alone, meanwhile)]  # it may be the fault of one
        self._budget.observe(sum(len(piece.tokens) for piece in pieces), time.monotonic() - started - paused)
        return self._told(pieces, pooled)

    def compute_in_lanes(self, pieces: list[Piece], tell: Tell, begin: Callable[[list[int]], None]) -> None:
        """Compute them, and what is queued meanwhile. `tell`: as soon as a lane is done, how many pieces it had, and
        what is to be told. `begin`: the requests of all pieces that are under way. What they raise is raised."""
        given = list(pieces)
        under_way = dict(enumerate(pieces))
        is_telling = False

        def found(pooled: dict[int, bytes]) -> None:
            nonlocal is_telling
            done = [under_way.pop(place) for place in pooled]
            is_telling = True
            tell(len(done), self._told(done, list(pooled.values())))
            is_telling = False

        def more(budget: int, longest: int) -> list[list[int]]:
            following = self._queue.take_for_lane(budget, longest)
            under_way.update(enumerate(following, len(given)))
            given.extend(following)
            begin([piece.request for piece in under_way.values()])
            return [piece.tokens for piece in following]

        begin([piece.request for piece in pieces])
        try:
            cast(LanedEmbedder, self._runner).embed_in_lanes([piece.tokens for piece in pieces], found, more)
        except Exception as error:
            if is_telling:
                raise
            log.exception("a step of embeddings raised")
            left = list(under_way.values())
            requests = {piece.request for piece in left}
            if len(requests) == 1:
                tell(len(left), self._failed(requests, f"The engine failed: {error!r}", is_shortage(error)))
                return
            for piece in left:  # it may be the fault of one
                if piece.request in self._tasks:
                    begin([piece.request])
                    tell(1, self.compute([piece], lambda: 0.0))

    def _computed(self, pieces: list[Piece], pause: Callable[[], None]) -> list[bytes]:
        if self._runner.info.rerank:
            scorer = cast(Scorer, self._runner)
            scores = scorer.score([Pair(piece.tokens, piece.second) for piece in pieces])
            return [vectors.of_number(score) for score in scores]
        embedder, sequences = cast(Embedder, self._runner), [piece.tokens for piece in pieces]
        return embedder.embed(sequences, pause) if self._pauses else embedder.embed(sequences)

    def _told(self, pieces: list[Piece], pooled: list[bytes]) -> list[WireMessage]:
        found: dict[int, list[tuple[int, bytes]]] = {}
        failures: dict[int, str] = {}
        for piece, numbers in zip(pieces, pooled, strict=True):
            if piece.request not in self._tasks:  # its client left meanwhile
                continue
            try:
                vector = self._tasks[piece.request].add(piece, numbers)
            except ValueError as error:
                failures[piece.request] = str(error)
                continue
            if vector is not None:
                found.setdefault(piece.request, []).append((piece.place, vector))
        told: list[WireMessage] = []
        for id, inputs in found.items():
            if id not in failures:
                told.append(messages.Embedded(id, [place for place, _ in inputs], [vector for _, vector in inputs]))
                if not self._tasks[id].missing:
                    del self._tasks[id]
        for id, message in failures.items():
            told += self._failed({id}, message)
        return told

    def _failed(self, ids: set[int], message: str, too_large: bool = False) -> list[WireMessage]:
        for id in ids:
            self.abort(id)
        return [messages.EmbeddingFailed(id, message, too_large) for id in sorted(ids)]
