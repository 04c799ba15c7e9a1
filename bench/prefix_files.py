"""A long system prompt after a restart: from a file, and computed; beside llama-server, whose client saves and restores
a slot by name (--slot-save-path). And the steps of a stream while such a file is written.

A row of bench.table: `python -m bench.table --rows prefix-files`. By itself, for each engine, it prints the figures:
`python -m bench.prefix_files --llama-server FILE`.
"""

import argparse
import asyncio
import itertools
import json
import tempfile
import time
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench import files, processes
from bench.peers import OURS
from bench.processes import Server
from bench.workloads import SERVER
from nitro.bench import client
from nitro.bench.prompts import Prompts
from nitro.bench.stats import percentile
from nitro.models import default_model

FIRST = "TTFT of a 4,000-token system prompt after a restart, ms"
STEP = "time between tokens p95 while a prefix is written, ms"
COMPUTED, UNKEPT = f"{OURS}, computing it", f"{OURS} without --prefix-cache"
WORDS, QUESTION = 3950, 12
CONTEXT, SLOTS = 4608, 2
SPARE = 4  # slots beside those that run
STREAM, EVICTING = 4000, SLOTS + SPARE + 1  # tokens of a stream, which is cut when it was measured; requests that take
# all slots
GAPS = 100  # of the stream, from when the prefix gives way
POLL = 0.05  # seconds
PATIENCE = 60.0

Values = dict[str, dict[str, list[float]]]  # as in rows.py


def ours(options: argparse.Namespace, kept: str | None, engine: str = "llama") -> processes.Command:
    """Our server, with a folder for prefixes or without."""
    model = options.model if engine == "llama" else files.mlx_folder(options.model, "F32")
    flags = ["--ctx", str(CONTEXT), "--parallel", str(SLOTS), "--engine", engine]
    flags += ["--threads", str(options.threads)] if engine == "llama" else []
    flags += ["--prefix-cache", kept] if kept else []
    return processes.nitro(str(model), *flags)


def theirs(options: argparse.Namespace, kept: str) -> processes.Command:
    """llama-server with the same room."""
    threads = str(options.threads)
    flags = ["--model", str(options.model), "--ctx-size", str(CONTEXT * SLOTS), "--parallel", str(SLOTS), "--no-webui"]
    flags += ["--threads", threads, "--threads-batch", threads, "--slot-save-path", kept]
    return processes.listening([str(options.llama_server), *flags])


def body(server: Server, system: str, prompts: Prompts, tokens: int = 4, **params: Any) -> bytes:
    """A question under this system prompt."""
    said = [{"role": "system", "content": system}, {"role": "user", "content": prompts.words(QUESTION)}]
    return server.endpoint.chat_body(said, tokens, **params)


async def first_token(server: Server, request: bytes, cached: int | None = None) -> float:
    """Milliseconds. `cached`: tokens that have to come from a cache, at least; None: nearly none."""
    answer = await client.chat(server.endpoint, request)
    assert answer.ttft is not None and answer.prompt_tokens > WORDS
    assert answer.cached_tokens < 100 if cached is None else answer.cached_tokens >= cached, answer
    return 1000 * answer.ttft


def slot(server: Server, action: str) -> float:
    """Have llama-server save its slot 0, or restore it. Returns the milliseconds that it takes."""
    began = time.monotonic()
    request = urllib.request.Request(
        f"http://{processes.HOST}:{server.port}/slots/0?action={action}",
        data=json.dumps({"filename": "prefix.bin"}).encode(),
        headers={"content-type": "application/json"},
    )
    urllib.request.urlopen(request, timeout=PATIENCE).read()
    return 1000 * (time.monotonic() - began)


