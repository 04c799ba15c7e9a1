"""Thousands of hostile requests, many at once. Each must be answered honestly, or dropped without harm."""

import argparse
import asyncio
import contextlib
import sys
import time
from collections import Counter
from dataclasses import dataclass, field

from bench.processes import Server
from nitro.bench import client
from soak import replies, requests, servers
from soak.connection import Connection, Unanswered, ask, connected
from soak.health import Watch
from soak.report import Figure, Findings
from soak.requests import Request

AT_ONCE = 24
REPLY_TIMEOUT = 60.0  # seconds
HONEST = b'{"messages":[{"role":"user","content":"Hi"}],"max_tokens":2}'
STAY = 0.1  # seconds that a client waits for more of an answer
CLOSE_TIMEOUT = 0.5  # seconds for a server to close what is not HTTP
PROGRESS = 1000  # requests between two lines of progress
WITH_MODELS = 1000  # requests to each engine that computes
WARM_UP = 100  # requests before the resources of the server are counted
MORE_MEMORY = 150.0  # MiB that a server may use more at the end
MORE_DESCRIPTORS = 8  # open files, likewise
HOW = """\
Valid requests, each with something wrong: values, schemas, tools, constraints, encodings, heads, lengths, and clients
that disconnect at any stage; {at_once} at once. If a request is HTTP, its reply must be complete and honest: an answer,
or an error in the API's form. Otherwise the server may close the connection. A fault is reported with the kind of its
request."""


@dataclass
class StormResults:
    """Statuses and faults of all requests. `examples`: the bytes of one request for each fault."""

    statuses: Counter[int] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    examples: dict[str, bytes] = field(default_factory=dict)

    def fault(self, request: Request, what: str) -> None:
        """Count a fault of this request."""
        self.faults[f"{request.kind}: {what}"] += 1
        self.examples.setdefault(f"{request.kind}: {what}", request.data)


async def send(port: int, request: Request, seen: StormResults) -> None:
    """Send one request, and count its replies and faults."""
    async with connected(port) as connection:
        connection.bodiless = request.bodiless
        if request.leaving:
            return await _leave(connection, request)
        await connection.send(request.data, piece_size=request.piece_size)
        if not request.strict:
            return await _closed_or_refused(connection, request, seen)
        for reply in await connection.answers(request.replies, REPLY_TIMEOUT):
            seen.statuses[reply.status] += 1
            what = None if request.bodiless else replies.fault(reply)
            if what:
                seen.fault(request, what)


