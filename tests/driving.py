"""A runner driven as the engine process drives it, but in this process and step by step: real scheduler, no threads."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from nitro.engines.adapters import AdapterSet
from nitro.engines.runner import ModelRunner, OutOfKV
from nitro.engines.scheduling.kept_prefixes import KeptPrefix
from nitro.engines.scheduling.scheduler import Scheduler
from nitro.engines.scheduling.sequence import Sequence
from nitro.engines.scheduling.speculation import Drafter
from nitro.engines.types import SamplingParams
from nitro.engines.work import EncodedWork
from nitro.engines.worker.jobs import JobResult
from nitro.engines.worker.preparation import Preparation

GREEDY = SamplingParams(temperature=0, ignore_eos=True, logit_bias={2: float("-inf"), 0: float("-inf")})

STEP = 1.0  # seconds: rows cost nothing, so that drafts pay if they may be right
PASS = 0.01  # of a draft model


def prepared(runner: ModelRunner, work: EncodedWork) -> JobResult:
    """A request made ready, its sequences numbered from 1 on. Raises Rejection."""
    slices = Preparation(runner).slices(list(range(1, work.sequences + 1)), work.raw)
    while True:
        try:
            next(slices)
        except StopIteration as done:
            return done.value


@dataclass
class Driver:
    runner: ModelRunner
    budget: int = 64  # tokens a step
    answers: dict[int, list[int]] = field(default_factory=dict)  # by sequence id, as far as they are
    batches: list[list[int]] = field(default_factory=list)  # the sequence ids of every step

    def __post_init__(self) -> None:
        self.scheduler = Scheduler(self.runner.info, self.runner)

    def add(
        self,
        id: int,
        prompt: list[int],
        length: int,
        sampling: SamplingParams = GREEDY,
        snapshot_points: tuple[int, ...] = (),
        predicted: Iterable[int] = (),
        keeps: tuple[KeptPrefix, ...] = (),
        adapters: AdapterSet = (),
    ) -> None:
        self.answers[id] = []
        self.scheduler.add(
            Sequence(
                id,
                list(prompt),
                length,
                sampling,
                drafter=Drafter(list(predicted)),
                snapshot_points=snapshot_points,
                keeps=keeps,
                adapters=adapters,
            )
        )

    def step(self) -> None:
        batch = self.scheduler.schedule(lambda *_: self.budget)
        if asked := self.scheduler.drafts.asked:
            guesses = self.runner.guess([chunk for chunk, _ in asked], [limit for _, limit in asked])
            self.scheduler.drafts.guessed(guesses, PASS * max(map(len, guesses)))
        while True:
            try:
                self.runner.submit(batch)
                break
            except OutOfKV:
                relieved = self.scheduler.reclaim_kv(batch)
                assert relieved
                batch = relieved
        self.batches.append([chunk.sequence_id for chunk in batch])
        for output in self.scheduler.advance(batch, self.runner.collect()):
            assert output.error is None
            self.answers[output.id] += output.tokens
        seconds = self.scheduler.turns.observe(batch, STEP)
        self.scheduler.drafts.observe(batch, seconds + PASS * bool(asked))

    def run(self) -> dict[int, list[int]]:
        """Until nothing is left to do."""
        while self.scheduler.busy:
            self.step()
        self.runner.release_idle_memory()
        return self.answers

    def answer(self, id: int, prompt: list[int], length: int, sampling: SamplingParams = GREEDY) -> list[int]:
        self.add(id, prompt, length, sampling)
        return self.run()[id]
