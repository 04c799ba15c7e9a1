"""Eight clients over four adapters, beside eight who have the model alone, and eight who share one adapter. On
llama.cpp also beside what llama_decode alone takes for the same rows (bench/adapter_limit.py).

Rows of bench.table: `python -m bench.table --rows adapters,adapters-mlx`.
"""

import argparse
from functools import partial
from pathlib import Path
from typing import Any

from bench import adapter_limit, files, processes
from bench.kernel_limit import LIMIT
from bench.peers import OURS
from bench.processes import Server
from nitro.bench import client
from nitro.bench.client import LoadResult
from nitro.bench.prompts import Prompts
from nitro.bench.scenarios import timed
from nitro.bench.stats import turns

SPEED = "tokens/s"
ALONE, ONE = "the model alone", "one adapter for all"
ADAPTERS, CLIENTS = 4, 8
CONTEXT, WORDS = 1024, 20
TOKENS = {"llama": 48, "mlx": 12}

Values = dict[str, dict[str, list[float]]]  # as in rows.py


def command(options: argparse.Namespace, engine: str) -> processes.Command:
    """Our server with the adapters."""
    words = ["--engine", engine, "--ctx", str(CONTEXT), "--parallel", str(CLIENTS)]
    if engine == "llama":
        words += ["--threads", str(options.threads)]
    for number in range(ADAPTERS):
        words += ["--lora", f"{_name(number)}={files.adapter(options.model, number)}"]
    return processes.nitro(str(_model(options, engine)), *words)


def _model(options: argparse.Namespace, engine: str) -> Path:
    return options.model if engine == "llama" else files.mlx_folder(options.model)


def _name(number: int) -> str:
    return f"adapter-{number}"


def models(base: str) -> dict[str, list[str]]:
    """What each client asks for, by side. `base`: the name of the model alone."""
    four = [_name(number) for number in range(ADAPTERS)]
    return {OURS: four * (CLIENTS // ADAPTERS), ALONE: [base] * CLIENTS, ONE: [four[0]] * CLIENTS}


async def speed(server: Server, asked: list[str], tokens: int, seed: str) -> float:
    """Tokens a second of all clients together."""
    prompts = Prompts(seed)

    def body(model: str) -> bytes:
        # without guesses from the text so far, of which some answers would have more than others
        more: dict[str, Any] = {"model": model, "temperature": 1.0, "seed": prompts.number()}
        return server.endpoint.chat_body(prompts.next(WORDS), tokens, **more)

    result: LoadResult = await timed([client.chats(server.endpoint, [body(model)]) for model in asked])
    if {answer.tokens for answer in result.answers} != {tokens}:
        raise RuntimeError("answers have other lengths than what was asked for")
    return result.tokens / result.seconds


def measured(engine: str, options: argparse.Namespace) -> Values:
    """A row's work. In each round all have a turn, and the first round is not counted."""
    sides = models(_model(options, engine).name)
    names = list(sides)
    values: Values = {SPEED: {name: [] for name in names}}
    if engine == "llama":
        values[SPEED][LIMIT] = []
    with processes.running(command(options, engine)) as server:
        for number, order in enumerate([tuple(range(len(names))), *turns(options.rounds, len(names))]):
            for i in order:
                rate = client.run(speed(server, sides[names[i]], TOKENS[engine], f"{number} {names[i]}"))
                if number:
                    values[SPEED][names[i]].append(rate)
            if number and engine == "llama":
                values[SPEED][LIMIT].append(adapter_limit.measured(options).tokens_per_second)
    return values


ON_LLAMA, ON_MLX = partial(measured, "llama"), partial(measured, "mlx")
