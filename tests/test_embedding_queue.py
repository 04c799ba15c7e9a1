"""Which inputs are embedded together, and how embeddings and text share the engine. The policy alone: no clock runs."""

import random

import pytest

from nitro.engines.scheduling.embedding_queue import EmbeddingQueue, Piece
from nitro.engines.scheduling.turns import SHARE, Turns


def pieces(request: int, *lengths: int) -> list[Piece]:
    return [Piece(request, place, [1] * length) for place, length in enumerate(lengths)]


def taken(queue: EmbeddingQueue, budget: int) -> list[tuple[int, int]]:
    return [(piece.request, piece.place) for piece in queue.take(budget)]


def test_requests_take_turns() -> None:
    """One that comes with a single input is in the next step, whatever waits before it."""
    queue = EmbeddingQueue(step_inputs=4)
    queue.add(1, pieces(1, *[10] * 1000))
    assert taken(queue, 100) == [(1, 0), (1, 1), (1, 2), (1, 3)]
    queue.add(2, pieces(2, 10))
    queue.add(3, pieces(3, 10, 10))
    assert taken(queue, 100) == [(1, 4), (2, 0), (3, 0), (1, 5)]
    assert taken(queue, 100) == [(3, 1), (1, 6), (1, 7), (1, 8)]
    assert len(queue) == 991


def test_a_step_is_full_but_not_too_full() -> None:
    queue = EmbeddingQueue(step_inputs=8)
    queue.add(1, pieces(1, 60, 60))
    queue.add(2, pieces(2, 50))
    queue.add(3, pieces(3, 40))
    assert taken(queue, 100) == [(1, 0), (3, 0)], "what does not fit leaves its room to what does"
    assert taken(queue, 100) == [(2, 0)], "and is the first of the next step"
    assert taken(queue, 100) == [(1, 1)] and not queue


def test_one_that_is_longer_than_a_step_goes_alone() -> None:
    queue = EmbeddingQueue(step_inputs=8)
    queue.add(1, pieces(1, 500))
    queue.add(2, pieces(2, 10))
    assert taken(queue, 100) == [(1, 0)]
    assert taken(queue, 100) == [(2, 0)]


def test_one_for_each_lane_whatever_its_length() -> None:
    queue = EmbeddingQueue(step_inputs=8, lanes=2)
    queue.add(1, pieces(1, 500, 40, 30, 30, 1))
    queue.add(2, pieces(2, 400))
    assert taken(queue, 100) == [(1, 0), (2, 0)], "and no third, which would wait for these"
    assert taken(queue, 100) == [(1, 1), (1, 2), (1, 3)], "short ones fill a step as ever"
    assert taken(queue, 100) == [(1, 4)] and not queue


def test_a_lane_that_is_done_before_the_others() -> None:
    """It takes no input that needs all of them, and nothing overtakes that one."""
    queue = EmbeddingQueue(step_inputs=8, lanes=2)
    assert queue.take_for_lane(20, 100) == []
    queue.add(1, pieces(1, 10, 90, 101))
    queue.add(2, pieces(2, 10, 10))

    def next_of_lane() -> list[tuple[int, int]]:
        return [(piece.request, piece.place) for piece in queue.take_for_lane(20, 100)]

    assert next_of_lane() == [(1, 0), (2, 0)]
    assert next_of_lane() == [(1, 1)] and next_of_lane() == [(2, 1)]
    assert next_of_lane() == [] and taken(queue, 40) == [(1, 2)] and not queue


def test_what_is_dropped_never_comes() -> None:
    queue = EmbeddingQueue(step_inputs=2)
    queue.add(1, pieces(1, 5, 5, 5))
    queue.add(2, pieces(2, 5))
    queue.drop(1)
    queue.drop(7)
    assert taken(queue, 100) == [(2, 0)] and not queue and taken(queue, 100) == []


@pytest.mark.parametrize("seed", range(20))
def test_everything_comes_once_and_in_order(seed: int) -> None:
    rng = random.Random(seed)
    queue = EmbeddingQueue(step_inputs=rng.randint(1, 6))
    wanted = {}
    came: dict[int, list[int]] = {}
    for request in range(30):
        if rng.random() < 0.7:
            wanted[request] = pieces(request, *[rng.randint(1, 150) for _ in range(rng.randint(1, 9))])
            queue.add(request, wanted[request])
        for request_of, place in taken(queue, 100):
            came.setdefault(request_of, []).append(place)
    while queue:
        step = queue.take(100)
        assert step and (len(step) == 1 or sum(len(piece.tokens) for piece in step) <= 100)
        for piece in step:
            came.setdefault(piece.request, []).append(piece.place)
    assert came == {request: list(range(len(each))) for request, each in wanted.items()}


@pytest.mark.parametrize(("generating", "embedding"), [(0.02, 0.25), (0.05, 0.05), (0.2, 4.0), (0.5, 0.01)])
def test_text_keeps_its_share(generating: float, embedding: float) -> None:
    """Over time, whatever a step of each takes; and embeddings get what is theirs."""
    turns = Turns()
    spent = {True: 0.0, False: 0.0}
    while sum(spent.values()) < 200 * (generating + embedding):
        embeds = turns.embeds(True, True)
        seconds = embedding if embeds else generating
        (turns.embedded if embeds else turns.generated)(seconds)
        spent[embeds] += seconds
    share = spent[False] / sum(spent.values())
    assert share >= 1 - SHARE - 0.03 and share > 0.8
    if embedding > generating:
        assert share < 1 - SHARE + 0.05, "no more than that"


def test_what_waits_alone_has_all_of_it() -> None:
    turns = Turns()
    for _ in range(5):
        assert turns.embeds(False, True)
    turns.embedded(3.0)
    assert not turns.embeds(True, True), "text that comes goes first, until another step is paid"
    price = 3.0 * (1 - SHARE) / SHARE  # seconds of text
    turns.generated(0.95 * price)
    assert not turns.embeds(True, True)
    turns.generated(0.06 * price)
    assert turns.embeds(True, True)
    assert turns.embeds(False, True)
    assert not turns.embeds(True, False) and not turns.embeds(False, False)
