"""The engine is killed under eight requests, again and again. Every reply ends honestly, and the server goes on."""

import argparse
import asyncio
import json
import os
import random
import signal
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from bench.processes import Server
from nitro.bench import client
from nitro.bench.prompts import Prompts
from nitro.models import default_model
from soak import replies, servers
from soak.connection import Connection, Unanswered, connected, post
from soak.report import Figure, Findings
from soak.storm import grown, honest

STREAMS = 8
TOKENS = 200  # of an answer: longer than the kill waits
END_BOUND = 30.0  # seconds until all replies have ended
RECOVERY_BOUND = 60.0  # seconds until an honest request is answered again: the longest pause before a restart
MAX_SHOWN = 500  # bytes of a dishonest reply
WARM_UP = 2  # kills before the resources of the server are counted
MOMENTS = ("when they are sent", "at the first text", "in the middle", "as one ends")
NOTE = {
    "type": "object",
    "properties": {"name": {"type": "string"}},
    "required": ["name"],
    "additionalProperties": False,
}
HOW = f"""\
The engine's process gets SIGKILL during {STREAMS} requests with new prompts, of which two are not streamed, one has
n = 2 and one a JSON schema. The kill comes at once, at the first text, in the middle, or as one ends. Each reply is a
complete answer, or ends with an error that says so. After each kill an honest request is repeated until it is answered,
which shows how long the engine takes to recover. llama.cpp runs SmolLM2, MLX a tiny model."""


@dataclass
class KillResults:
    """What was counted and measured over all kills."""

    outcomes: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    ending: list[float] = field(default_factory=list)  # seconds from a kill to the end of the last reply
    recoveries: list[float] = field(default_factory=list)  # seconds to an honest answer


def body(number: int, prompts: Prompts) -> bytes:
    """The body of request `number`; the last one ends early."""
    more: list[dict[str, Any]] = [{"stream": True}, {}, {"stream": True, "n": 2}, {"stream": True, "json_schema": NOTE}]
    params = more[number] if number < len(more) else {"stream": number % 4 != 1}
    tokens = 4 if number == STREAMS - 1 else TOKENS  # the last one ends
    messages = prompts.next(20 + 10 * number)
    return json.dumps(
        {"messages": messages, "max_tokens": tokens, "ignore_eos": "json_schema" not in params, **params}
    ).encode()


async def kill(server: Server, moment: str, prompts: Prompts, seen: KillResults) -> None:
    """Send all requests, kill the engine at the moment, and wait until all replies have ended."""
    async with asyncio.TaskGroup() as group:
        clients: list[Connection] = []
        bodies = [body(i, prompts) for i in range(STREAMS)]
        all_replies = [group.create_task(_reply(server.port, each, clients, seen)) for each in bodies]
        await _wait(moment, clients, all_replies)
        pid = servers.engine(server)
        if pid:
            os.kill(pid, signal.SIGKILL)
        at = time.monotonic()
        await asyncio.wait(all_replies)
    seen.ending.append(time.monotonic() - at)


async def _wait(moment: str, clients: list[Connection], all_replies: list["asyncio.Task[None]"]) -> None:
    """Wait for the moment, or until all replies have ended."""

    def has_come() -> bool:
        if all(task.done() for task in all_replies):
            return True
        if moment == "when they are sent":
            return len(clients) == STREAMS
        received = sum(c.received for c in clients)
        enough = {"at the first text": 300, "in the middle": 20_000}.get(moment)
        return received >= enough if enough else any(task.done() for task in all_replies)

    end = time.monotonic() + END_BOUND
    while not has_come() and time.monotonic() < end:
        await asyncio.sleep(0.002)


async def _reply(port: int, asked: bytes, clients: list[Connection], seen: KillResults) -> None:
    try:
        async with connected(port) as connection:
            await connection.send(post(replies.CHAT, asked))
            clients.append(connection)
            (reply,) = await connection.answers(1, 2 * END_BOUND)
        fault = replies.fault(reply)
        if fault:
            seen.faults[fault] += 1
            print(fault, reply.body[-MAX_SHOWN:], file=sys.stderr, flush=True)
        complete = replies.is_answer(reply)
        seen.outcomes["complete answers" if complete else f"errors with status {reply.status}"] += 1
    except Unanswered as error:
        seen.faults[str(error)] += 1
    except OSError as error:
        seen.faults[f"no connection ({type(error).__name__})"] += 1


def run(options: argparse.Namespace) -> Findings:
    """The section."""
    findings = Findings("Kills", HOW)
    counts = {"llama": options.count or 6} if options.short else {"llama": options.count or 50, "mlx": 10}
    for engine, count in counts.items():
        model = (
            (str(default_model.path()), "--engine", engine, "--ctx", "1024")
            if engine == "llama"
            else servers.tiny(engine)
        )
        with servers.serving(*model) as server:
            findings.figures += _figures(engine, server, options.seed, count, findings.faults)
    return findings


def _figures(engine: str, server: Server, seed: int, count: int, faults: Counter[str]) -> list[Figure]:
    rng = random.Random(seed)
    prompts = Prompts(seed)
    seen = KillResults()
    held = servers.Resources.of(server)
    for number in range(count):
        client.run(kill(server, rng.choice(MOMENTS), prompts, seen))
        seen.recoveries.append(client.run(honest(server.port, RECOVERY_BOUND)))
        if number + 1 == min(WARM_UP, count):
            held = servers.Resources.of(server)
        if seen.recoveries[-1] > RECOVERY_BOUND:
            seen.faults["the engine does not recover"] += 1
            break
    after = servers.Resources.of(server)
    faults.update({f"{engine}: {what}": n for what, n in seen.faults.items()})
    outcomes = ", ".join(f"{n} {what}" for what, n in sorted(seen.outcomes.items()))
    return [
        Figure(f"{engine}: kills", str(len(seen.recoveries)), f"{count}", len(seen.recoveries) == count),
        Figure(f"{engine}: replies", outcomes),
        Figure.none(f"{engine}: replies that hang, are cut or dishonest", seen.faults.total()),
        Figure.at_most(f"{engine}: longest from a kill to the end of all replies, s", max(seen.ending), END_BOUND),
        Figure.at_most(f"{engine}: longest from there to an honest answer, s", max(seen.recoveries), RECOVERY_BOUND),
        Figure(f"{engine}: the median", f"{sorted(seen.recoveries)[len(seen.recoveries) // 2]:.2f} s"),
        *grown(engine, held, after),
        servers.ended(engine, server),
    ]
