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
from pathlib import Path

from bench.processes import Server
from nitro.bench import client
from nitro.models import default_model
from soak import replies, servers, true_answers
from soak.connection import Connection, Reply, Unanswered, connected, post
from soak.goals import ENGINE_KILLS
from soak.report import Figure, Findings
from soak.storm import grown, honest
from soak.true_answers import Asked

STREAMS = 8
TOKENS = 64  # of an answer: longer than the kill waits
CONTEXT = 512  # tokens
ERROR_BOUND = 1.0  # seconds from a kill to the end of a reply that is an error
END_BOUND = 60.0  # seconds until all replies have ended; a limit that only a hang reaches
RECOVERY_BOUND = 60.0  # seconds until an honest request is answered again
MAX_SHOWN = 500  # bytes of a dishonest reply
WARM_UP = 2  # kills before the resources of the server are counted
MOMENTS = ("when they are sent", "at the first text", "in the middle", "as one ends")
NOTE = {
    "type": "object",
    "properties": {"name": {"type": "string", "maxLength": 12}},
    "required": ["name"],
    "additionalProperties": False,
}
HOW = f"""\
The engine's process gets SIGKILL during {STREAMS} requests with new prompts, of which two are not streamed, one has
n = 2 and one a JSON schema. The kill comes at once, at the first text, in the middle, or as one ends. Each reply is a
complete answer, or ends with an error that says so, within {ERROR_BOUND:g} s of the death. Every token that came is
compared with what the model says alone (tests/same_answer.py), also of answers that an error ended; an object is valid
by its schema. After each kill an honest request is repeated until it is answered, which shows how long the engine takes
to recover. llama.cpp runs SmolLM2, or in the short form a tiny model, as MLX does."""


@dataclass
class KillResults:
    """What was counted and measured over all kills."""

    outcomes: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    errors: list[float] = field(default_factory=list)  # seconds from a kill to the end of a reply that is an error
    recoveries: list[float] = field(default_factory=list)  # seconds to an honest answer
    answers: dict[Asked, set[tuple[int, ...]]] = field(default_factory=dict)  # what came of each prompt


@dataclass
class Round:
    """One kill. `ends`: when each reply that is an error had ended, on the monotonic clock."""

    clients: list[Connection] = field(default_factory=list)
    ends: list[float] = field(default_factory=list)


def body(number: int, prompt: Asked) -> bytes:
    """The body of request `number` of a round; the last one ends early."""
    asked = {"prompt": prompt, "max_tokens": 4 if number == STREAMS - 1 else TOKENS, "stream": number not in (1, 5)}
    more = {2: {"n": 2}, 3: {"json_schema": NOTE}}.get(number, {})
    fixed = {"temperature": 0, "return_tokens": True, "ignore_eos": number != 3}
    return json.dumps({**asked, **more, **fixed}).encode()


async def kill(server: Server, moment: str, prompts: list[Asked], seen: KillResults) -> None:
    """Send all requests, kill the engine at the moment, and wait until all replies have ended."""
    this = Round()
    async with asyncio.TaskGroup() as group:
        all_replies = [
            group.create_task(_reply(server.port, number, prompt, this, seen)) for number, prompt in enumerate(prompts)
        ]
        await _wait(moment, this.clients, all_replies)
        pid = servers.engine(server)
        if pid:
            os.kill(pid, signal.SIGKILL)
        at = time.monotonic()
        await asyncio.wait(all_replies)
    seen.errors += [end - at for end in this.ends]


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


async def _reply(port: int, number: int, prompt: Asked, this: Round, seen: KillResults) -> None:
    try:
        async with connected(port) as connection:
            await connection.send(post(replies.TEXTS, body(number, prompt)))
            this.clients.append(connection)
            (reply,) = await connection.answers(1, END_BOUND)
    except Unanswered as error:
        seen.faults[str(error)] += 1
    except OSError as error:
        seen.faults[f"no connection ({type(error).__name__})"] += 1
    else:
        complete = replies.is_answer(reply)
        seen.outcomes["complete answers" if complete else f"errors with status {reply.status}"] += 1
        if not complete:
            this.ends.append(time.monotonic())
        fault = replies.fault(reply) or _fault_of_text(reply, number, prompt, seen)
        if fault:
            seen.faults[fault] += 1
            print(fault, reply.body[-MAX_SHOWN:], file=sys.stderr, flush=True)


