"""Prompts in fixed pieces: whatever the budget, the cache and preemptions, each token is computed in the same piece."""

import random
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from nitro.engines.backends.fake import FakeRunner
from nitro.engines.runner import OutOfKV
from nitro.engines.scheduling.prompt_grid import PromptGrid
from nitro.engines.scheduling.scheduler import Scheduler
from nitro.engines.scheduling.sequence import Sequence
from nitro.engines.types import EngineSpec, SamplingParams

GRID = 16


@given(st.integers(1, 100), st.integers(1, 30), st.data())
def test_chunks_end_where_pieces_do(prompt_length: int, budget: int, data: st.DataObject) -> None:
    grid = PromptGrid(GRID)
    whole = grid.pieces(0, prompt_length, prompt_length)
    start, pieces = 0, []
    while start < prompt_length:
        end = grid.chunk_end(start, min(start + data.draw(st.integers(1, budget)), prompt_length), prompt_length)
        assert start < end <= prompt_length
        pieces += grid.pieces(start, end, prompt_length)
        start = end
    assert pieces == whole
    assert whole[-1] == (prompt_length - 1, prompt_length)


def test_without_a_grid_everything_goes() -> None:
    grid = PromptGrid(0)
    assert (grid.down(7), grid.reusable(7, 3), grid.chunk_end(2, 5, 9)) == (7, 7, 5)
    assert grid.pieces(2, 5, 9) == [(2, 5)] and grid.pieces(5, 5, 9) == []


class Noting(FakeRunner):
    """Notes in which piece each token was computed: by the tokens up to the piece's end."""

    def __init__(self, kv_tokens: int):
        super().__init__(EngineSpec("fake", "", context=200, parallel=3), kv_tokens=kv_tokens)
        self.info = replace(self.info, prompt_grid=GRID)
        self.pieces: dict[int, list[list[tuple[int, int]]]] = {}  # by slot: of what it holds

    def submit(self, batch):
        super().submit(batch)
        grid = PromptGrid(GRID)
        for chunk in batch:
            self.pieces.setdefault(chunk.slot, []).extend(grid.pieces(chunk.start, chunk.stop, chunk.prompt_length))
            expected = grid.pieces(0, chunk.stop, chunk.prompt_length)
            assert self.pieces[chunk.slot] == expected, "a token was computed in another piece"

    def trim(self, slot, length):
        self.pieces[slot] = [piece for piece in self.pieces.get(slot, []) if piece[1] <= length]
        return super().trim(slot, length)

    def copy(self, src, dst, length):
        self.pieces[dst] = [piece for piece in self.pieces.get(src, []) if piece[1] <= length]
        return super().copy(src, dst, length)

    def reset(self):
        super().reset()
        self.pieces = {}


def test_every_token_is_computed_in_its_piece() -> None:
    """Conversations that share and continue prompts; now and then all is lost, and computed again from its tokens."""
    chance = random.Random(3)
    runner = Noting(kv_tokens=260)
    scheduler = Scheduler(runner.info, runner)
    talks: list[list[int]] = []
    counts = Counter[str]()
    for id in range(300):
        begin = chance.choice(talks[-8:]) if talks and chance.random() < 0.7 else []
        prompt = (begin + [chance.randrange(32, 126) for _ in range(chance.randrange(1, 50))])[:150]
        talks.append(prompt)
        scheduler.add(Sequence(id, prompt.copy(), chance.randrange(1, 40), SamplingParams()))
        for _ in range(chance.randrange(3)):
            step(scheduler, runner, chance.choice((1, 20, 40, 100)), counts)
        if id % 20 == 19:
            runner.reset()
            scheduler.restart()
            counts["preempted"] += sum(sequence.generated > 0 for sequence in scheduler.preempted)
    while scheduler.busy:
        step(scheduler, runner, 64, counts)
    assert counts["cached"] > 1000 and counts["preempted"] > 5


def step(scheduler: Scheduler, runner: Noting, budget: int, counts: Counter[str]) -> None:
    batch = scheduler.schedule(lambda *_: budget)
    while batch:
        try:
            runner.submit(batch)
            break
        except OutOfKV:
            batch = scheduler.reclaim_kv(batch) or []
    scheduler.advance(batch, runner.collect() if batch else [])
    counts["cached"] += sum(cached for _, cached in scheduler.admitted)
