"""One who asks little beside one who asks much: how long the first waits for a first token, and how long alone.

Each comes from an address of its own, as two machines would (127.0.0.2 is one of Linux's loopback addresses). A row of
bench.table: `python -m bench.table --rows two-users`.
"""

import argparse
import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from itertools import count

from bench import processes
from bench.peers import OURS
from bench.processes import Server
from bench.workloads import SERVER
from nitro.bench import client
from nitro.bench.prompts import Prompts
from nitro.bench.stats import percentile, turns

LIGHT = "TTFT p95 of who asks little, ms"
OURS_ALONE, SERVER_ALONE = f"{OURS}, alone", f"{SERVER}, alone"
MUCH = 64  # requests that one user always has under way
LITTLE = 6  # requests of the other, one after the other
OF_A_QUEUE = 1  # of these where they wait behind all of the first one's, which takes minutes each
WORDS, LONG, SHORT = 20, 64, 8  # of a prompt; tokens of an answer: of who asks much, and of who asks little
CLIENTS, CONTEXT = 8, 512
OTHER = "127.0.0.2"

Values = dict[str, dict[str, list[float]]]  # as in rows.py


def commands(options: argparse.Namespace) -> dict[str, processes.Command]:
    """Both servers, with equal settings."""
    threads, model = str(options.threads), str(options.model)
    ours = [model, "--ctx", str(CONTEXT), "--parallel", str(CLIENTS), "--threads", threads, "--engine", "llama"]
    theirs = ["--model", model, "--ctx-size", str(CONTEXT * CLIENTS), "--no-webui", "--parallel", str(CLIENTS)]
    theirs += ["--threads", threads, "--threads-batch", threads, "--kv-unified"]
    return {
        OURS: processes.nitro(*ours),
        SERVER: processes.listening([str(options.llama_server), *theirs]),
    }


async def _asks(server: Server, prompts: Prompts, requests: int = LITTLE) -> float:
    """The p95 of the first token's time, in ms, over a few requests."""
    answers = [
        await client.chat(server.endpoint, server.endpoint.chat_body(prompts.next(WORDS), SHORT))
        for _ in range(requests)
    ]
    return 1000 * percentile([answer.ttft or 0.0 for answer in answers], 0.95)


@asynccontextmanager
async def _much(server: Server, prompts: Prompts) -> AsyncIterator[None]:
    """Somebody always has so many requests under way, from another address."""
    endpoint = replace(server.endpoint, source=OTHER)
    answered = asyncio.Event()
    numbers = count()

    async def ask() -> None:
        while True:
            await client.chat(endpoint, endpoint.chat_body(prompts.next(WORDS), LONG))
            if next(numbers) >= CLIENTS:  # all places are taken, and not by those that began together
                answered.set()

    asking = [asyncio.create_task(ask()) for _ in range(MUCH)]
    try:
        waits = asyncio.create_task(answered.wait())
        await asyncio.wait([waits, *asking], return_when=asyncio.FIRST_COMPLETED)
        waits.cancel()
        yield
    finally:
        for task in asking:
            task.cancel()
        results = await asyncio.gather(*asking, return_exceptions=True)
    for result in results:
        if not isinstance(result, asyncio.CancelledError) and isinstance(result, BaseException):
            raise result


async def _turn(server: Server, seed: int, requests: int) -> tuple[float, float]:
    """Beside the other, of so many requests, and alone."""
    prompts = Prompts(seed)
    alone = await _asks(server, prompts)
    async with _much(server, prompts):
        return await _asks(server, prompts, requests), alone


def measured(options: argparse.Namespace) -> Values:
    """A row's work. In each round both servers have a turn."""
    both = commands(options)
    names = list(both)
    alone = {OURS: OURS_ALONE, SERVER: SERVER_ALONE}
    values: Values = {LIGHT: {name: [] for name in [*names, *alone.values()]}}
    with processes.all_running(list(both.values())) as servers:
        for number, order in enumerate(turns(options.rounds, len(names))):
            for i in order:
                requests = LITTLE if names[i] == OURS else OF_A_QUEUE
                beside, by_itself = client.run(_turn(servers[i], number, requests))
                values[LIGHT][names[i]].append(beside)
                values[LIGHT][alone[names[i]]].append(by_itself)
    return values