def restarted(options: argparse.Namespace, seed: int, engine: str = "llama") -> tuple[float, float]:
    """The first token where the system prompt is computed, and where it is in a file: of ours."""
    prompts = Prompts(seed)
    system = prompts.words(WORDS)
    with tempfile.TemporaryDirectory() as kept:
        with processes.running(ours(options, kept, engine)) as server:
            computed = client.run(first_token(server, body(server, system, prompts)))
        with processes.running(ours(options, kept, engine)) as server:
            found = client.run(first_token(server, body(server, system, prompts), WORDS))
    return computed, found


def restored(options: argparse.Namespace, seed: int) -> float:
    """The same of llama-server, whose slot was saved: to restore it counts."""
    prompts = Prompts(seed)
    system = prompts.words(WORDS)
    with tempfile.TemporaryDirectory() as kept:
        with processes.running(theirs(options, kept)) as server:
            client.run(first_token(server, body(server, system, prompts, id_slot=0)))
            slot(server, "save")
        with processes.running(theirs(options, kept)) as server:
            took = slot(server, "restore")
            return took + client.run(first_token(server, body(server, system, prompts, id_slot=0), WORDS))


async def stream_gaps(server: Server, prompts: Prompts) -> list[float]:
    """Milliseconds between the tokens of a stream, after short requests have had all slots, so that a long prompt that
    was in one of them gave way."""
    await client.chat(server.endpoint, body(server, prompts.words(WORDS), prompts))
    began = asyncio.Event()
    times: list[float] = []
    body_of_stream = server.endpoint.chat_body(prompts.next(20), STREAM)
    streaming = asyncio.create_task(client.chat(server.endpoint, body_of_stream, on_text=began.set, times=times))
    await began.wait()
    for _ in range(EVICTING):
        await client.chat(server.endpoint, server.endpoint.chat_body(prompts.next(20), 1))
    before = len(times)
    while len(times) <= before + GAPS:
        await asyncio.sleep(POLL)
        assert not streaming.done(), "the stream has ended before it was measured"
    streaming.cancel()
    return [1000 * (after - before) for before, after in itertools.pairwise(times[before:])]


def steps(options: argparse.Namespace, seed: int, keeps: bool, engine: str = "llama") -> float:
    """The p95 of the time between tokens while a long prefix is written, or is not."""
    with (
        tempfile.TemporaryDirectory() as kept,
        processes.running(ours(options, kept if keeps else None, engine)) as server,
    ):
        gaps = client.run(stream_gaps(server, Prompts(seed)))
        assert not keeps or list(Path(kept).glob("*/*")), "nothing was written"
        return percentile(gaps, 0.95)


def measured(options: argparse.Namespace) -> Values:
    """A row's work: the servers in turn, started anew each time."""
    first: dict[str, list[float]] = {OURS: [], COMPUTED: [], SERVER: []}
    step: dict[str, list[float]] = {OURS: [], UNKEPT: []}
    for number in range(options.rounds):
        computed, found = restarted(options, number)
        first[COMPUTED].append(computed)
        first[OURS].append(found)
        first[SERVER].append(restored(options, number))
        for name, keeps in ((OURS, True), (UNKEPT, False)) if number % 2 else ((UNKEPT, False), (OURS, True)):
            step[name].append(steps(options, number, keeps))
    return {FIRST: first, STEP: step}


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the figures of one engine."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine", choices=("llama", "mlx"), default="llama")
    parser.add_argument("--model", type=Path, default=default_model.path())
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--llama-server", type=Path)
    options = parser.parse_args(arguments)
    for number in range(options.rounds):
        computed, found = restarted(options, number, options.engine)
        print(f"{FIRST}: {found:.0f}, computed {computed:.0f}, ratio {found / computed:.3f}", flush=True)
        if options.llama_server and options.engine == "llama":
            print(f"  {SERVER} --slot-save-path: {restored(options, number):.0f}", flush=True)
        kept, unkept = (steps(options, number, keeps, options.engine) for keeps in (True, False))
        print(f"{STEP}: {kept:.1f}, without {unkept:.1f}, ratio {kept / unkept:.3f}", flush=True)


if __name__ == "__main__":
    main()
