"""A thousand clients at the same time: who ask, who stay silent, and who never end what they began to send."""

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

CEILING = 60.0  # seconds until a reply that has not come counts as none
SOON = 5.0  # seconds until an honest client is answered beside the others
DESCRIPTORS = 16384  # of this process; the server keeps the limit that it was started with
TRIES = 3
FEW = 128  # descriptors of a server that is short of them
HEALTH = 500.0  # milliseconds, of the longest answer: all that connect at once are let in by one loop
HOW = """\
{count} connections at once. Those who ask stream a short answer each, which they get, or are told that the queue is
full. Beside those who only connect, and beside those whose head or body never ends, one honest client asks. Then all
leave, and one more is answered. The runner computes nothing."""
UNENDED = {"head": head(replies.CHAT)[:-2], "body": head(replies.CHAT, "Content-Length: 1000") + b'{"messages":'}


async def asking(port: int, number: int, outcomes: Counter[str], faults: Counter[str]) -> None:
    asked = {"messages": [{"role": "user", "content": f"number {number} "}], "max_tokens": 8, "stream": True}
    try:
        async with connected(port) as connection:
            await connection.send(post(replies.CHAT, json.dumps(asked).encode(), port=port))
            (reply,) = await connection.answers(1, CEILING)
    except Unanswered as error:
        faults[f"who asks: {error}"] += 1
    except OSError as error:
        faults[f"who asks: no connection ({type(error).__name__})"] += 1
    else:
        outcomes[str(reply.status)] += 1
        if what := replies.fault(reply):
            faults[f"who asks: {what}"] += 1


async def beside(port: int, count: int, sent: bytes, ceiling: float = CEILING) -> float:
    """Seconds that an honest client waits, while so many others have sent that much and no more."""
    async with contextlib.AsyncExitStack() as stack:

        async def begin() -> Connection:
            connection = await stack.enter_async_context(connected(port))
            await connection.send(sent)
            return connection

        await asyncio.gather(*(begin() for _ in range(count)), return_exceptions=True)
        return await honest(port, ceiling)


def run(options: argparse.Namespace) -> Findings:
    count = options.count or (300 if options.short else 1000)
    found = Findings("Clients", HOW.format(count=count))
    with servers.serving(*servers.FAKE) as server, servers.limited(resource.RLIMIT_NOFILE, DESCRIPTORS):
        found.figures = _figures(server, count, found.faults)
    found.figures += _short_of_descriptors()
    return found


def _figures(server: Server, count: int, faults: Counter[str]) -> list[Figure]:
    port, outcomes = server.port, Counter[str]()
    client.run(honest(port, CEILING))
    held = servers.Standing.of(server)
    figures = []
    with Watch(port) as watch:
        health = _while_all_ask(port, count, watch, outcomes, faults)
        figures.append(_health("who ask", health))
        for what, sent in {
            "who say nothing": b"",
            **{f"whose {part} never ends": UNENDED[part] for part in UNENDED},
        }.items():
            began = time.monotonic()
            waited = client.run(beside(port, count, sent))
            figures.append(Figure.at_most(f"an honest request beside {count} {what}, s", waited, SOON))
            figures.append(_health(what, watch.between(began, time.monotonic())))
    waited = client.run(honest(port, CEILING))
    told = ", ".join(f"{n} × {status}" for status, n in sorted(outcomes.items()))
    return [
        Figure(f"{count} who ask: replies", told),
        Figure.none("replies that are missing, cut or dishonest", faults.total()),
        *figures,
        Figure.at_most("an honest request when all have left, s", waited, SOON),
        *grown("server", held, servers.Standing.of(server)),
        servers.ended("server", server),
    ]


def _while_all_ask(port: int, count: int, watch: Watch, outcomes: Counter[str], faults: Counter[str]) -> Health:
    """The best of a few turns where the bound is broken: what is the server's own comes back."""
    found = []
    for _ in range(TRIES):
        began = time.monotonic()
        client.run(_all(asking(port, i, outcomes, faults) for i in range(count)))
        found.append(watch.between(began, time.monotonic()))
        if found[-1].most <= HEALTH:
            break
    return min(found, key=lambda health: health.most)


async def _all(work: Iterable[Coroutine[Any, Any, None]]) -> None:
    await asyncio.gather(*work)


def _health(who: str, health: Health) -> Figure:
    return Figure.at_most(f"longest answer of `/health` beside those {who}, ms", round(health.most, 1), HEALTH)


def _short_of_descriptors() -> list[Figure]:
    """More silent clients than the server may open files: it goes on, and its engine is not taken for dead."""
    with servers.limited(resource.RLIMIT_NOFILE, FEW), servers.serving(*servers.FAKE) as server:
        with servers.limited(resource.RLIMIT_NOFILE, DESCRIPTORS):
            born = servers.engine(server)
            waited = client.run(beside(server.port, 2 * FEW, b"", 4 * SOON))
            later = client.run(honest(server.port, CEILING))
        same = servers.engine(server) == born
        what = f"{2 * FEW} who say nothing to a server of {FEW} descriptors"
        return [
            Figure.at_most(f"an honest request beside {what}, s", waited, SOON),
            Figure.at_most("an honest request when they have left, s", later, SOON),
            Figure("its engine is the same at the end", "yes" if same else "no", "yes", same),
            servers.ended("this server", server),
        ]
