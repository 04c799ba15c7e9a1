"""Hostile requests by the thousand, many at once: each has to be answered honestly, or to be left without harm."""

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
CEILING = 60.0  # seconds until a reply that has not come counts as none
HONEST = b'{"messages":[{"role":"user","content":"Hi"}],"max_tokens":2}'
INTO = 0.1  # seconds that a client stays for more of an answer
FORGOTTEN = 0.5  # seconds given to a server to close what is not HTTP
PROGRESS = 1000  # requests between two lines of it
WITH_MODELS = 1000  # requests to each engine that computes
WARM = 100  # requests before the first look at what the server holds
MORE_MEMORY, MORE_DESCRIPTORS = 150.0, 8  # MiB and open files that a server may have more of at the end
HOW = """\
Valid requests, each with something wrong with it: values, schemas, tools, constraints, encodings, heads, lengths, and
clients that leave at any stage; {at_once} at once. Of what is HTTP every reply has to be whole and honest: an
answer, or an error in the API's form; what is none may be closed. A fault is told with the kind of its request."""


@dataclass
class Seen:
    statuses: Counter[int] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    examples: dict[str, bytes] = field(default_factory=dict)

    def fault(self, request: Request, what: str) -> None:
        self.faults[f"{request.kind}: {what}"] += 1
        self.examples.setdefault(f"{request.kind}: {what}", request.data)


async def send(port: int, request: Request, seen: Seen) -> None:
    async with connected(port) as connection:
        connection.bodiless = request.bodiless
        if request.leaving:
            return await _leave(connection, request)
        await connection.send(request.data, piece=request.piece)
        if not request.strict:
            return await _closed_or_refused(connection, request, seen)
        for reply in await connection.answers(request.replies, CEILING):
            seen.statuses[reply.status] += 1
            if what := replies.fault(reply) if not request.bodiless else None:
                seen.fault(request, what)


async def _leave(connection: Connection, request: Request) -> None:
    data, leaving = request.data, request.leaving
    if leaving == "after the head":
        data = data[: data.find(b"\r\n\r\n") + 4]
    elif leaving == "in the body":
        data = data[: (data.find(b"\r\n\r\n") + len(data)) // 2]
    await connection.send(data, piece=request.piece)
    if leaving in ("at the first bytes", "in the answer"):
        async with asyncio.timeout(CEILING):
            await connection.wait_for(1)
    if leaving == "in the answer":
        with contextlib.suppress(TimeoutError):  # it may be short
            async with asyncio.timeout(INTO):
                await connection.wait_for(600)


async def _closed_or_refused(connection: Connection, request: Request, seen: Seen) -> None:
    """It may wait for more of what is no request; but what it says is no 5xx."""
    try:
        (reply,) = await connection.answers(1, FORGOTTEN)
    except Unanswered:
        return
    seen.statuses[reply.status] += 1
    if reply.status >= 500 and (reply.status != 503 or replies.fault(reply)):
        seen.fault(request, f"status {reply.status}")


async def storm(port: int, seed: int, first: int, count: int) -> Seen:
    seen = Seen()
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
    """Most of them to the runner that computes nothing; some to each engine, with a tiny model."""
    found = Findings("Hostile requests", HOW.format(at_once=AT_ONCE))
    counts = {"fake": options.count or (2_000 if options.short else 20_000)}
    if not options.short:
        counts |= {"llama": WITH_MODELS, "mlx": WITH_MODELS}
    first = 0
    for engine, count in counts.items():
        what = servers.FAKE if engine == "fake" else servers.tiny(engine)
        with servers.serving(*what) as server:
            found.figures += _figures(engine, server, options.seed, first, count, found.faults)
        first += count
    return found


def _figures(engine: str, server: Server, seed: int, first: int, count: int, faults: Counter[str]) -> list[Figure]:
    warm = client.run(storm(server.port, seed, first, WARM))
    held, born = servers.Standing.of(server), servers.engine(server)
    began = time.monotonic()
    with Watch(server.port) as watch:
        seen = client.run(storm(server.port, seed, first + WARM, count - WARM))
        ended = time.monotonic()
        health = watch.between(began, ended)
    answered = client.run(honest(server.port))
    after, died = servers.Standing.of(server), servers.engine(server) != born
    statuses = warm.statuses + seen.statuses
    for what, number in (warm.faults + seen.faults).items():
        faults[f"{engine}: {what}"] += number
    said = ", ".join(f"{number} × {status}" for status, number in sorted(statuses.items()))
    wrong = sum(number for status, number in statuses.items() if status >= 500 and status != 503)
    return [
        Figure(f"{engine}: requests, and a second", f"{count}, {(count - WARM) / (ended - began):.0f}"),
        Figure(f"{engine}: replies", said),
        Figure.none(f"{engine}: 5xx but 503", wrong),
        Figure.none(f"{engine}: replies that are missing, cut or dishonest", (warm.faults + seen.faults).total()),
        Figure(f"{engine}: the engine's process is the same at the end", "no" if died else "yes", "yes", not died),
        Figure.at_most(f"{engine}: an honest request afterwards, s", answered, 5),
        Figure(f"{engine}: p99 of `/health` meanwhile, ms", f"{health.p99:.1f}, most {health.most:.0f}"),
        *grown(engine, held, after),
        servers.ended(engine, server),
    ]


def grown(name: str, before: servers.Standing, after: servers.Standing) -> list[Figure]:
    return [
        Figure(f"{name}: held in the beginning", str(before)),
        Figure(f"{name}: held at the end", str(after)),
        Figure.at_most(f"{name}: processes more", after.processes - before.processes, 0),
        Figure.at_most(f"{name}: descriptors more", after.descriptors - before.descriptors, MORE_DESCRIPTORS),
        Figure.at_most(f"{name}: memory more, MiB", round(after.mib - before.mib), MORE_MEMORY),
    ]


async def honest(port: int, ceiling: float = CEILING) -> float:
    """Seconds that an honest request takes, asked again until it is answered; more than `ceiling`: it was not."""
    began = time.monotonic()
    while time.monotonic() - began <= ceiling:
        try:
            reply = await ask(port, replies.CHAT, HONEST, ceiling)
        except (OSError, Unanswered):
            continue
        if replies.is_answer(reply) and replies.fault(reply) is None:
            break
        await asyncio.sleep(0.1)
    return time.monotonic() - began
