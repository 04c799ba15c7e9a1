"""Requests of all kinds, for a long time, whose clients leave at random: memory stays flat, and the counters add up."""

import argparse
import asyncio
import contextlib
import json
import random
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from bench.processes import Server
from nitro.bench import client
from nitro.models import default_model
from soak import memory_slopes, replies, servers
from soak.connection import Reply, Unanswered, connected, get, head, post
from soak.goals import MIXED
from soak.many_models import TEXTS
from soak.memory_slopes import MemoryWatch
from soak.report import Figure, Findings

MINUTES = 60.0
SHORT_MINUTES = 0.15
CLIENTS = 12
LEAVING = 0.25  # share of clients that leave
STAYS = 2.0  # seconds that those stay at most
REPLY_TIMEOUT = 120.0  # seconds
IDLE_TIMEOUT = 30.0  # seconds until every slot is idle
AUDIT = 40  # requests, none of which is left, whose tokens are counted on both sides
CONTEXT = {"llama": 1024, "mlx": 512, "fake": 2048}  # tokens; the fake runner's are bytes
NOTE = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"], "additionalProperties": False}
TOOL = {"type": "function", "function": {"name": "look", "parameters": NOTE}}
HOW = """\
{minutes:g} minutes of requests of {kinds} kinds from {clients} clients for each engine, both engines at the same time;
{leaving:.0%} of the clients leave at a random moment. The memory of a process is what it has allocated (Pss_Anon),
read every few seconds; its slope is that of a line through what came after {warm}. At the end no request is under way,
and no slot has one. Then {audit} requests are answered, and the counters of `/metrics` grow by what their replies tell.
llama.cpp runs SmolLM2, MLX a tiny model."""

Json = dict[str, Any]
Kind = Callable[[random.Random], tuple[str, Json]]


