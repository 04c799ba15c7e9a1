"""Thousands of hostile requests, many at once. Each must be answered honestly, or dropped without harm."""

import argparse
import asyncio
import contextlib
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field

from bench.processes import Server
from nitro.bench import client
from soak import replies, request_sources, servers
from soak.connection import Connection, Reply, Unanswered, ask, connected, get
from soak.goals import HOSTILE
from soak.health import Watch
from soak.report import Figure, Findings
from soak.request_sources import Source
from soak.requests import Request

AT_ONCE = 24
REPLY_TIMEOUT = 60.0  # seconds
HONEST = b'{"messages":[{"role":"user","content":"Hi"}],"max_tokens":2}'
STAY = 0.1  # seconds that a client waits for more of an answer
CLOSE_TIMEOUT = 0.5  # seconds for a server to close what is not HTTP
WITH_MODELS = 1000  # requests to each engine that computes
WARM_UP = 2000  # requests before the resources of the server are counted, or half of fewer
SETTING = ("--ctx", "512", "--no-pull", "--record-size", "8", "--record-files", "2")
MORE_AFTER_STORM = 20.0  # MiB
MAX_SHOWN = 1000  # bytes of a request that something was wrong with
RESTARTS = "nitro_engine_restarts_total"
MORE_MEMORY = 150.0  # MiB that a server may use more at the end
MORE_DESCRIPTORS = 8  # open files, likewise
HOW = """\
Requests to all routes of the OpenAPI document, {at_once} at once: what Schemathesis makes of it, valid and not, and the
same with something else wrong; chats and texts with odd values, schemas, tools, constraints and encodings; odd heads
and what is no HTTP, byte by byte; and clients that disconnect at any stage. If a request is HTTP, its reply must be
complete and honest: an answer, or an error in the form of its API. Otherwise the server may close the connection. A
fault is reported with the kind of its request. Memory is that of all processes of the server."""


@dataclass
class StormResults:
    """Statuses and faults of all requests. `examples`: the bytes of one request for each fault."""

    statuses: Counter[int] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    examples: dict[str, bytes] = field(default_factory=dict)
    failures: int = 0  # 5xx that should not be

    def note(self, request: Request, reply: Reply) -> None:
        """Count the reply."""
        self.statuses[reply.status] += 1
        self.failures += replies.is_failure(reply.status) and not (request.refuses and reply.status in replies.FAILS)

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
            seen.note(request, reply)
            what = None if request.bodiless else replies.fault(reply, request.refuses)
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
    seen.note(request, reply)
    if replies.is_failure(reply.status) and not request.refuses:
        seen.fault(request, f"status {reply.status}")


async def storm(port: int, source: Source, count: int, seen: StormResults) -> None:
    """Send so many requests, AT_ONCE at a time."""
    left = iter(range(count))

    async def one_after_another() -> None:
        for _ in left:
            request = await source.next()
            if request is None:
                return
            try:
                await send(port, request, seen)
            except (Unanswered, TimeoutError) as error:
                seen.fault(request, str(error) or "no bytes in time")
            except OSError as error:
                seen.fault(request, f"no connection ({type(error).__name__})")

    async with asyncio.TaskGroup() as group:
        for _ in range(AT_ONCE):
            group.create_task(one_after_another())


def run(options: argparse.Namespace) -> Findings:
    """The section. Most requests go to the runner that computes nothing, some to each engine with a tiny model."""
    findings = Findings("Hostile requests", HOW.format(at_once=AT_ONCE))
    counts = {"fake": options.count or (1_000 if options.short else 100_000)}
    if not options.short:
        counts |= {"llama": WITH_MODELS, "mlx": WITH_MODELS}
    for number, (engine, count) in enumerate(counts.items()):
        what = servers.SEER if engine == "fake" else servers.tiny(engine)
        with tempfile.TemporaryDirectory() as records, request_sources.documented(options.seed + number, count) as some:
            source = Source(options.seed + number, count, some)
            with servers.serving(*what, *SETTING, "--record", records) as server:
                findings.figures += _figures(engine, server, source, count, findings.faults)
    return findings


def _figures(engine: str, server: Server, source: Source, count: int, faults: Counter[str]) -> list[Figure]:
    warm_up = min(WARM_UP, count // 2)
    seen = StormResults()
    client.run(storm(server.port, source, warm_up, seen))
    before = servers.Resources.of(server)
    began = time.monotonic()
    with Watch(server.port) as watch:
        client.run(storm(server.port, source, count - warm_up, seen))
        ended = time.monotonic()
        health = watch.between(began, ended)
    answered = client.run(honest(server.port))
    after = servers.settled(server, before)
    restarts = client.run(restarted(server.port))
    faults.update({f"{engine}: {what}": number for what, number in seen.faults.items()})
    for what, example in seen.examples.items():
        print(f"{engine}: {what}\n    {example[:MAX_SHOWN]!r}", file=sys.stderr, flush=True)
    summary = ", ".join(f"{number} × {status}" for status, number in sorted(seen.statuses.items()))
    said = Figure(f"{engine}: requests, and per second", f"{count}, {(count - warm_up) / (ended - began):.0f}")
    failures = Figure.none(f"{engine}: 5xx but 503, and 501 of routes that do nothing", seen.failures)
    faulty = Figure.none(f"{engine}: replies that are missing, cut or dishonest", seen.faults.total())
    left = Figure.none(f"{engine}: connections left", max(after.descriptors - before.descriptors, 0))
    bound = MORE_AFTER_STORM if count > 2 * WARM_UP else MORE_MEMORY  # what few requests warm is more than they leave
    more = Figure.at_most(f"{engine}: memory more, MiB", round(after.mib - before.mib), bound)
    figures = [said, failures, faulty, left, more]
    return [
        *(figure.of(HOSTILE) for figure in figures),
        Figure(f"{engine}: replies", summary),
        Figure.none(f"{engine}: engines that died", restarts),
        Figure.at_most(f"{engine}: an honest request afterwards, s", answered, 5),
        Figure(f"{engine}: p99 of `/health` meanwhile, ms", f"{health.p99:.1f}, longest {health.longest:.0f}"),
        Figure(f"{engine}: resources after {warm_up} requests", str(before)),
        Figure(f"{engine}: resources at the end", str(after)),
        Figure.at_most(f"{engine}: processes more", after.processes - before.processes, 0),
        servers.ended(engine, server),
    ]


async def restarted(port: int) -> int:
    """How many engines were started after one that died, of all models."""
    text = (await get(port, "/metrics", REPLY_TIMEOUT)).body.decode()
    return round(sum(float(line.rpartition(" ")[2]) for line in text.splitlines() if line.startswith(RESTARTS)))


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
