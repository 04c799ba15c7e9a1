"""Streams that decode on a simulated device: the real scheduler, costs and luck as given, and no clock."""

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from nitro.engines.runner import Chunk, Result
from nitro.engines.scheduling.draft_chances import SourceName
from nitro.engines.scheduling.scheduler import Scheduler
from nitro.engines.scheduling.sequence import Sequence
from nitro.engines.scheduling.speculation import MAX_DRAFT, MAX_DRAFTED, Drafter, Guess
from nitro.engines.types import ModelInfo, SamplingParams

PROMPT = [1, 2, 3]
ANSWER = 100_000  # tokens that no stream reaches
Curve = Callable[[int], float]  # seconds of a step by its rows
Luck = Callable[[int], float]  # the chance that a guess is right, by its position in the answer


class Script:
    """What one stream says, and which guesses of it are right."""

    def __init__(self, seed: int, luck: Luck):
        self._random = Random(seed)
        self._luck = luck
        self._right: list[bool] = []

    def _up_to(self, end: int) -> list[bool]:
        while len(self._right) < end:
            self._right.append(self._random.random() < self._luck(len(self._right)))
        return self._right

    def guess(self, at: int, count: int) -> list[int]:
        """Guesses from that position of the answer on: token 2 is right, token 0 is not."""
        return [2 if right else 0 for right in self._up_to(at + count)[at : at + count]]

    def agreement(self, at: int) -> int:
        """Right ones before it."""
        run = 0
        while run < min(at, 32) and self._up_to(at)[at - run - 1]:
            run += 1
        return run


class ScriptedDrafter(Drafter):
    def __init__(self, script: Script):
        super().__init__(lookup=False)
        self.script = script

    def look(self, tokens: list[int], generated: int) -> dict[SourceName, Guess]:
        super().look(tokens, generated)
        self.guesses = {"lookup": Guess(self.script.guess(generated, MAX_DRAFT), self.script.agreement(generated))}
        return self.guesses


class SimulatedRunner:
    """Every token is 2."""

    def trim(self, slot: int, length: int) -> int:
        return length

    def copy(self, src: int, dst: int, length: int) -> int:
        return length

    def offload(self, slot: int) -> None:
        pass

    def free_sequence(self, sequence_id: int) -> None:
        pass

    def results(self, batch: list[Chunk]) -> list[Result]:
        return [self._result(chunk) for chunk in batch]

    def _result(self, chunk: Chunk) -> Result:
        if not chunk.wants_token:
            return Result([])
        right = next((i for i, guess in enumerate(chunk.draft) if guess != 2), len(chunk.draft))
        return Result([2] * (right + 1))


@dataclass
class Streams:
    """What the streams got."""

    tokens: list[int]  # by stream
    drafted: int
    accepted: int
    seconds: float


def simulate(
    streams: int,
    lucks: list[Luck],
    curve: Curve,
    seconds: float,
    drafts: bool = True,
    noise: float = 0.0,
    pass_curve: Curve | None = None,
    sure_until: tuple[int, ...] = (ANSWER,),
) -> Streams:
    """So many streams, with these lucks in turn, for so long. `pass_curve`: there is a draft model instead of look-up,
    and what its passes cost by sequences. `sure_until`: where in an answer it ceases to guess,
    of the streams in turn."""
    length = ANSWER
    info = ModelInfo(
        engine="simulated",
        device="none",
        layers="none",
        slots=streams,
        parallel=streams,
        context=length + 10,
        trained_context=length + 10,
        kv_tokens=(length + 10) * streams,
        kv_bytes=0,
        step_tokens=512,
        vocabulary=3,
        eog=frozenset(),
        draft_tokens=MAX_DRAFTED if drafts else 0,
        has_draft_model=drafts and pass_curve is not None,
    )
    runner = SimulatedRunner()
    scheduler = Scheduler(info, runner)
    random = Random(1)
    scripts = [Script(i, lucks[i % len(lucks)]) for i in range(streams)]
    for i, script in enumerate(scripts):
        drafter = ScriptedDrafter(script) if drafts and not pass_curve else Drafter(lookup=False)
        scheduler.add(Sequence(i, list(PROMPT), length, SamplingParams(), drafter=drafter))
    got = Streams([0] * streams, 0, 0, 0.0)
    while got.seconds < seconds:
        batch = scheduler.schedule(lambda *_: 256)
        took = _guess(scheduler, scripts, pass_curve, sure_until)
        took += curve(sum(chunk.size for chunk in batch))
        took *= 1 + noise * random.expovariate(1)
        got.seconds += took
        for output in scheduler.advance(batch, runner.results(batch)):
            got.tokens[output.id] += len(output.tokens)
            got.drafted += output.drafted
            got.accepted += output.accepted
        scheduler.drafts.observe(batch, took)
    return got


def _guess(scheduler: Scheduler, scripts: list[Script], pass_curve: Curve | None, sure_until: tuple[int, ...]) -> float:
    """Let the draft model guess. Returns the seconds that it took: one pass for each guess, or to see that it has
    none."""
    asked = scheduler.drafts.asked
    if not asked or not pass_curve:
        return 0.0
    guesses, passes = [], []
    for chunk, limit in asked:
        id, at = chunk.sequence_id, len(chunk.tokens) - len(PROMPT)
        left = max(sure_until[id % len(sure_until)] - at, 0)
        guesses.append(scripts[id].guess(at, min(limit, left)))
        passes.append(min(len(guesses[-1]) + 1, limit))
    seconds = sum(pass_curve(sum(count > at for count in passes)) for at in range(max(passes)))
    scheduler.drafts.guessed(guesses, seconds)
    return seconds