def _fault_of_text(reply: Reply, number: int, prompt: Asked, seen: KillResults) -> str | None:
    """Note the tokens for a comparison later. An object is judged at once."""
    if reply.status != 200:
        return None
    told = true_answers.told(reply.body)
    if number != 3:
        seen.answers.setdefault(prompt, set()).update(tokens for tokens in told.tokens if tokens)
        return None
    if not replies.is_answer(reply) or told.finished[0] == "length":
        return None
    try:
        found = json.loads(told.texts[0])
    except ValueError:
        return "an object that is no JSON"
    return None if set(found) == {"name"} and isinstance(found["name"], str) else "an object that breaks its schema"


def run(options: argparse.Namespace) -> Findings:
    """The section."""
    findings = Findings("Kills", HOW)
    count = options.count or (6 if options.short else 100)
    for engine in ("llama",) if options.short else ("llama", "mlx"):
        tiny = engine == "mlx" or options.short
        model = Path(servers.tiny(engine)[0]) if tiny else default_model.path()
        with servers.serving(str(model), "--engine", engine, "--ctx", str(CONTEXT)) as server:
            seen = KillResults()
            asked = true_answers.prompts(model, CONTEXT, (20 + 10 * i for i in range(STREAMS) for _ in range(count)))
            findings.figures += _figures(engine, server, options.seed, seen, [asked[i::count] for i in range(count)])
        wrong = list(true_answers.wrong(engine, model, CONTEXT, seen.answers))
        different = sum(map(len, seen.answers.values()))
        figure = Figure.none(f"{engine}: wrong texts, of {different} answers and beginnings", len(wrong))
        findings.figures.append(figure.of(ENGINE_KILLS))
        findings.faults.update({f"{engine}: {what}": n for what, n in (seen.faults + Counter(wrong)).items()})
    return findings


def _figures(engine: str, server: Server, seed: int, seen: KillResults, asked: list[list[Asked]]) -> list[Figure]:
    """`asked`: the prompts of each kill."""
    rng = random.Random(seed)
    count = len(asked)
    held = servers.Resources.of(server)
    for number, prompts in enumerate(asked):
        client.run(kill(server, rng.choice(MOMENTS), prompts, seen))
        seen.recoveries.append(client.run(honest(server.port, RECOVERY_BOUND)))
        if number + 1 == min(WARM_UP, count):
            held = servers.Resources.of(server)
        if seen.recoveries[-1] > RECOVERY_BOUND:
            seen.faults["the engine does not recover"] += 1
            break
    after = servers.Resources.of(server)
    outcomes = ", ".join(f"{n} {what}" for what, n in sorted(seen.outcomes.items()))
    late = max(seen.errors, default=0.0)
    told = Figure(f"{engine}: kills", str(len(seen.recoveries)), f"{count}", len(seen.recoveries) == count)
    hang = Figure.none(f"{engine}: replies that hang, are cut or dishonest", seen.faults.total())
    back = Figure.at_most(f"{engine}: longest until an honest answer, s", max(seen.recoveries), RECOVERY_BOUND)
    return [
        told.of(ENGINE_KILLS),
        Figure(f"{engine}: replies", outcomes),
        hang.of(ENGINE_KILLS),
        Figure.at_most(f"{engine}: longest from a kill to an error, s", late, ERROR_BOUND).of(ENGINE_KILLS),
        back.of(ENGINE_KILLS),
        Figure(f"{engine}: the median", f"{sorted(seen.recoveries)[len(seen.recoveries) // 2]:.2f} s"),
        *grown(engine, held, after),
        servers.ended(engine, server),
    ]
