"""Many models on one server, beside llama-server's router: a mixed list of requests with room for two of three models,
and the time from a request to the first text of a model that is not loaded.

A row of bench.table: `python -m bench.table --rows many-models`.
"""

import argparse
import asyncio
import json
import random
import shutil
import statistics
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from bench import files, processes
from bench.peers import OURS
from bench.processes import Server
from nitro.bench import client
from nitro.bench.endpoint import BenchEndpoint
from nitro.bench.prompts import Prompts
from nitro.bench.stats import turns
from nitro.errors import BenchError
from nitro.models import default_model

ROUTER = "llama-server, router"
CONTEXT, SLOTS = 2048, 4
AT_ONCE = 8
WORDS, TOKENS = 60, 24
ROOM = 2
POLL = 0.02  # seconds
PATIENCE = 120.0
REST = 0.3  # seconds without CPU time, after which a server is at rest
COUNT = 20  # requests of a mixed list
COLD, RATE = "first text of a model that is not loaded, s", "requests/s"
UNLOAD = {OURS: "/v1/models/unload", ROUTER: "/models/unload"}


Values = dict[str, dict[str, list[float]]]  # as in rows.py


def shelf(folder: Path) -> list[str]:
    """Three models, by name: SmolLM2 in three types."""
    shutil.copy(default_model.path(), folder / "smollm2-q4.gguf")
    for name, type in (("smollm2-q8", "Q8_0"), ("smollm2-f16", "F16")):
        shutil.copy(files.quantized(default_model.path(), type), folder / f"{name}.gguf")
    return sorted(file.stem for file in folder.glob("*.gguf"))


def commands(options: argparse.Namespace, folder: Path) -> dict[str, processes.Command]:
    """Both servers, with equal settings."""
    threads = str(options.threads)
    ours = ["--no-model", "--models", str(folder), "--models-max", str(ROOM), "--ctx", str(CONTEXT)]
    theirs = ["--models-dir", str(folder), "--models-max", str(ROOM), "--ctx-size", str(CONTEXT * SLOTS)]
    theirs += ["--parallel", str(SLOTS), "--threads", threads, "--kv-unified", "--no-webui"]
    return {
        OURS: processes.with_variables(
            processes.nitro(*ours, "--parallel", str(SLOTS), "--threads", threads, "--engine", "llama"),
            NITRO_STORES="",
        ),
        ROUTER: processes.listening([str(options.llama_server), *theirs]),
    }


def endpoint(server: Server, model: str) -> BenchEndpoint:
    """Requests for this model, whose answers do not end before max_tokens."""
    return BenchEndpoint(processes.HOST, server.port, fields={"ignore_eos": True, "model": model})


def post(server: Server, path: str, body: dict[str, Any]) -> None:
    """Raises OSError, but for an answer that says no."""
    request = urllib.request.Request(
        f"http://{processes.HOST}:{server.port}{path}",
        data=json.dumps(body).encode(),
        headers={"content-type": "application/json"},
    )
    try:
        urllib.request.urlopen(request, timeout=PATIENCE).read()
    except urllib.error.HTTPError as error:  # it is not loaded
        error.read()


def unload(name: str, server: Server, models: list[str], alone: int) -> None:
    """Unload all, and wait until the router is alone; ours answers when it is done. `alone`: its processes then."""
    for model in models:
        post(server, UNLOAD[name], {"model": model})
    end = time.monotonic() + PATIENCE
    while name == ROUTER and len(server.pids()) > alone and time.monotonic() < end:
        time.sleep(POLL)


def at_rest(server: Server) -> None:
    """Wait until none of its processes computes: a person who asks for another model finds it so. Ours has made a
    process ready for the next load by then."""
    end = time.monotonic() + PATIENCE
    spent, since = None, time.monotonic()
    while time.monotonic() < min(since + REST, end):
        time.sleep(POLL)
        if (now := server.cpu_seconds()) != spent:
            spent, since = now, time.monotonic()


async def mixed(server: Server, models: list[str], seed: int) -> tuple[float, int]:
    """Requests a second over a mixed list, and how many failed."""
    chance = random.Random(seed)
    prompts = Prompts(seed)
    room = asyncio.Semaphore(AT_ONCE)
    failed = 0

    async def one(model: str, messages: list[dict[str, Any]]) -> None:
        nonlocal failed
        async with room:
            try:
                to = endpoint(server, model)
                await client.chat(to, to.chat_body(messages, TOKENS))
            except BenchError:
                failed += 1

    began = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for _ in range(COUNT):
            group.create_task(one(chance.choice(models), prompts.next(WORDS)))
    return COUNT / (time.perf_counter() - began), failed


def measure(name: str, server: Server, models: list[str], seed: int) -> tuple[float, float]:
    """One turn of one server: the mean seconds to the first text of models that are not loaded, and requests a second.
    Raises BenchError if a request fails."""
    prompts = Prompts(seed)
    alone = len(server.pids())
    cold = []
    for model in models:
        unload(name, server, models, alone)
        at_rest(server)
        there = endpoint(server, model)
        answer = client.run(client.chat(there, there.chat_body(prompts.next(WORDS), 2)))
        if answer.ttft is None:
            raise BenchError(f"{name}: {model} said nothing.")
        cold.append(answer.ttft)
    rate, failed = client.run(mixed(server, models, seed))
    if failed:
        raise BenchError(f"{name}: {failed} of {COUNT} requests failed.")
    return statistics.mean(cold), rate


def measured(options: argparse.Namespace) -> Values:
    """A row's work: in each round both servers have a turn, each in a process of its own."""
    values: Values = {metric: {OURS: [], ROUTER: []} for metric in (COLD, RATE)}
    with tempfile.TemporaryDirectory() as scratch:
        models = shelf(Path(scratch))
        both = commands(options, Path(scratch))
        for number, order in enumerate(turns(options.rounds, len(both)), 1):
            for name in (list(both)[i] for i in order):
                with processes.running(both[name]) as server:
                    for metric, value in zip((COLD, RATE), measure(name, server, models, number), strict=True):
                        values[metric][name].append(value)
    return values
