"""`python -m soak.hammer`: the promise of `nitro serve --deterministic`, tried on many requests.

Each request is computed alone with nothing cached, and again among others: with random neighbours, chunks of random
lengths, prefixes from caches and from prompts under way, neighbours that leave. Tokens and logprobs have to be equal,
bit by bit. In this process: scheduler, preparation and runner are the engine process's own, without HTTP.
"""

import argparse
import random
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from msgspec.structs import replace

from nitro.engines.adapters import AdapterSet
from nitro.engines.backends.loading import load
from nitro.engines.runner import ModelRunner, OutOfKV
from nitro.engines.scheduling.scheduler import Scheduler
from nitro.engines.types import Constraint, EngineSpec, GenerationParams, ModelInfo, Output, SamplingParams
from nitro.engines.work import EncodedWork, encode_work
from nitro.engines.worker.preparation import Preparation
from nitro.models import default_model

CONTEXT = 1024  # tokens: past 512 cells llama.cpp has another kernel for a row that is alone
FIRST_TOKEN = 20  # the tokens before are control tokens
MAX_TOKENS = 16  # of an answer
NEWEST = 12  # conversations that may go on
BUDGETS = (32, 50, 64, 96, 200, 512)  # tokens of a step

SAMPLINGS = (
    SamplingParams(temperature=0),
    SamplingParams(temperature=0, ignore_eos=True, repetition_penalty=1.2, frequency_penalty=0.5),
    SamplingParams(temperature=1.0, ignore_eos=True),
    SamplingParams(temperature=0.8, top_k=40, top_p=0.95, min_p=0.02),
    SamplingParams(temperature=1.5, typical_p=0.9, logit_bias={30: 4.0, 40: -100.0}),
    SamplingParams(temperature=1.0, xtc_probability=0.5, top_n_sigma=2.0),
)
CONSTRAINTS = (
    Constraint("regex", "[a-f]{3}-[0-9]{5,9}!", "regex"),
    Constraint("json_schema", '{"type": "array", "items": {"enum": ["a", 1]}, "minItems": 1}', "json_schema"),
    Constraint("choice", '["red", "blue", "blueish"]', "choice"),
)


@dataclass(frozen=True)
class Request:
    """What is asked, once."""

    prompt: list[int]
    params: GenerationParams
    n: int
    adapters: AdapterSet = ()

    def work(self, use_cache: bool) -> EncodedWork:
        """As the engine gets it."""
        return encode_work([self.prompt], replace(self.params, use_cache=use_cache), self.n, adapters=self.adapters)


@dataclass
class Told:
    """What one sequence gave: tokens, and logprobs with the likeliest tokens, all as the engine sends them."""

    tokens: list[int] = field(default_factory=list)
    logprobs: list[object] = field(default_factory=list)
    prompt_logprobs: list[object] = field(default_factory=list)
    finish: str | None = None
    error: str | None = None

    def add(self, output: Output) -> None:
        """Append what a step gave."""
        self.tokens += output.tokens
        self.logprobs += output.logprobs
        self.prompt_logprobs += output.prompt_logprobs
        self.finish = output.finish
        self.error = output.error


class Engine:
    """A runner with the engine process's scheduler and preparation, driven step by step."""

    def __init__(self, runner: ModelRunner):
        self.runner = runner
        self.scheduler = Scheduler(runner.info, runner)
        self.told: dict[int, Told] = {}  # by sequence id
        self.most_rows = 0
        self.cached = 0  # prompt tokens that came from a cache
        self._preparation = Preparation(runner)
        self._next_id = 1

    def add(self, request: Request, use_cache: bool = True) -> list[int]:
        """Queue a request. Returns its sequences' ids."""
        ids = list(range(self._next_id, self._next_id + request.n))
        self._next_id += request.n
        slices = self._preparation.slices(ids, request.work(use_cache).raw)
        while True:
            try:
                next(slices)
            except StopIteration as done:
                self.scheduler.add(*done.value.sequences)
                break
        self.told |= {id: Told() for id in ids}
        return ids

    def step(self, budget: int) -> None:
        """One step, as worker/loop.py takes it."""
        batch = self.scheduler.schedule(lambda *_: budget)
        self.cached += sum(cached for _, cached in self.scheduler.admitted)
        while batch:
            try:
                self.runner.submit(batch)
                break
            except OutOfKV:
                batch = self.scheduler.reclaim_kv(batch) or []
        results = self.runner.collect() if batch else []
        self.most_rows = max(self.most_rows, len(batch))
        for output in self.scheduler.advance(batch, results):
            self.told[output.id].add(output)

    def alone(self, request: Request) -> list[Told]:
        """What the request gives while nothing else runs, from nothing that is cached."""
        ids = self.add(request, use_cache=False)
        while self.scheduler.busy:
            self.step(BUDGETS[-1])
        self.runner.release_idle_memory()
        return [self.told[id] for id in ids]

    def together(self, requests: list[Request], chance: random.Random) -> list[list[Told]]:
        """What each gives while they come and go at random, and others leave half-way."""
        todo = list(requests)
        ids: list[list[int]] = []
        leaving: list[int] = []
        while todo or self.scheduler.busy:
            for _ in range(chance.choice((0, 0, 1, 1, 2, 4)) if self.scheduler.busy else 1):
                if todo:
                    ids.append(self.add(todo.pop(0)))
            if chance.random() < 0.05:
                leaving += self.add(chance.choice(requests))
            if leaving and chance.random() < 0.2:
                self.scheduler.abort(leaving.pop(0))
            self.step(chance.choice(BUDGETS))
        return [[self.told[id] for id in each] for each in ids]


