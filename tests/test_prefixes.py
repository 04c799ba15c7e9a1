"""Reuse of prefixes changes no answer: 300 requests that share them, in random order, on both engines.

Conversations begin with one of six system prompts, some at the same moment, and go on from their own answers.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from driving import GREEDY, Driver
from llama_scorer import LlamaScorer
from mlx_scorer import MlxScorer
from same_answer import assert_same_answer, tolerance
from tiny_models import KINDS, write_folder, write_gguf

REQUESTS = 300
ANSWER = 6  # tokens
TURNS = 6
SYSTEMS = (20, 40, 60, 80, 100, 120)  # tokens
CONTEXT = 300  # tokens; the pool holds four of them, the slots twelve caches


@pytest.fixture(params=[LlamaScorer, MlxScorer])
def scorer(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[LlamaScorer | MlxScorer]:
    scorer = request.param(
        write_gguf(tmp_path / "tiny.gguf"), context=CONTEXT, parallel=4, banned=list(GREEDY.logit_bias)
    )
    yield scorer
    scorer.close()


@dataclass
class Talk:
    """A conversation, as the tokens that were said so far. The next prompt is that, and a question."""

    said: list[int]
    system: int  # tokens of its system prompt
    turns: int = 0
    asked: int | None = None  # the request that is under way

    @property
    def may_go_on(self) -> bool:
        return self.asked is None and self.turns < TURNS


class Crowd:
    """Keeps a runner busy with conversations."""

    def __init__(self, scorer: LlamaScorer | MlxScorer, seed: int):
        self.chance = random.Random(seed)
        self.driver = Driver(scorer, budget=96)
        self.systems = [self.some_tokens(length) for length in SYSTEMS]
        self.talks: list[Talk] = []
        self.prompts: dict[int, list[int]] = {}
        self.cached: dict[int, int] = {}

    def some_tokens(self, count: int) -> list[int]:
        return [self.chance.randrange(20, 1024) for _ in range(count)]

    def ask(self) -> None:
        """One of the last conversations goes on; now and then a new one begins, or two alike at the same time."""
        going_on = [talk for talk in self.talks[-12:] if talk.may_go_on]
        if not going_on or self.chance.random() < 0.2:
            system = self.chance.choice(self.systems)
            going_on = [Talk(system.copy(), len(system)) for _ in range(self.chance.choice((1, 1, 2)))]
            self.talks += going_on
        else:
            going_on = [self.chance.choice(going_on)]
        question = self.some_tokens(self.chance.randrange(2, 12))
        for talk in going_on:
            id = talk.asked = len(self.prompts)
            talk.turns += 1
            self.prompts[id] = talk.said + question
            snapshot_points = () if self.driver.runner.info.can_truncate else (talk.system, len(self.prompts[id]) - 1)
            self.driver.add(id, self.prompts[id], ANSWER, snapshot_points=snapshot_points)

    def step(self) -> None:
        self.driver.step()
        for sequence, count in self.driver.scheduler.admitted:
            self.cached.setdefault(sequence.id, count)
        for talk in self.talks:
            if talk.asked is not None and len(self.driver.answers[talk.asked]) == ANSWER:
                talk.said = self.prompts[talk.asked] + self.driver.answers[talk.asked]
                talk.asked = None

    def run(self, requests: int) -> None:
        while len(self.prompts) < requests:
            for _ in range(self.chance.choice((0, 0, 1, 2, 4))):
                self.ask()
            if self.driver.scheduler.busy:
                self.step()
        while self.driver.scheduler.busy:
            self.step()


@pytest.fixture(params=[kind for kind in KINDS if not kind.startswith("plain")])
def uncuttable(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[MlxScorer]:
    """Caches with windows, and recurrent states."""
    folder = write_folder(tmp_path / "model", request.param)
    scorer = MlxScorer(folder, context=CONTEXT, parallel=4, banned=list(GREEDY.logit_bias))
    assert not scorer.info.can_truncate
    yield scorer
    scorer.close()


def test_300_requests_that_share_prefixes(scorer: LlamaScorer | MlxScorer) -> None:
    hammer(scorer, REQUESTS, cached=0.6)


def test_caches_that_cannot_be_cut(uncuttable: MlxScorer) -> None:
    hammer(uncuttable, 60, cached=0.4)


def hammer(scorer: LlamaScorer | MlxScorer, requests: int, cached: float) -> None:
    """`cached`: the least share of prompt tokens that were not computed."""
    crowd = Crowd(scorer, seed=1)
    crowd.run(requests)
    assert max(map(len, crowd.driver.batches)) == 4
    assert sum(crowd.cached.values()) >= cached * sum(map(len, crowd.prompts.values()))
    explained = tolerance(scorer, crowd.some_tokens(120))
    for id, prompt in crowd.prompts.items():
        assert_same_answer(scorer, prompt, crowd.driver.answers[id], explained)
