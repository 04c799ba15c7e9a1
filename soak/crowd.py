"""A thousand clients at the same time: some send requests, some stay silent, some never finish a request."""

import argparse
import asyncio
import contextlib
import json
import resource
import time
from collections import Counter
from collections.abc import Coroutine, Iterable
from typing import Any

from bench.processes import Server
from nitro.bench import client
from soak import replies, servers
from soak.connection import Connection, Unanswered, connected, head, post
from soak.health import Health, Watch
from soak.report import Figure, Findings
from soak.storm import grown, honest

REPLY_TIMEOUT = 60.0  # seconds
HONEST_BOUND = 5.0  # seconds until an honest client is answered beside the others
DESCRIPTORS = 16384  # limit of this process; the server keeps the limit that it was started with
TRIES = 3
FEW_DESCRIPTORS = 128  # limit of a server that is short of them
HEALTH_BOUND = 500.0  # milliseconds, longest answer: one loop accepts all connections
HOW = """\
{count} connections at once. First, each sends a request for a short stream, which is answered, or refused because the
queue is full. Then they only connect, or never finish a head or a body, and one honest client sends a request beside
them. Then all disconnect, and one more request is answered. The runner computes nothing."""
UNFINISHED = {"head": head(replies.CHAT)[:-2], "body": head(replies.CHAT, "Content-Length: 1000") + b'{"messages":'}


async def send_request(port: int, number: int, outcomes: Counter[str], faults: Counter[str]) -> None:
    """Send a request for a short stream, and count its status and its faults."""
    body = {"messages": [{"role": "user", "content": f"number {number} "}], "max_tokens": 8, "stream": True}
    try:
        async with connected(port) as connection:
            await connection.send(post(replies.CHAT, json.dumps(body).encode(), port=port))
            (reply,) = await connection.answers(1, REPLY_TIMEOUT)
    except Unanswered as error:
        faults[f"a request: {error}"] += 1
    except OSError as error:
        faults[f"a request: no connection ({type(error).__name__})"] += 1
    else:
        outcomes[str(reply.status)] += 1
        fault = replies.fault(reply)
        if fault:
            faults[f"a request: {fault}"] += 1


async def wait_beside(port: int, count: int, sent: bytes, timeout: float = REPLY_TIMEOUT) -> float:
    """Seconds that an honest client waits while `count` others have sent these bytes and nothing else."""
    async with contextlib.AsyncExitStack() as stack:

        async def begin() -> Connection:
            connection = await stack.enter_async_context(connected(port))
            await connection.send(sent)
            return connection

        await asyncio.gather(*(begin() for _ in range(count)), return_exceptions=True)
        return await honest(port, timeout)


def run(options: argparse.Namespace) -> Findings:
    """The section."""
    count = options.count or (300 if options.short else 1000)
    findings = Findings("Clients", HOW.format(count=count))
    with servers.serving(*servers.FAKE) as server, servers.limited(resource.RLIMIT_NOFILE, DESCRIPTORS):
        findings.figures = _figures(server, count, findings.faults)
    findings.figures += _short_of_descriptors()
    return findings


def _figures(server: Server, count: int, faults: Counter[str]) -> list[Figure]:
    port = server.port
    outcomes = Counter[str]()
    client.run(honest(port, REPLY_TIMEOUT))
    held = servers.Resources.of(server)
    figures = []
    with Watch(port) as watch:
        health = _while_all_ask(port, count, watch, outcomes, faults)
        figures.append(_health("that send requests", health))
        for what, sent in {
            "that send nothing": b"",
            **{f"that never finish a {part}": sent for part, sent in UNFINISHED.items()},
        }.items():
            began = time.monotonic()
            waited = client.run(wait_beside(port, count, sent))
            figures.append(Figure.at_most(f"an honest request beside {count} clients {what}, s", waited, HONEST_BOUND))
            figures.append(_health(what, watch.between(began, time.monotonic())))
    waited = client.run(honest(port, REPLY_TIMEOUT))
    statuses = ", ".join(f"{n} × {status}" for status, n in sorted(outcomes.items()))
    return [
        Figure(f"{count} requests: replies", statuses),
        Figure.none("replies that are missing, cut or dishonest", faults.total()),
        *figures,
        Figure.at_most("an honest request when all have disconnected, s", waited, HONEST_BOUND),
        *grown("server", held, servers.Resources.of(server)),
        servers.ended("server", server),
    ]


def _while_all_ask(port: int, count: int, watch: Watch, outcomes: Counter[str], faults: Counter[str]) -> Health:
    """If the bound is broken, the best of a few turns counts, since a stall of the server itself would recur."""
    turns = []
    for _ in range(TRIES):
        began = time.monotonic()
        client.run(_all(send_request(port, i, outcomes, faults) for i in range(count)))
        turns.append(watch.between(began, time.monotonic()))
        if turns[-1].longest <= HEALTH_BOUND:
            break
    return min(turns, key=lambda health: health.longest)


async def _all(work: Iterable[Coroutine[Any, Any, None]]) -> None:
    await asyncio.gather(*work)


def _health(what: str, health: Health) -> Figure:
    return Figure.at_most(
        f"longest answer of `/health` beside clients {what}, ms", round(health.longest, 1), HEALTH_BOUND
    )


def _short_of_descriptors() -> list[Figure]:
    """More silent clients than the server may have open files: it goes on, and does not take its engine for dead."""
    with servers.limited(resource.RLIMIT_NOFILE, FEW_DESCRIPTORS), servers.serving(*servers.FAKE) as server:
        with servers.limited(resource.RLIMIT_NOFILE, DESCRIPTORS):
            engine_before = servers.engine(server)
            waited = client.run(wait_beside(server.port, 2 * FEW_DESCRIPTORS, b"", 4 * HONEST_BOUND))
            later = client.run(honest(server.port, REPLY_TIMEOUT))
        same = servers.engine(server) == engine_before
        what = f"{2 * FEW_DESCRIPTORS} silent clients of a server with {FEW_DESCRIPTORS} descriptors"
        return [
            Figure.at_most(f"an honest request beside {what}, s", waited, HONEST_BOUND),
            Figure.at_most("an honest request when they have disconnected, s", later, HONEST_BOUND),
            Figure("its engine is the same at the end", "yes" if same else "no", "yes", same),
            servers.ended("this server", server),
        ]
