"""Thousands of damaged models, opened in two ways that are quicker than a command for each: by a process that has
imported the engine and parts for each (tests/try_damaged.py), and by a running server that loads one after another.
"""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from bench import processes
from bench.processes import Server
from nitro.bench import client
from nitro.engines.client import spawn
from soak import replies, servers
from soak.connection import Unanswered, ask
from soak.goals import DAMAGED
from soak.report import Figure
from soak.storm import grown

TRY = servers.ROOT / "tests" / "try_damaged.py"
AT_ONCE = 250  # models on the disk at a time
LONGEST = 600  # characters of a sentence
SHORTEST = 20
LOAD_TIMEOUT = 60.0  # seconds for a load, or its refusal
FEW = 50  # the same for a server, whose folder is looked at all the time
LISTED = 1.0  # seconds until it sees new files
REFUSED = (400, 404, 503)  # 404: what is no model at all
GOOD = "the-good-one"
CHAT = {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 2}
MAX_SHOWN = 200  # characters of a fault


def opened(engine: str, models: Iterator[Path], faults: Counter[str]) -> Counter[str]:
    """What became of each: "loads", "refused", "aborts" (llama.cpp's own end of the process, which the server tells as
    such), or a fault."""
    outcomes: Counter[str] = Counter()
    environment = {**servers.environment(), **spawn.ENVIRONMENT}
    while some := list(islice(models, AT_ONCE)):
        done = subprocess.run(
            [sys.executable, str(TRY), engine, str(some[0].parent)], capture_output=True, text=True, env=environment
        )
        told = {each["name"]: each for each in map(json.loads, done.stdout.splitlines())}
        for path in some:
            outcome = _outcome(engine, told.get(path.name))
            outcomes[outcome if outcome in ("loads", "refused", "aborts") else "other"] += 1
            if outcome not in ("loads", "refused", "aborts"):
                faults[f"{engine} {path.name}: {outcome}"] += 1
            remove(path)
        print(f"{engine}: {dict(outcomes)}", file=sys.stderr, flush=True)
    return outcomes


def _outcome(engine: str, told: dict[str, Any] | None) -> str:
    if told is None:
        return "nothing is told of it"
    if told["ended"] == -signal.SIGABRT and engine == "llama":
        return "aborts"
    if told["ended"] == -signal.SIGALRM:
        return "hangs"
    if told["ended"] != 0:
        return f"ends with status {told['ended']}"
    if told["refusal"] is None:
        return "loads"
    return "refused" if SHORTEST < len(told["refusal"]) <= LONGEST else f"says: {told['refusal'][:MAX_SHOWN]}"


def figures_of(name: str, outcomes: Counter[str]) -> list[Figure]:
    """Of models that were opened so."""
    said = ", ".join(f"{n} {how}" for how, n in sorted(outcomes.items()))
    return [
        Figure(f"{name}: {outcomes.total()} opened", said).of(DAMAGED),
        Figure.none(f"{name}: neither opened nor refused with a sentence", outcomes["other"]).of(DAMAGED),
    ]


def loaded_by_server(
    name: str, engine: str, models: Iterator[Path], good: Path, into: Path, faults: Counter[str]
) -> list[Figure]:
    """One server loads each, and unloads it. `models` are made in the folder `into`, which is the server's; `good` is
    one that it has to answer with afterwards."""
    into.mkdir(exist_ok=True)
    (into / f"{GOOD}{good.suffix}").symlink_to(good)
    outcomes: Counter[str] = Counter()
    longest = 0.0
    with _serving(engine, into) as server:
        client.run(_load(server, GOOD))
        before = servers.Resources.of(server)
        while servers.lives(server) and (some := list(islice(models, FEW))):
            time.sleep(LISTED)
            for path in some:
                began = time.monotonic()
                outcome = client.run(_load(server, path.name.removesuffix(".gguf")))
                longest = max(longest, time.monotonic() - began)
                outcomes[outcome if outcome in ("loads", "refused") else "other"] += 1
                if outcome not in ("loads", "refused"):
                    faults[f"{name}, by a server: {path.name}: {outcome}"] += 1
                    print(f"{name}, by a server: {path.name}: {outcome}", file=sys.stderr, flush=True)
                remove(path)
            print(f"{name}, by a server: {dict(outcomes)}", file=sys.stderr, flush=True)
        lives = servers.lives(server)
        answers = client.run(_load(server, GOOD)) if lives else "it is dead"
        figures = [
            Figure(f"{name}: {outcomes.total()} loaded by a server", _said(outcomes)).of(DAMAGED),
            Figure.none(f"{name}: neither loaded nor refused by it with a sentence", outcomes["other"]).of(DAMAGED),
            Figure.yes(f"{name}: the server lives, and answers with a good model", answers == "loads").of(DAMAGED),
            Figure(f"{name}: longest of these loads, s", f"{longest:.1f}"),
        ]
        return [*figures, *(grown(name, before, servers.settled(server, before)) if lives else [])]


def _said(outcomes: Counter[str]) -> str:
    return ", ".join(f"{n} {how}" for how, n in sorted(outcomes.items()))


@contextlib.contextmanager
def _serving(engine: str, folder: Path) -> Iterator[Server]:
    os.environ.update(servers.environment())
    options = (
        "--no-model",
        "--models",
        str(folder),
        "--models-max",
        "1",
        "--ctx",
        "128",
        "--parallel",
        "1",
        "--engine",
        engine,
    )
    with tempfile.TemporaryDirectory() as data:
        made = processes.nitro(*options, "--ctx", "128", "--parallel", "1", *servers.QUIET)
        command = processes.with_variables(made, NITRO_STORES="", NITRO_DATA=data)
        with processes.running(command) as server:
            yield server


async def _load(server: Server, name: str) -> str:
    """Load, ask for an answer, and unload: "loads", "refused", or a fault."""
    named = {"model": name}
    try:
        reply = await ask(server.port, "/v1/models/load", json.dumps(named).encode(), LOAD_TIMEOUT)
        if reply.status == 200:
            said = await ask(server.port, replies.CHAT, json.dumps({**CHAT, **named}).encode(), LOAD_TIMEOUT)
            unload = json.dumps({**named, "force": True}).encode()
            gone = await ask(server.port, "/v1/models/unload", unload, LOAD_TIMEOUT)
            return replies.fault(said) or replies.fault(gone) or "loads"
    except (OSError, Unanswered) as error:
        return str(error)
    if fault := replies.fault(reply):
        return fault
    told = json.loads(reply.body)["error"]["message"]
    return "refused" if reply.status in REFUSED and len(told) > SHORTEST else f"status {reply.status}: {told}"


def remove(path: Path) -> None:
    """A model, which may be no file."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
