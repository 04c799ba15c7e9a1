"""Measures what steps cost on this machine: an engine of its own, some prompts and answers, the records of its steps.

It takes minutes. Prompts are random token ids, so nothing of them is in a cache. Every step is measured
by itself; of steps that are alike the median counts, so that a disturbed one does no harm.
"""

import asyncio
import itertools
import random
import statistics
import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

from msgspec.structs import replace

from nitro.engines.client.engine import Engine
from nitro.engines.messages import PrefixEvent
from nitro.engines.runner import Chunk
from nitro.engines.types import EngineSpec, GenerationParams, ModelInfo, SamplingParams, StepRecord
from nitro.engines.work import encode_work
from nitro.errors import EngineError, SimulationError
from nitro.simulation.costs import FORM, Points, Room, StepClock, StepCosts, check

REPEATS = 3
SHORT = 24  # tokens of a prompt before many answers
LONGEST = 4096  # tokens of a prompt: what is deeper is on the same line
DECODED = 12  # tokens of an answer
PROMPTS = (16, 32, 48, 64, 80, 96, 112, 128, 160, 192, 256, 320, 384, 448, 512, 1024, 2048)  # tokens
BAN = -1000.0  # the logit bias of tokens that would end an answer
SAMPLING = SamplingParams(temperature=0.8, top_k=40, top_p=0.95, min_p=0.05)  # as most requests have it


class _Steps:
    """The engine's Observer: notes its steps, and when each was told."""

    def __init__(self) -> None:
        self.noted: list[tuple[float, StepRecord]] = []

    def step(self, record: StepRecord) -> None:
        """See Observer."""
        self.noted.append((time.perf_counter(), record))

    def engine_lost(self) -> None:
        """Its requests fail, which is told there."""

    def engine_restarted(self) -> None:
        """It does not come back."""

    def prefix(self, event: PrefixEvent) -> None:
        """There are no prefixes in files."""


def measure(spec: EngineSpec) -> StepCosts:
    """What steps of this model cost. Raises SimulationError where it cannot be loaded, or makes no text."""
    return asyncio.run(_measure(spec))


async def _measure(spec: EngineSpec) -> StepCosts:
    steps = _Steps()
    engine = Engine(spec, max_queue=spec.parallel, observer=steps, comes_back=False)
    try:
        engine.start()
        info = await engine.ready()
        if not info.generates:
            raise SimulationError(f"{spec.model} generates no text.")
        await _compute(engine, info)
    except EngineError as error:
        raise SimulationError(f"{spec.model} cannot be measured: {error}") from None
    finally:
        await engine.close()
    return fitted([record for _, record in steps.noted], _between(steps.noted), info, Path(spec.model).name)


async def _compute(engine: Engine, info: ModelInfo) -> None:
    """Let it take steps of all kinds: the first ones do not count for much, since they teach it how fast it is."""
    prompts = _Prompts(info)
    longest = min(info.context - DECODED - 1, LONGEST)
    await prompts.answer(engine, min(256, longest), 1)
    for _ in range(REPEATS):
        for length in PROMPTS:
            if length < min(longest, info.step_tokens):
                await prompts.answer(engine, length, 1, tokens=2)
        await prompts.answer(engine, longest, 1)
        for count in counts(info.parallel):
            await prompts.answer(engine, min(SHORT, longest), count)


def counts(parallel: int) -> list[int]:
    """How many sequences decode together, in the steps that are measured."""
    return sorted({*(2**power for power in range(parallel.bit_length())), *range(1, min(parallel, 4) + 1), parallel})


class _Prompts:
    def __init__(self, info: ModelInfo):
        self._random = random.Random(1)
        self._most = info.vocabulary - 1
        self._sampling = replace(SAMPLING, logit_bias=dict.fromkeys(info.eog, BAN))
        self._eog = info.eog

    async def answer(self, engine: Engine, length: int, count: int, tokens: int = DECODED) -> None:
        """So many answers to a new prompt of so many tokens."""
        ids = [self._random.randint(0, self._most) for _ in range(2 * length + 8)]
        prompt = [token for token in ids if token not in self._eog][:length]
        params = GenerationParams(self._sampling, max_tokens=tokens)
        generation = await engine.generate(encode_work([prompt], params, count))
        async for _ in generation:
            pass


def _between(noted: Sequence[tuple[float, StepRecord]]) -> float:
    """Seconds that pass between two steps: messages, and whatever else the engine process does."""
    gaps = []
    for (before, _), (after, record) in itertools.pairwise(noted):
        if not record.admitted and record.rows and all(row.stop - row.start == 1 for row in record.rows):
            gaps.append(max(after - before - record.seconds, 0.0))
    return statistics.median(gaps) if gaps else 0.0