def _text(rng: random.Random) -> str:
    text = rng.choice(TEXTS)
    begin = rng.choice((0, rng.randrange(len(text) // 2)))
    return text[begin : begin + rng.randrange(20, 160)]


def _chat(rng: random.Random, **more: Any) -> tuple[str, Json]:
    messages = [{"role": "user", "content": _text(rng)}]
    if rng.random() < 0.3:
        messages += [{"role": "assistant", "content": _text(rng)}, {"role": "user", "content": "Go on."}]
    body = {"messages": messages, "max_tokens": rng.randint(1, 48), "stream": rng.random() < 0.6, **more}
    return replies.CHAT, {**body, "stream_options": {"include_usage": True}} if body["stream"] else body


def _completion(rng: random.Random) -> tuple[str, Json]:
    body = {"prompt": _text(rng), "max_tokens": rng.randint(1, 32), "n": rng.randint(1, 2), "logprobs": 2}
    return replies.TEXTS, {**body, "stream": False}


def _embedding(rng: random.Random) -> tuple[str, Json]:
    return "/v1/embeddings", {"input": [_text(rng) for _ in range(rng.randint(1, 4))]}


def _response(rng: random.Random) -> tuple[str, Json]:
    body = {"input": _text(rng), "max_output_tokens": rng.randint(1, 24), "store": rng.random() < 0.5}
    return "/v1/responses", {**body, "stream": rng.random() < 0.5}


def _message(rng: random.Random) -> tuple[str, Json]:
    body = {"model": "m", "messages": [{"role": "user", "content": _text(rng)}], "max_tokens": rng.randint(1, 24)}
    return "/v1/messages", {**body, "stream": rng.random() < 0.5}


def _ollama(rng: random.Random) -> tuple[str, Json]:
    body = {"model": "", "messages": [{"role": "user", "content": _text(rng)}], "stream": rng.random() < 0.5}
    return "/api/chat", {**body, "options": {"num_predict": rng.randint(1, 24)}}


KINDS: dict[str, Kind] = {
    "chat": _chat,
    "a schema": lambda rng: _chat(rng, json_schema=NOTE),
    "tools": lambda rng: _chat(rng, tools=[TOOL], tool_choice=rng.choice(("auto", "required"))),
    "two answers": lambda rng: _chat(rng, n=2, temperature=1.0),
    "seeds and penalties": lambda rng: _chat(rng, seed=rng.randrange(99), frequency_penalty=0.5, top_p=0.9),
    "a text": _completion,
    "embeddings": _embedding,
    "a response": _response,
    "a message": _message,
    "Ollama's": _ollama,
    "tokens": lambda rng: ("/tokenize", {"content": _text(rng)}),
    "a mistake": lambda rng: _chat(rng, top_p=7),
}
COUNTED = ("chat", "two answers", "seeds and penalties", "a text")  # whose replies tell all that counters count


@dataclass
class Load:
    """What came of one server's requests. `left`: those whose clients left before the reply was complete."""

    statuses: Counter[int] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    left: int = 0
    audit: Counter[str] = field(default_factory=Counter)  # what replies told of the requests of the audit


async def ask(port: int, kind: str, rng: random.Random, load: Load, leaves: bool) -> None:
    """One request. A client that leaves may get its reply before it does."""
    path, body = KINDS[kind](rng)
    try:
        async with connected(port) as connection:
            await connection.send(post(path, json.dumps(body).encode(), port=port))
            if leaves:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(rng.random() * STAYS):
                        await connection.answers(1, REPLY_TIMEOUT)
                if not connection.replies:
                    load.left += 1
                    return
            (reply,) = await connection.answers(1, REPLY_TIMEOUT)
    except (Unanswered, OSError) as error:
        load.faults[f"{kind}: {error}"] += 1
        return
    load.statuses[reply.status] += 1
    wanted = 400 if kind == "a mistake" else 200
    if path in (replies.CHAT, replies.TEXTS) and (fault := replies.fault(reply)):
        load.faults[f"{kind}: {fault}"] += 1
    elif reply.status != wanted:
        load.faults[f"{kind}: status {reply.status}, {_code(reply)}"] += 1
    elif kind in COUNTED:
        load.audit.update(usage(reply))


def _code(reply: Reply) -> str:
    """An error's code or, where it has none, its words."""
    try:
        error = json.loads(reply.body)["error"]
    except (ValueError, KeyError, TypeError):
        return "no error body"
    return str(error.get("code") or error.get("message")) if isinstance(error, dict) else str(error)


def usage(reply: Reply) -> Counter[str]:
    """What a reply tells, by the names of the counters."""
    lines = [line[6:] for line in reply.body.splitlines() if line.startswith(b"data: {")] or [reply.body]
    told = next(found for line in reversed(lines) if (found := json.loads(line).get("usage")))
    cached = (told.get("prompt_tokens_details") or {}).get("cached_tokens") or 0
    counts = {"nitro_prompt_tokens": told["prompt_tokens"], "nitro_generated_tokens": told["completion_tokens"]}
    return Counter({**counts, "nitro_cached_tokens": cached, "nitro_requests": 1})


async def mixed(port: int, seconds: float, seed: int) -> Load:
    """The load on one server."""
    load = Load()
    until = time.monotonic() + seconds

    async def one_after_another(rng: random.Random) -> None:
        while time.monotonic() < until:
            await ask(port, rng.choice(list(KINDS)), rng, load, rng.random() < LEAVING)

    await asyncio.gather(*(one_after_another(random.Random(f"{seed} {number}")) for number in range(CLIENTS)))
    return load


async def counters(port: int) -> Counter[str]:
    """What `/metrics` shows of what only grows, over all labels."""
    text = (await get(port, "/metrics", REPLY_TIMEOUT)).body.decode()
    found: Counter[str] = Counter()
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if family.type == "counter" and sample.name == f"{family.name}_total":
                found[family.name] += round(sample.value)
    return found


async def busy(port: int) -> str:
    """What is under way, as `/v1/server/events` tells until nothing is; empty: nothing, and slots are told of."""
    said = "nothing was told of the slots"
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(IDLE_TIMEOUT), connected(port) as connection:
            await connection.send(head("/v1/server/events", method="GET", port=port))
            while said:
                await connection.wait_for(connection.received + 1)
                events = [json.loads(line[6:]) for line in connection.so_far.splitlines() if line.startswith(b"data: ")]
                said = _under_way(events) if events else said
    return said


def _under_way(events: list[Json]) -> str:
    models: list[Json] = next((event["models"] for event in reversed(events) if event.get("models")), [])
    requests = {request["id"]: request["phase"] for event in events for request in event.get("requests", [])}
    open_ones = sum(phase not in ("done", "failed", "left") for phase in requests.values())
    slots = [slot for model in models for slot in model["slots"]]
    held = sum("request" in slot for slot in slots)
    running = sum(model["running"] + model["waiting"] + model["inputs"] for model in models)
    if not slots:
        return "nothing was told of the slots"
    return f"{open_ones} requests, {held} slots, {running} sequences" if open_ones or held or running else ""


async def audit(port: int, seed: int) -> tuple[Counter[str], Counter[str]]:
    """What the counters grew by, and what the replies told, over requests that nobody leaves."""
    load, rng = Load(), random.Random(f"{seed} audit")
    before = await counters(port)
    for i in range(AUDIT):
        await ask(port, COUNTED[i % len(COUNTED)], rng, load, leaves=False)
    after = await counters(port)
    grown = Counter({name: after[name] - before[name] for name in load.audit})
    grown["nitro_requests"] -= 1  # for the first of the two looks
    return grown, load.audit + Counter({f"not answered: {what}": n for what, n in load.faults.items()})


def run(options: argparse.Namespace) -> Findings:
    """The section."""
    minutes = options.minutes or (SHORT_MINUTES if options.short else MINUTES)
    models = {"llama": (str(default_model.path()), "--engine", "llama"), "mlx": servers.tiny("mlx")}
    if options.short:
        models = {"fake": servers.FAKE}
    warm = memory_slopes.warm_up(60 * minutes)
    about = {"minutes": minutes, "kinds": len(KINDS), "clients": CLIENTS, "leaving": LEAVING, "audit": AUDIT}
    findings = Findings("Mixed load", HOW.format(**about, warm=f"the first {warm / 60:g} minutes"))
    with contextlib.ExitStack() as stack:
        running = {
            name: stack.enter_context(servers.serving(*model, "--ctx", str(CONTEXT[name])))
            for name, model in models.items()
        }
        watches = {name: stack.enter_context(MemoryWatch(server)) for name, server in running.items()}
        before = {name: client.run(counters(server.port))["nitro_requests"] for name, server in running.items()}
        loads = client.run(_all(running, 60 * minutes, options.seed))
        for name, server in running.items():
            watches[name].end()
            findings.figures += _counted(name, server, loads[name], before[name], options.seed)
            findings.figures += watches[name].figures(name, warm, bounded=not options.short)
            findings.faults.update({f"{name}: {what}": n for what, n in loads[name].faults.items()})
            findings.figures.append(servers.ended(name, server))
    return findings


async def _all(running: dict[str, Server], seconds: float, seed: int) -> dict[str, Load]:
    loads = await asyncio.gather(*(mixed(server.port, seconds, seed) for server in running.values()))
    return dict(zip(running, loads, strict=True))


def _counted(name: str, server: Server, load: Load, before: int, seed: int) -> list[Figure]:
    """`before`: the requests that were counted before the load began."""
    said = client.run(busy(server.port))
    counted = client.run(counters(server.port))["nitro_requests"] - before - 2  # one look at the metrics, one at events
    answered = load.statuses.total()
    adds_up = answered <= counted <= answered + load.left  # who left may have had the reply's head
    grown, told = client.run(audit(server.port, seed))
    statuses = ", ".join(f"{n} × {status}" for status, n in sorted(load.statuses.items()))
    idle = Figure(f"{name}: under way at the end", said or "nothing", "nothing", not said)
    requests = Figure(f"{name}: requests, as the server counts them", str(counted), f"{answered} and {load.left} left")
    same = Figure(f"{name}: counters over {AUDIT} requests", _listed(grown), _listed(told), grown == told)
    return [
        Figure(f"{name}: replies", f"{statuses}; {load.left} left").of(MIXED),
        Figure.none(f"{name}: replies that are missing, cut or dishonest", load.faults.total()).of(MIXED),
        idle.of(MIXED),
        replace(requests, held=adds_up).of(MIXED),
        same.of(MIXED),
    ]


def _listed(counts: Counter[str]) -> str:
    return ", ".join(f"{n} {name.removeprefix('nitro_').replace('_', ' ')}" for name, n in sorted(counts.items()))