async def _leave(connection: Connection, request: Request) -> None:
    data = request.data
    leaving = request.leaving
    if leaving == "after the head":
        data = data[: data.find(b"\r\n\r\n") + 4]
    elif leaving == "in the body":
        data = data[: (data.find(b"\r\n\r\n") + len(data)) // 2]
    await connection.send(data, piece_size=request.piece_size)
    if leaving in ("at the first bytes", "in the answer"):
        async with asyncio.timeout(REPLY_TIMEOUT):
            await connection.wait_for(1)
    if leaving == "in the answer":
        with contextlib.suppress(TimeoutError):  # it may be short
            async with asyncio.timeout(STAY):
                await connection.wait_for(600)


async def _closed_or_refused(connection: Connection, request: Request, seen: StormResults) -> None:
    """The server may wait for more bytes, but must not answer with a 5xx."""
    try:
        (reply,) = await connection.answers(1, CLOSE_TIMEOUT)
    except Unanswered:
        return
    seen.statuses[reply.status] += 1
    if reply.status >= 500 and (reply.status != 503 or replies.fault(reply)):
        seen.fault(request, f"status {reply.status}")


async def storm(port: int, seed: int, first: int, count: int) -> StormResults:
    """Send `count` requests of a seed, from number `first` on, AT_ONCE at a time."""
    seen = StormResults()
    numbers = iter(range(first, first + count))

    async def one_after_another() -> None:
        for i in numbers:
            if i % PROGRESS == 0:
                print(f"request {i}", file=sys.stderr, flush=True)
            request = requests.number(seed, i)
            try:
                await send(port, request, seen)
            except (Unanswered, TimeoutError) as error:
                seen.fault(request, str(error) or "no bytes in time")
            except OSError as error:
                seen.fault(request, f"no connection ({type(error).__name__})")

    async with asyncio.TaskGroup() as group:
        for _ in range(AT_ONCE):
            group.create_task(one_after_another())
    return seen


def run(options: argparse.Namespace) -> Findings:
    """The section. Most requests go to the runner that computes nothing, some to each engine with a tiny model."""
    findings = Findings("Hostile requests", HOW.format(at_once=AT_ONCE))
    counts = {"fake": options.count or (2_000 if options.short else 20_000)}
    if not options.short:
        counts |= {"llama": WITH_MODELS, "mlx": WITH_MODELS}
    first = 0
    for engine, count in counts.items():
        what = servers.FAKE if engine == "fake" else servers.tiny(engine)
        with servers.serving(*what) as server:
            findings.figures += _figures(engine, server, options.seed, first, count, findings.faults)
        first += count
    return findings


def _figures(engine: str, server: Server, seed: int, first: int, count: int, faults: Counter[str]) -> list[Figure]:
    warm = client.run(storm(server.port, seed, first, WARM_UP))
    before = servers.Resources.of(server)
    engine_before = servers.engine(server)
    began = time.monotonic()
    with Watch(server.port) as watch:
        seen = client.run(storm(server.port, seed, first + WARM_UP, count - WARM_UP))
        ended = time.monotonic()
        health = watch.between(began, ended)
    answered = client.run(honest(server.port))
    after = servers.Resources.of(server)
    died = servers.engine(server) != engine_before
    statuses = warm.statuses + seen.statuses
    for what, number in (warm.faults + seen.faults).items():
        faults[f"{engine}: {what}"] += number
    summary = ", ".join(f"{number} × {status}" for status, number in sorted(statuses.items()))
    wrong = sum(number for status, number in statuses.items() if status >= 500 and status != 503)
    return [
        Figure(f"{engine}: requests, and per second", f"{count}, {(count - WARM_UP) / (ended - began):.0f}"),
        Figure(f"{engine}: replies", summary),
        Figure.none(f"{engine}: 5xx but 503", wrong),
        Figure.none(f"{engine}: replies that are missing, cut or dishonest", (warm.faults + seen.faults).total()),
        Figure(f"{engine}: the engine's process is the same at the end", "no" if died else "yes", "yes", not died),
        Figure.at_most(f"{engine}: an honest request afterwards, s", answered, 5),
        Figure(f"{engine}: p99 of `/health` meanwhile, ms", f"{health.p99:.1f}, longest {health.longest:.0f}"),
        *grown(engine, before, after),
        servers.ended(engine, server),
    ]


def grown(name: str, before: servers.Resources, after: servers.Resources) -> list[Figure]:
    """Figures that compare the resources of a server before and after."""
    return [
        Figure(f"{name}: resources at the beginning", str(before)),
        Figure(f"{name}: resources at the end", str(after)),
        Figure.at_most(f"{name}: processes more", after.processes - before.processes, 0),
        Figure.at_most(f"{name}: descriptors more", after.descriptors - before.descriptors, MORE_DESCRIPTORS),
        Figure.at_most(f"{name}: memory more, MiB", round(after.mib - before.mib), MORE_MEMORY),
    ]


async def honest(port: int, timeout: float = REPLY_TIMEOUT) -> float:
    """Seconds until an honest request is answered, which is repeated until then; more than `timeout`: it was not."""
    began = time.monotonic()
    while time.monotonic() - began <= timeout:
        try:
            reply = await ask(port, replies.CHAT, HONEST, timeout)
        except (OSError, Unanswered):
            continue
        if replies.is_answer(reply) and replies.fault(reply) is None:
            break
        await asyncio.sleep(0.1)
    return time.monotonic() - began