def fitted(records: Iterable[StepRecord], between: float, info: ModelInfo, model: str) -> StepCosts:
    """The costs that steps tell of. `between`: seconds from one step to the next. Raises SimulationError."""
    decodes, prompts, loose = _Samples(), _Samples(), _Samples()
    tile = info.attention_tile_rows or 1
    mixed = []
    for record in records:
        rows = [Chunk(0, row.slot, [], row.start, row.stop, SAMPLING) for row in record.rows]
        sizes, seconds = [row.stop - row.start for row in rows], record.seconds + between
        if not sizes:
            continue
        depth = sum((row.stop - row.start) * row.start for row in rows)
        rest = sum(size % tile for size in sizes)
        if max(sizes) == 1:
            decodes.add(len(sizes), depth, seconds)
        elif min(sizes) > 1 and rest in (0, sum(sizes)):
            (loose if rest else prompts).add(sum(sizes), depth, seconds)
        elif min(sizes) > 1:
            mixed.append((rows, seconds))
    if not decodes.known or not prompts.known:
        raise SimulationError("the engine has taken too few steps to say what they cost.")
    decode, decode_depth = decodes.fit()
    prompt, prompt_depth = prompts.fit()
    costs = StepCosts(
        form=FORM,
        engine=info.engine,
        device=info.device,
        model=model,
        room=Room.of(info),
        decode=decode,
        prompt=prompt,
        loose=loose.fit(decode_depth)[0] if loose.known else [],
        decode_depth=decode_depth,
        prompt_depth=prompt_depth,
    )
    clock = StepClock(costs)
    saved = [clock.seconds(rows) - seconds for rows, seconds in mixed]
    return check(replace(costs, saved=max(statistics.median(saved), 0.0)) if saved else costs)


class _Samples:
    """Steps of one kind: by their count the depth of each, and its seconds."""

    def __init__(self) -> None:
        self.known: dict[int, list[tuple[int, float]]] = defaultdict(list)

    def add(self, count: int, depth: int, seconds: float) -> None:
        """A step."""
        self.known[count].append((depth, seconds))

    def fit(self, known: float | None = None) -> tuple[Points, float]:
        """Seconds by count at depth 0, and for each token of depth, unless that is known. Of the latter: the median of
        the slopes between steps of the same count (Theil and Sen), which a few disturbed steps do not move."""
        slope = self._slope() if known is None else known
        points = []
        for count, found in sorted(self.known.items()):
            depth, seconds = _median(_halves(found)[0])
            points.append((count, max(seconds - slope * depth, 0.1 * seconds)))
        return _rising(points, [len(found) for _, found in sorted(self.known.items())]), slope

    def _slope(self) -> float:
        slopes = []
        for found in self.known.values():
            shallow, deep = _halves(found)
            if shallow and deep:
                (from_depth, least), (to_depth, most) = map(_median, (shallow, deep))
                if to_depth - from_depth >= SHORT:
                    slopes.append((most - least) / (to_depth - from_depth))
        return max(statistics.median(slopes), 0.0) if slopes else 0.0


def _halves(found: list[tuple[int, float]]) -> tuple[list[tuple[int, float]], list[tuple[int, float]]]:
    """Those that are less deep than the middle between the extremes, and the others."""
    depths = [depth for depth, _ in found]
    middle = (min(depths) + max(depths)) / 2
    return [each for each in found if each[0] <= middle], [each for each in found if each[0] > middle]


def _median(found: list[tuple[int, float]]) -> tuple[float, float]:
    return statistics.median(depth for depth, _ in found), statistics.median(seconds for _, seconds in found)


def _rising(points: list[tuple[int, float]], weights: list[int]) -> Points:
    """More never costs less: where it seems to, both cost what they do in the mean (isotonic regression by pooling
    adjacent violators: Barlow and others, 1972)."""
    pools: list[tuple[float, int, int]] = []  # seconds, weight, points
    for (_, seconds), weight in zip(points, weights, strict=True):
        length = 1
        while pools and pools[-1][0] > seconds:
            before, its, pooled = pools.pop()
            seconds = (before * its + seconds * weight) / (its + weight)
            weight, length = its + weight, length + pooled
        pools.append((seconds, weight, length))
    risen = [seconds for seconds, _, length in pools for _ in range(length)]
    return [(count, seconds) for (count, _), seconds in zip(points, risen, strict=True)]
