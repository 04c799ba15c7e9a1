"""Questions about pictures beside llama-server: eight clients about one picture, which nobody has asked about before,
and one client alone; and the longest gap between two texts of streams while a question about a new picture comes, until
its first text. Beside that: while one comes whose picture was encoded before, so that only its prompt is computed, and
while nothing comes. The embedded model, with a projector of random weights.

A row of bench.table: `python -m bench.table --rows pictures`.
"""

import argparse
import asyncio
import base64
import io
import itertools
import time
from collections.abc import Coroutine
from typing import Any

import numpy as np

from bench import files, processes
from bench.peers import OURS
from bench.processes import Server
from bench.workloads import SERVER
from nitro.bench import client
from nitro.bench.prompts import Prompts
from nitro.bench.stats import turns

EIGHT, ONE = "eight about one picture, requests/s", "one about a picture, requests/s"
GAP = "longest gap of four streams beside a picture, ms"
KNOWN, NOTHING = "Nitro, the picture encoded before", "Nitro, nothing beside"
CLIENTS = 8
STREAMS = 4
ALONE = 4  # requests of one client, one after the other
CONTEXT, WORDS, TOKENS = 2048, 20, 32
STREAMED = 1000  # tokens of a stream, which is cut when it was measured
TEXTS = 32  # of each stream, where nothing comes
PIXELS = (480, 640)  # of a picture: height, width

Values = dict[str, dict[str, list[float]]]  # as in rows.py


def commands(options: argparse.Namespace) -> dict[str, processes.Command]:
    """Both servers, with equal settings."""
    threads, model, projector = str(options.threads), str(options.model), str(files.projector())
    ours = [model, "--mmproj", projector, "--ctx", str(CONTEXT), "--parallel", str(CLIENTS), "--threads", threads]
    theirs = ["--model", model, "--mmproj", projector, "--ctx-size", str(CONTEXT * CLIENTS), "--no-webui"]
    theirs += ["--parallel", str(CLIENTS), "--threads", threads, "--threads-batch", threads, "--kv-unified"]
    return {
        OURS: processes.nitro(*ours, "--engine", "llama"),
        SERVER: processes.listening([str(options.llama_server), *theirs]),
    }


def picture(seed: int) -> str:
    """A new one, as requests have it."""
    from PIL import Image

    low = np.random.default_rng(seed % 2**32).integers(0, 256, (12, 16, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(low).resize(PIXELS[::-1], Image.Resampling.BICUBIC).save(file, "PNG")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


def question(url: str, prompts: Prompts) -> list[dict[str, Any]]:
    """A conversation about it."""
    text = prompts.next(WORDS)[-1]["content"]
    parts = [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": text}]
    return [{"role": "user", "content": parts}]


async def together(server: Server, seed: int) -> float:
    """Requests a second of all clients about one picture."""
    url, prompts = picture(seed), Prompts(seed)
    bodies = [server.endpoint.chat_body(question(url, prompts), TOKENS) for _ in range(CLIENTS)]
    began = time.perf_counter()
    await asyncio.gather(*[client.chat(server.endpoint, body) for body in bodies])
    return CLIENTS / (time.perf_counter() - began)


async def alone(server: Server, seed: int) -> float:
    """Requests a second of one client, each about a new picture."""
    prompts = Prompts(seed)
    bodies = [
        server.endpoint.chat_body(question(picture(100 * seed + number), prompts), TOKENS) for number in range(ALONE)
    ]
    began = time.perf_counter()
    for body in bodies:
        await client.chat(server.endpoint, body)
    return ALONE / (time.perf_counter() - began)


async def gap(server: Server, seed: int, newcomer: list[dict[str, Any]] | None) -> float:
    """The longest time between two texts of streams, in milliseconds: from when a newcomer's request is sent until its
    first text. None: while each stream has so many texts."""
    prompts = Prompts(f"streams {seed}")
    times: list[list[float]] = [[] for _ in range(STREAMS)]
    begun = asyncio.Semaphore(0)

    def stream(of_stream: list[float]) -> Coroutine[Any, Any, object]:
        body = server.endpoint.chat_body(prompts.next(WORDS), STREAMED)
        return client.chat(server.endpoint, body, on_text=begun.release, times=of_stream)

    async with asyncio.TaskGroup() as group:
        streams = [group.create_task(stream(of_stream)) for of_stream in times]
        for _ in streams:
            await begun.acquire()
        began = time.perf_counter()
        if newcomer is not None:
            await client.chat(server.endpoint, server.endpoint.chat_body(newcomer, 1))
        else:
            wanted = [len(of_stream) + TEXTS for of_stream in times]
            while any(len(got) < count for got, count in zip(times, wanted, strict=True)):
                await asyncio.sleep(0.01)
        done = time.perf_counter()
        for each in streams:
            each.cancel()
    return 1000 * max(longest_within(of_stream, began, done) for of_stream in times)


def longest_within(times: list[float], began: float, done: float) -> float:
    """Of the gaps that lie at least in part between these times: one that still lasts counts as far as it goes."""
    within = [stop - start for start, stop in itertools.pairwise([*times, done]) if stop > began and start < done]
    return max(within, default=0.0)


def gaps(name: str, server: Server, seed: int) -> dict[str, float]:
    """The longest gaps of a server of this name, by what they are called in the table."""
    prompts, url = Prompts(f"beside {seed}"), picture(-seed - 1)

    def newcomer() -> list[dict[str, Any]]:
        # what is computed of a picture is of no use behind another system message; what is encoded is
        return [{"role": "system", "content": prompts.assistant()}, *question(url, prompts)]

    found = {name: client.run(gap(server, 3 * seed, newcomer()))}
    if name == OURS:
        found[KNOWN] = client.run(gap(server, 3 * seed + 1, newcomer()))
        found[NOTHING] = client.run(gap(server, 3 * seed + 2, None))
    return found


def measured(options: argparse.Namespace) -> Values:
    """A row's work. In each round both servers have a turn; the first one is not counted."""
    both = commands(options)
    names = list(both)
    values: Values = {metric: {name: [] for name in names} for metric in (EIGHT, ONE)}
    values[GAP] = {name: [] for name in (OURS, KNOWN, NOTHING, SERVER)}
    with processes.all_running(list(both.values())) as servers:
        for number, order in enumerate([tuple(range(len(names))), *turns(options.rounds, len(names))]):
            for i in order:
                rates = client.run(together(servers[i], 2 * number + 1)), client.run(alone(servers[i], 2 * number + 2))
                found = gaps(names[i], servers[i], number)
                if number:
                    for metric, rate in zip((EIGHT, ONE), rates, strict=True):
                        values[metric][names[i]].append(rate)
                    for name, longest in found.items():
                        values[GAP][name].append(longest)
    return values
