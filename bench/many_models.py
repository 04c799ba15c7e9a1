"""Many models on one server, beside llama-server's router: a mixed list of requests with room for two of three models,
and the time from a request to the first text of a model that is not loaded.

Run: `python -m bench.many_models`.
"""

import argparse
import asyncio
import json
import os
import random
import shutil
import statistics
import tempfile
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench import build_llama_server, files, processes, report
from bench.processes import Server
from nitro.bench import client
from nitro.bench.endpoint import BenchEndpoint
from nitro.bench.prompts import Prompts
from nitro.engines.hardware import memory
from nitro.errors import BenchError
from nitro.models import default_model

OURS, ROUTER = "Nitro", "llama-server, router"
CONTEXT, SLOTS = 2048, 4
AT_ONCE = 8
WORDS, TOKENS = 60, 24
ROOM = 2
POLL = 0.02  # seconds
PATIENCE = 120.0
UNLOAD = {OURS: "/v1/models/unload", ROUTER: "/models/unload"}


@dataclass
class Measured:
    """Of one server: seconds to the first text of a model that is not loaded, requests a second, failures."""

    cold: list[float] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)
    failed: int = 0


def shelf(folder: Path) -> list[str]:
    """Three models, by name: SmolLM2 in three types."""
    shutil.copy(default_model.path(), folder / "smollm2-q4.gguf")
    for name, type in (("smollm2-q8", "Q8_0"), ("smollm2-f16", "F16")):
        shutil.copy(files.quantized(default_model.path(), type), folder / f"{name}.gguf")
    return sorted(file.stem for file in folder.glob("*.gguf"))


def commands(options: argparse.Namespace, folder: Path) -> dict[str, processes.Command]:
    """Both servers, with equal settings."""
    binary = options.llama_server or build_llama_server.build()
    threads = str(options.threads)
    ours = ["--no-model", "--models", str(folder), "--models-max", str(ROOM), "--ctx", str(CONTEXT)]
    theirs = ["--models-dir", str(folder), "--models-max", str(ROOM), "--ctx-size", str(CONTEXT * SLOTS)]
    os.environ["NITRO_STORES"] = ""
    return {
        OURS: processes.with_variables(
            processes.nitro(*ours, "--parallel", str(SLOTS), "--threads", threads, "--engine", "llama"),
            NITRO_STORES="",
        ),
        ROUTER: processes.listening(
            [str(binary), *theirs, "--parallel", str(SLOTS), "--threads", threads, "--kv-unified", "--no-webui"]
        ),
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


async def mixed(server: Server, models: list[str], count: int, seed: int) -> tuple[float, int]:
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
        for _ in range(count):
            group.create_task(one(chance.choice(models), prompts.next(WORDS)))
    return count / (time.perf_counter() - began), failed


def measure(name: str, server: Server, models: list[str], options: argparse.Namespace, seed: int, to: Measured) -> None:
    """One turn of one server."""
    prompts = Prompts(seed)
    alone = len(server.pids())
    for model in models:
        unload(name, server, models, alone)
        there = endpoint(server, model)
        answer = client.run(client.chat(there, there.chat_body(prompts.next(WORDS), 2)))
        to.cold.append(answer.ttft or 0.0)
    rate, failed = client.run(mixed(server, models, options.count, seed))
    to.rates.append(rate)
    to.failed += failed


def rows(found: dict[str, Measured]) -> list[list[str]]:
    """The table, with the ratio of ours to theirs."""

    def shown(values: list[float], unit: str) -> str:
        return f"{statistics.median(values):.2f} {unit} ({min(values):.2f}–{max(values):.2f})"

    ours, theirs = found[OURS], found[ROUTER]
    cold = statistics.median(ours.cold) / statistics.median(theirs.cold)
    rate = statistics.median(ours.rates) / statistics.median(theirs.rates)
    return [
        ["first text of a model that is not loaded", shown(ours.cold, "s"), shown(theirs.cold, "s"), f"{cold:.2f}"],
        ["mixed list, requests a second", shown(ours.rates, "/s"), shown(theirs.rates, "/s"), f"{rate:.2f}"],
        ["requests that failed", str(ours.failed), str(theirs.failed), ""],
    ]


def main() -> None:
    """Measure, print, and write the section."""
    parser = argparse.ArgumentParser(prog="python -m bench.many_models", description=__doc__)
    parser.add_argument("--llama-server", type=Path, help="path of llama-server; default: build it")
    parser.add_argument("--rounds", type=int, default=3, help="in each, both servers have a turn (%(default)s)")
    parser.add_argument("--count", type=int, default=32, help="requests of a mixed list (%(default)s)")
    parser.add_argument("--threads", type=int, default=memory.physical_cores(), help="default: the physical cores")
    parser.add_argument("--no-write", action="store_true", help="leave bench/results.md as it is")
    options = parser.parse_args()
    found = {OURS: Measured(), ROUTER: Measured()}
    with tempfile.TemporaryDirectory() as scratch:
        models = shelf(Path(scratch))
        for turn in range(options.rounds):
            for name, command in commands(options, Path(scratch)).items():
                with processes.running(command) as server:
                    measure(name, server, models, options, turn + 1, found[name])
    how = (
        f"{', '.join(models)} with room for {ROOM} (`--models-max`), {SLOTS} slots of {CONTEXT} tokens. The list: "
        f"{options.count} requests of {WORDS} words for {TOKENS} tokens, each for any of them, {AT_ONCE} at once. "
        f"Medians of {options.rounds} rounds, with the least and the most; the last column is ours ÷ theirs."
    )
    text = report.table(["what", OURS, ROUTER, "ratio"], rows(found))
    print(text)
    if not options.no_write:
        report.write("Many models", f"{report.setting('bench.many_models')}\n\n{how}\n\n{text}")


if __name__ == "__main__":
    main()
