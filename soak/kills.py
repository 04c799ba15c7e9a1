"""The engine is killed under eight streams, again and again: every reply ends, honestly, and the server stays."""

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
TOKENS = 200  # of an answer: longer than what the kill waits for
END = 30.0  # seconds until a reply that has not ended hangs
BACK = 60.0  # seconds until an honest request is answered again: the longest pause there is
SAID = 500  # bytes of a dishonest reply that are shown
WARM = 2  # kills before the first look at what the server holds
MOMENTS = ("when they are sent", "at the first text", "in the middle", "as one ends")
NOTE = {
    "type": "object",
    "properties": {"name": {"type": "string"}},
    "required": ["name"],
    "additionalProperties": False,
}
HOW = f"""\
SIGKILL for the engine's process under {STREAMS} requests with prompts that are new each time, of which two are not
streamed, one wants two answers and one keeps a schema; at once, at the first text, in the middle, or as one ends. Each
reply is a whole answer, or ends with an error that says so. After each kill an honest request is asked until it is
answered: how long the engine takes to come back. llama.cpp has SmolLM2, MLX a tiny model."""


@dataclass
class Seen:
    outcomes: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    ending: list[float] = field(default_factory=list)  # seconds from a kill to the end of the last reply
    back: list[float] = field(default_factory=list)  # seconds to an honest answer


def body(number: int, prompts: Prompts) -> bytes:
    more: list[dict[str, Any]] = [{"stream": True}, {}, {"stream": True, "n": 2}, {"stream": True, "json_schema": NOTE}]
    asked = more[number] if number < len(more) else {"stream": number % 4 != 1}
    tokens = 4 if number == STREAMS - 1 else TOKENS  # the last one ends
    messages = prompts.next(20 + 10 * number)
    return json.dumps(
        {"messages": messages, "max_tokens": tokens, "ignore_eos": "json_schema" not in asked, **asked}
    ).encode()


async def killed(server: Server, moment: str, prompts: Prompts, seen: Seen) -> None:
    async with asyncio.TaskGroup() as group:
        clients: list[Connection] = []
        asked = [body(i, prompts) for i in range(STREAMS)]
        all_replies = [group.create_task(_reply(server.port, one, clients, seen)) for one in asked]
        await _wait(moment, clients, all_replies)
        if pid := servers.engine(server):
            os.kill(pid, signal.SIGKILL)
        at = time.monotonic()
        await asyncio.wait(all_replies)
    seen.ending.append(time.monotonic() - at)


async def _wait(moment: str, clients: list[Connection], all_replies: list["asyncio.Task[None]"]) -> None:
    """Until there is what the moment asks for, or no reply is left to wait for."""

    def come() -> bool:
        if all(task.done() for task in all_replies):
            return True
        if moment == "when they are sent":
            return len(clients) == STREAMS
        received = sum(c.received for c in clients)
        enough = {"at the first text": 300, "in the middle": 20_000}.get(moment)
        return received >= enough if enough else any(task.done() for task in all_replies)

    end = time.monotonic() + END
    while not come() and time.monotonic() < end:
        await asyncio.sleep(0.002)


async def _reply(port: int, asked: bytes, clients: list[Connection], seen: Seen) -> None:
    try:
        async with connected(port) as connection:
            await connection.send(post(replies.CHAT, asked))
            clients.append(connection)
            (reply,) = await connection.answers(1, 2 * END)
        if fault := replies.fault(reply):
            seen.faults[fault] += 1
            print(fault, reply.body[-SAID:], file=sys.stderr, flush=True)
        whole = replies.is_answer(reply)
        seen.outcomes["whole answers" if whole else f"errors with status {reply.status}"] += 1
    except Unanswered as error:
        seen.faults[str(error)] += 1
    except OSError as error:
        seen.faults[f"no connection ({type(error).__name__})"] += 1


def run(options: argparse.Namespace) -> Findings:
    found = Findings("Kills", HOW)
    counts = {"llama": options.count or 6} if options.short else {"llama": options.count or 50, "mlx": 10}
    for engine, count in counts.items():
        model = (
            (str(default_model.path()), "--engine", engine, "--ctx", "1024")
            if engine == "llama"
            else servers.tiny(engine)
        )
        with servers.serving(*model) as server:
            found.figures += _figures(engine, server, options.seed, count, found.faults)
    return found


def _figures(engine: str, server: Server, seed: int, count: int, faults: Counter[str]) -> list[Figure]:
    rng, prompts, seen = random.Random(seed), Prompts(seed), Seen()
    held = servers.Standing.of(server)
    for number in range(count):
        client.run(killed(server, rng.choice(MOMENTS), prompts, seen))
        seen.back.append(client.run(honest(server.port, BACK)))
        if number + 1 == min(WARM, count):
            held = servers.Standing.of(server)
        if seen.back[-1] > BACK:
            seen.faults["the engine does not come back"] += 1
            break
    after = servers.Standing.of(server)
    faults.update({f"{engine}: {what}": n for what, n in seen.faults.items()})
    told = ", ".join(f"{n} {what}" for what, n in sorted(seen.outcomes.items()))
    return [
        Figure(f"{engine}: kills", str(len(seen.back)), f"{count}", len(seen.back) == count),
        Figure(f"{engine}: replies", told),
        Figure.none(f"{engine}: replies that hang, are cut or dishonest", seen.faults.total()),
        Figure.at_most(f"{engine}: longest from a kill to the end of all replies, s", max(seen.ending), END),
        Figure.at_most(f"{engine}: longest from there to an honest answer, s", max(seen.back), BACK),
        Figure(f"{engine}: the median", f"{sorted(seen.back)[len(seen.back) // 2]:.2f} s"),
        *grown(engine, held, after),
        servers.ended(engine, server),
    ]
