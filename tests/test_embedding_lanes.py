"""A step of embeddings in lanes: what a lane that is done gets next, what is told, and whose requests a fault ends."""

from types import SimpleNamespace
from typing import Any

import pytest

from nitro.engines import messages
from nitro.engines.backends.fake import FakeEncoder
from nitro.engines.embedder import Found, More
from nitro.engines.scheduling.embedding_queue import Piece
from nitro.engines.types import EmbeddingInfo, EngineSpec
from nitro.engines.worker.embeddings import Embeddings, EmbeddingTask

VECTOR = bytes([0, 0, 128, 63]) * 4
LONGEST = 100  # tokens of an input that a lane takes while the other one computes


class Lanes:
    """Two lanes, which are done in turn. The one at `fault` raises instead, counted from 0; and whatever has the token
    `bad`."""

    def __init__(self, fault: int | None = None, bad: int = -1):
        self.info = SimpleNamespace(
            embedding=EmbeddingInfo(4, "mean", 512, step_tokens=40, step_inputs=8, lanes=2), rerank=None
        )
        self.tokenizer = FakeEncoder(EngineSpec("fake", "")).tokenizer
        self.given: list[list[int]] = []  # lengths of the sequences of each lane's work
        self._fault = fault
        self._bad = bad

    def embed(self, sequences: list[list[int]]) -> list[bytes]:
        """Of lanes that have nothing to do."""
        if any(self._bad in tokens for tokens in sequences):
            raise RuntimeError("no such token, says the test")
        return [VECTOR for _ in sequences]

    def embed_in_lanes(self, sequences: list[list[int]], found: Found, more: More) -> None:
        work = [list(enumerate(sequences))[lane::2] for lane in range(2)]
        count = len(sequences)
        for turn, lane in enumerate(iter(lambda: work and work.pop(0), [])):
            self.given.append([len(tokens) for _, tokens in lane])
            if turn == self._fault or any(self._bad in tokens for _, tokens in lane):
                raise RuntimeError("no such lane, says the test")
            found({place: VECTOR for place, _ in lane})
            if following := more(20, LONGEST):
                work.append(list(enumerate(following, count)))
                count += len(following)


def queue(embeddings: Embeddings, id: int, *lengths: int, token: int = 1) -> None:
    pieces = [Piece(id, place, [token] * length) for place, length in enumerate(lengths)]
    embeddings.add(EmbeddingTask(id, pieces, [1] * len(pieces), None))


class Step:
    """One step, and what became of it. `arrives`: is called when the first lane is done."""

    def __init__(self, embeddings: Embeddings, arrives: Any = lambda: None):
        self.told: list[tuple[str, int]] = []
        self.counts: list[int] = []
        self.marked: list[set[int]] = []
        self._arrives = arrives
        embeddings.compute_in_lanes(
            embeddings.next(streaming=False), self._tell, lambda ids: self.marked.append(set(ids))
        )

    def _tell(self, count: int, answers: list[Any]) -> None:
        self.counts.append(count)
        self.told += [("found" if isinstance(each, messages.Embedded) else "failed", each.id) for each in answers]
        arrives, self._arrives = self._arrives, lambda: None
        arrives()


def test_a_lane_that_is_done_takes_what_has_come() -> None:
    runner = Lanes()
    embeddings = Embeddings(runner)  # type: ignore[arg-type]
    for id in (1, 2):
        queue(embeddings, id, 20)
    step = Step(embeddings, lambda: [queue(embeddings, id, 10) for id in (3, 4, 5)])
    assert runner.given == [[20], [20], [10, 10], [10]] and step.counts == [1, 1, 2, 1]
    assert step.told == [("found", id) for id in (1, 2, 3, 4, 5)] and not embeddings.busy
    assert step.marked == [{1, 2}, {2, 3, 4}, {3, 4, 5}, {5}, set()]


def test_a_long_input_waits_for_all_lanes_and_nobody_overtakes_it() -> None:
    runner = Lanes()
    embeddings = Embeddings(runner)  # type: ignore[arg-type]
    for id, length in enumerate((20, 20, LONGEST + 1, 20), 1):
        queue(embeddings, id, length)
    assert Step(embeddings).told == [("found", 1), ("found", 2)]
    assert Step(embeddings).told == [("found", 3), ("found", 4)]
    assert runner.given == [[20], [20], [LONGEST + 1], [20]]


def test_a_fault_ends_the_request_whose_it_is() -> None:
    """Those beside it are computed again, alone; and so is what it was no fault of."""
    embeddings = Embeddings(Lanes(bad=7))  # type: ignore[arg-type]
    for id, token in ((1, 1), (2, 7), (3, 1)):
        queue(embeddings, id, 20, 20, token=token)
    told = set()
    while embeddings.busy:
        told.update(Step(embeddings).told)
    assert told == {("found", 1), ("failed", 2), ("found", 3)}
    queue(embeddings, 1, 20)
    queue(embeddings, 2, 20, token=7)
    queue(embeddings, 3, 20)
    step = Step(embeddings)
    assert step.told == [("found", 1), ("failed", 2), ("found", 3)] and not embeddings.busy
    assert step.marked[-2:] == [{2}, {3}]


def test_a_fault_of_nobody_s_ends_nothing() -> None:
    embeddings = Embeddings(Lanes(fault=1))  # type: ignore[arg-type]
    for id in (1, 2, 3):
        queue(embeddings, id, 20)
    assert Step(embeddings).told == [("found", 1), ("found", 2), ("found", 3)] and not embeddings.busy


def test_a_fault_while_one_is_under_way_is_its_own() -> None:
    embeddings = Embeddings(Lanes(fault=0))  # type: ignore[arg-type]
    queue(embeddings, 1, 20)
    assert Step(embeddings).told == [("failed", 1)] and not embeddings.busy


def test_a_fault_of_who_is_told_is_no_fault_of_the_inputs() -> None:
    embeddings = Embeddings(Lanes())  # type: ignore[arg-type]
    queue(embeddings, 1, 20)
    with pytest.raises(ZeroDivisionError):
        Step(embeddings, lambda: 1 // 0)
