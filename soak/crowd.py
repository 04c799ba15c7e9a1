"""A thousand clients at the same time: some send requests, some stay silent, some never finish a request."""

import argparse
import asyncio
import contextlib
import json
import resource
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from bench import processes
from bench.processes import Server
from nitro.bench import client
from soak import llama_server, replies, servers
from soak.connection import Connection, Unanswered, connected, head, post
from soak.goals import CROWD
from soak.health import Health, Watch
from soak.report import Figure, Findings
from soak.storm import grown, honest

REQUESTS = 5  # of each client, one after another
REPLY_TIMEOUT = 60.0  # seconds
PEER_TIMEOUT = 20.0  # seconds, for llama-server
HONEST_BOUND = 5.0  # seconds until an honest client is answered beside the others
DESCRIPTORS = 16384  # limit of this process; the server keeps the limit that it was started with
TRIES = 3
FEW_DESCRIPTORS = 128  # limit of a server that is short of them
P99_BOUND = 100.0  # milliseconds
LONGEST_BOUND = 500.0  # milliseconds: one loop accepts all connections
HOW = """\
{count} connections at once. First, each client sends {requests} requests for a short stream, one after another and each
on a connection of its own; they are answered, or refused with 429 and Retry-After because the queue is full. Then they
only connect, or never finish a head or a body, and one honest client sends a request beside them. Then all disconnect,
and one more request is answered. `/health` is polled a hundred times a second; late polls count from when they were
due, and if the bound is broken the best of {tries} turns counts. The fake runner computes nothing; llama.cpp, MLX and
llama-server run a tiny model; the latter has {peer:g} s for each reply."""
UNFINISHED = {"head": head(replies.CHAT)[:-2], "body": head(replies.CHAT, "Content-Length: 1000") + b'{"messages":'}


@dataclass
class Crowd:
    """What came of the requests of all clients."""

    outcomes: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    health: Health | None = None  # of the best turn
    seconds: float = 0.0  # of that

    def __str__(self) -> str:
        return ", ".join(f"{number} × {status}" for status, number in sorted(self.outcomes.items()))


async def client_of(port: int, number: int, seen: Crowd, timeout: float) -> None:
    """Send the requests of one client, and count their statuses and faults."""
    for i in range(REQUESTS):
        text = f"number {number} {i} "
        body = {"messages": [{"role": "user", "content": text}], "max_tokens": 8, "stream": True}
        try:
            async with connected(port) as connection:
                await connection.send(post(replies.CHAT, json.dumps(body).encode(), port=port))
                (reply,) = await connection.answers(1, timeout)
        except Unanswered as error:
            seen.faults[str(error)] += 1
        except OSError as error:
            seen.faults[f"no connection ({type(error).__name__})"] += 1
        else:
            seen.outcomes[str(reply.status)] += 1
            fault = replies.fault(reply)
            if reply.status != 200 and not (reply.status == 429 and "retry-after" in reply.headers):
                fault = fault or f"status {reply.status}, with{'' if 'retry-after' in reply.headers else 'out'} a time"
            if fault:
                seen.faults[fault] += 1


def all_ask(port: int, count: int, tries: int = TRIES, timeout: float = REPLY_TIMEOUT) -> Crowd:
    """All clients at once. If the bound is broken, the best of a few turns counts, since a stall of the server itself
    would recur."""
    seen = Crowd()

    async def turn() -> None:
        await asyncio.gather(*(client_of(port, number, seen, timeout) for number in range(count)))

    with Watch(port) as watch:
        for _ in range(tries):
            began = time.monotonic()
            client.run(turn())
            ended = time.monotonic()
            health = watch.between(began, ended)
            if seen.health is None or health.p99 < seen.health.p99:
                seen.health, seen.seconds = health, ended - began
            if health.p99 <= P99_BOUND:
                break
    return seen


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
    findings = Findings("Clients", HOW.format(count=count, requests=REQUESTS, tries=TRIES, peer=PEER_TIMEOUT))
    peer = _of_peer(options, count) if options.peer else None
    for engine in ("fake",) if options.short else ("fake", "llama", "mlx"):
        what = servers.FAKE if engine == "fake" else servers.tiny(engine)
        with serving(*what) as server:
            findings.figures += _asking(engine, server, count, peer, findings.faults)
            if engine == "fake":
                findings.figures += _silent(server, count)
            findings.figures.append(servers.ended(engine, server))
    findings.figures += _short_of_descriptors()
    return findings


@contextmanager
def serving(*options: str) -> Iterator[Server]:
    """A server that is warm. This process may open many files meanwhile."""
    with servers.serving(*options) as server, servers.limited(resource.RLIMIT_NOFILE, DESCRIPTORS):
        client.run(honest(server.port, REPLY_TIMEOUT))
        yield server


def _of_peer(options: argparse.Namespace, count: int) -> Crowd:
    command = llama_server.command(options, servers.tiny("llama")[0])
    with processes.running(command) as server, servers.limited(resource.RLIMIT_NOFILE, DESCRIPTORS):
        return all_ask(server.port, count, tries=1, timeout=PEER_TIMEOUT)


def _asking(name: str, server: Server, count: int, peer: Crowd | None, faults: Counter[str]) -> list[Figure]:
    held = servers.Resources.of(server)
    seen = all_ask(server.port, count)
    after = servers.settled(server, held)
    assert seen.health
    faults.update({f"{name}: {what}": number for what, number in seen.faults.items()})
    said = Figure(f"{name}: replies", f"{seen}; {seen.seconds:.1f} s for {count * REQUESTS}")
    unanswered = Figure.none(f"{name}: neither answered nor refused with 429 and Retry-After", seen.faults.total())
    p99 = Figure.at_most(f"{name}: p99 of `/health` meanwhile, ms", round(seen.health.p99, 1), P99_BOUND)
    if peer and peer.health:
        more = "".join(f", {number} × {what}" for what, number in peer.faults.items())
        said = said.beside(f"{peer}; {peer.seconds:.1f} s")
        unanswered = unanswered.beside(f"{peer.faults.total()}{more}")
        p99 = p99.beside(f"{peer.health.p99:.1f}")
    left = Figure.none(f"{name}: descriptors left", max(after.descriptors - held.descriptors, 0))
    longest = round(seen.health.longest, 1)
    return [
        said.of(CROWD),
        unanswered.of(CROWD),
        p99.of(CROWD),
        Figure.at_most(f"{name}: longest answer of `/health`, ms", longest, LONGEST_BOUND),
        left.of(CROWD),
        *grown(name, held, after),
    ]


def _silent(server: Server, count: int) -> list[Figure]:
    """Beside clients that never ask."""
    port = server.port
    held = servers.Resources.of(server)
    figures = []
    with Watch(port) as watch:
        for what, sent in {
            "that send nothing": b"",
            **{f"that never finish a {part}": sent for part, sent in UNFINISHED.items()},
        }.items():
            began = time.monotonic()
            waited = client.run(wait_beside(port, count, sent))
            longest = round(watch.between(began, time.monotonic()).longest, 1)
            figures.append(Figure.at_most(f"an honest request beside {count} clients {what}, s", waited, HONEST_BOUND))
            name = f"longest answer of `/health` beside clients {what}, ms"
            figures.append(Figure.at_most(name, longest, LONGEST_BOUND))
    waited = client.run(honest(port, REPLY_TIMEOUT))
    return [
        *figures,
        Figure.at_most("an honest request when all have disconnected, s", waited, HONEST_BOUND),
        *grown("beside them", held, servers.settled(server, held)),
    ]


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
            Figure.yes("its engine is the same at the end", same),
            servers.ended("this server", server),
        ]
