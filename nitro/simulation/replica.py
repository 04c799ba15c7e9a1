"""One server of a simulated fleet: the engine's scheduler and the plan of its steps, driven as the engine's loop does,
with a runner that keeps nothing and a clock that is told what steps cost."""

from typing import NamedTuple

from nitro.engines.runner import Chunk, Result
from nitro.engines.scheduling.scheduler import Scheduler
from nitro.engines.scheduling.sequence import Sequence
from nitro.engines.scheduling.speculation import Drafter
from nitro.engines.scheduling.step_plan import StepPlan
from nitro.engines.types import ModelInfo, SamplingParams
from nitro.simulation.costs import StepClock

SAMPLING = SamplingParams()


class _NothingKept:
    """What the scheduler needs of a runner. What a slot holds is known to the scheduler itself."""

    def trim(self, slot: int, length: int) -> int:
        """It remains."""
        return length

    def copy(self, src: int, dst: int, length: int) -> int:
        """It is there."""
        return length

    def offload(self, slot: int) -> None:
        """That takes no time."""

    def restore(self, slot: int, state: memoryview, length: int) -> bool:
        """Nothing is kept in files."""
        return False

    def free_sequence(self, sequence_id: int) -> None:
        """There is nothing to free."""


class Begun(NamedTuple):
    """A sequence has got a slot, which held so many of its tokens."""

    id: int
    cached: int


class Stepped(NamedTuple):
    """What came of a step: the sequences that got a token, and those of them that have ended, or had no room."""

    told: list[int]
    ended: list[int]
    failed: list[int]


class Replica:
    """Add sequences, then `begin` a step and, so many seconds later, `end` it. Nothing is added in between."""

    def __init__(self, info: ModelInfo, clock: StepClock):
        self.scheduler = Scheduler(info, _NothingKept())
        self.underway = 0  # requests that were sent to it and have not ended
        self.busy_seconds = 0.0
        self.steps = 0
        self._plan = StepPlan(self.scheduler, info)
        self._info = info
        self._clock = clock
        self._answers: dict[int, list[int]] = {}  # by sequence: the tokens that it will say
        self._batch: list[Chunk] = []
        self._failed: list[int] = []
        self._seconds = 0.0

    def add(self, id: int, prompt: list[int], answer: list[int], now: float) -> None:
        """Queue a sequence that will say `answer`. Both fit into the context."""
        self._answers[id] = answer
        self.scheduler.add(
            Sequence(id, prompt.copy(), len(answer), SAMPLING, arrived=now, drafter=Drafter(lookup=False))
        )

    def begin(self) -> tuple[float, list[Begun]]:
        """A step begins: how long it lasts, and who has got a slot."""
        scheduler = self.scheduler
        batch = self._plan.next()
        self._failed = []
        while batch and scheduler.kv_used + sum(chunk.size for chunk in batch) > self._info.kv_tokens:
            batch, ends = self._plan.without_room(batch)
            self._failed += [output.id for output in ends]
        self._batch = batch
        self._seconds = self._clock.seconds(self._batch)
        return self._seconds, [Begun(sequence.id, cached) for sequence, cached in scheduler.admitted]

    def end(self) -> Stepped:
        """It has ended."""
        batch, answers = self._batch, self._answers
        results = [
            Result([answers[chunk.sequence_id][len(chunk.tokens) - chunk.prompt_length]] if chunk.wants_token else [])
            for chunk in batch
        ]
        outputs = self.scheduler.advance(batch, results)
        self._plan.took(batch, self._seconds)
        self.busy_seconds += self._seconds
        self.steps += 1
        ended = [output.id for output in outputs if output.finish]
        for id in (*ended, *self._failed):
            del answers[id]
        return Stepped([output.id for output in outputs], ended, self._failed)
