"""Questions about pictures beside llama-server: eight clients about one picture, which nobody has asked about before,
and one client alone. The embedded model, with a projector of random weights.

A row of bench.table: `python -m bench.table --rows pictures`.
"""

import argparse
import asyncio
import base64
import io
import time
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
CLIENTS = 8
ALONE = 4  # requests of one client, one after the other
CONTEXT, WORDS, TOKENS = 2048, 20, 32
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

    low = np.random.default_rng(seed).integers(0, 256, (12, 16, 3), np.uint8)
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


def measured(options: argparse.Namespace) -> Values:
    """A row's work. In each round both servers have a turn; the first one is not counted."""
    both = commands(options)
    names = list(both)
    values: Values = {metric: {name: [] for name in names} for metric in (EIGHT, ONE)}
    with processes.all_running(list(both.values())) as servers:
        for number, order in enumerate([tuple(range(len(names))), *turns(options.rounds, len(names))]):
            for i in order:
                rates = client.run(together(servers[i], 2 * number + 1)), client.run(alone(servers[i], 2 * number + 2))
                for metric, rate in zip((EIGHT, ONE), rates, strict=True):
                    if number:
                        values[metric][names[i]].append(rate)
    return values