def requests(count: int, info: ModelInfo, chance: random.Random) -> Iterator[Request]:
    """Requests of every kind. Some go on where another one began, or ended; the answers in between are made up."""
    sets: list[AdapterSet] = [(), *(((adapter.id, adapter.scale),) for adapter in info.adapters)]
    talks: list[list[int]] = []
    for number in range(count):
        told = chance.choice(talks[-NEWEST:]) if talks and chance.random() < 0.6 else []
        length = chance.choice((1, 3, 17, 40, 63, 64, 65, 130, 300, 600)) if not told else chance.randrange(1, 60)
        prompt = told + [chance.randrange(FIRST_TOKEN, info.vocabulary) for _ in range(length)]
        if len(prompt) > CONTEXT - 2 * MAX_TOKENS:
            prompt = prompt[:100]
        talks.append(prompt)
        sampling = replace(
            chance.choice(SAMPLINGS),
            seed=chance.randrange(2**31),
            logprobs=chance.choice((None, 0, 3)),
        )
        if sampling.logprobs is not None and number % 10 == 0:
            sampling = replace(sampling, prompt_logprobs=True)
        params = GenerationParams(
            sampling,
            chance.randrange(1, MAX_TOKENS),
            constraint=chance.choice(CONSTRAINTS) if number % 5 == 0 else None,
            prediction="It is what it is." if number % 7 == 0 else "",
        )
        yield Request(prompt, params, chance.choice((1, 1, 1, 2, 3)), chance.choice(sets) if sets[1:] else ())


def differences(runner: ModelRunner, count: int, seed: int) -> Iterator[str]:
    """How sequences of so many requests differ, alone and together; empty where none does."""
    chance = random.Random(seed)
    engine = Engine(runner)
    asked: list[Request] = []
    alone: list[list[Told]] = []
    for request in requests(count, runner.info, chance):
        answers = engine.alone(request)
        asked.append(request)
        alone.append(answers)
        if len(request.prompt) < CONTEXT // 2 and request.n == 1:  # its answer is part of another prompt
            follow_up = [*request.prompt, *answers[0].tokens[:-1], FIRST_TOKEN + 7]
            asked.append(Request(follow_up, request.params, 1, request.adapters))
            alone.append(engine.alone(asked[-1]))
    engine.cached = 0
    for turn, order in enumerate((asked, asked[::-1])):  # the second time with other neighbours, and other caches
        together = engine.together(order, chance)
        expected = alone[::-1] if turn else alone
        for number, (here, there) in enumerate(zip(together, expected, strict=True)):
            for choice, (a, b) in enumerate(zip(here, there, strict=True)):
                if a != b:
                    yield f"turn {turn}, request {number}, choice {choice}: {_parted(a, b)}"
    assert engine.most_rows > 1 and engine.cached > 0, "nothing ran beside anything, or nothing was cached"


def _parted(here: Told, there: Told) -> str:
    if here.tokens != there.tokens:
        return f"tokens {here.tokens} and alone {there.tokens}"
    pairs = zip(here.prompt_logprobs + here.logprobs, there.prompt_logprobs + there.logprobs, strict=False)
    return next((f"logprobs {a} and alone {b}" for a, b in pairs if a != b), f"{here} and alone {there}")


def main() -> None:
    """Exit status 1 if anything differs."""
    parser = argparse.ArgumentParser(prog="python -m soak.hammer", description=__doc__)
    parser.add_argument("--engine", default="llama", help="llama or mlx (%(default)s)")
    parser.add_argument("--model", type=Path, default=default_model.path(), help="default: the embedded model")
    parser.add_argument("--requests", type=int, default=1000, help="%(default)s")
    parser.add_argument("--parallel", type=int, default=8, help="%(default)s")
    parser.add_argument("--lora", action="append", default=[], help="NAME=PATH; requests draw one of them, or none")
    parser.add_argument("--seed", type=int, default=1, help="of everything random (%(default)s)")
    parser.add_argument("--without", action="store_true", help="without --deterministic: shows what it is for")
    options = parser.parse_args()
    spec = EngineSpec(
        options.engine,
        str(options.model),
        context=CONTEXT,
        parallel=options.parallel,
        deterministic=not options.without,
        lora=tuple(options.lora),
    )
    runner = load(spec)
    started = time.monotonic()
    found = list(differences(runner, options.requests, options.seed))
    print(*found[:20], f"{len(found)} answers differ; {time.monotonic() - started:.0f} s", sep="\n")
    runner.close()
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
