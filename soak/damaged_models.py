"""Damaged models with `nitro serve` and `nitro convert`: each is served or converted, or the command ends with status 1
and one sentence. The files are made by `damaged`."""

import argparse
import importlib
import itertools
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from nitro.bench import client
from nitro.convert import environments
from nitro.system import folders
from soak import damaged_loads, replies, servers
from soak.connection import Unanswered, ask
from soak.goals import DAMAGED
from soak.report import Figure, Findings
from soak.storm import HONEST

AT_ONCE = 2
COMMAND_TIMEOUT = 120.0  # seconds until a command has ended or serves
REPLY_TIMEOUT = 60.0  # seconds for one request to such a model
MEMORY = 8 * 2**30  # bytes; a command that takes more is ended, and not this machine
SENTENCE = re.compile(r"nitro: \S.{5,600}")
URL = re.compile(r"URL\s+http://[^:]+:(\d+)/v1")
GOOD = ("serves", "converted", "refused")
HOW = f"""\
Small models whose files are cut, changed or wrong. Most are opened as an engine process opens them, each by a process
of its own; llama.cpp may abort, which ends only that. Some are loaded by a running server that has them in its folder,
asked for an answer, and unloaded; it has to live. Of the others, {AT_ONCE} at a time, `nitro serve` becomes ready and
answers a request, or says in one sentence why not and ends with status 1; so does `nitro convert`, which then leaves
nothing behind."""
MODELS = 5000
Counts = dict[tuple[str, str], int]
OPENED = (("GGUF files", "llama"), ("GGUF files", "mlx"), ("folders", "mlx"))
SHARES: Counts = {
    ("GGUF files", "llama"): 250,
    ("GGUF files", "mlx"): 100,
    ("folders", "mlx"): 100,
    ("GGUF files", "server"): 30,
    ("folders", "server"): 15,
    ("GGUF files", "commands"): 3,
    ("folders", "commands"): 2,
}
SHORT: Counts = {
    **dict.fromkeys((("GGUF files", "llama"), ("GGUF files", "mlx"), ("folders", "mlx")), 40),
    ("GGUF files", "server"): 6,
    ("folders", "server"): 3,
    ("GGUF files", "commands"): 4,
    ("folders", "commands"): 3,
}


@dataclass(frozen=True)
class Outcome:
    """The result of one command. `how`: "serves", "converted", "refused", or a fault in words."""

    command: str
    path: Path
    how: str
    seconds: float


def run(options: argparse.Namespace) -> Findings:
    """The section. `--count`: models in all."""
    findings = Findings("Damaged models", HOW)
    try:
        damaged = importlib.import_module("soak.damaged")
    except ModuleNotFoundError:  # without gguf nothing can be made
        findings.figures.append(Figure("soak/damaged.py", "is not there", "there", False))
        return findings
    counts = dict(SHORT) if options.short and not options.count else shares(options.count or MODELS)
    figures, faults = findings.figures, findings.faults
    seeds = itertools.count(options.seed * 10)
    with tempfile.TemporaryDirectory(prefix="soak-") as name:
        into = Path(name)
        for kind, engine in OPENED:
            make = damaged.gguf_files if kind == "GGUF files" else damaged.folders
            paths = make(next(seeds), counts[kind, engine], into / f"opened-{engine}")
            outcomes = damaged_loads.opened(engine, _files(paths), faults)
            figures += damaged_loads.figures_of(f"{kind} on {engine}", outcomes)
        for kind, (engine, to) in {"GGUF files": ("llama", ("mlx",)), "folders": ("mlx", _of_folders())}.items():
            make = damaged.gguf_files if kind == "GGUF files" else damaged.folders
            models = into / f"served {kind}"
            paths = make(next(seeds), counts[kind, "server"], models)
            good = damaged.intact(into / "good", kind == "GGUF files")
            figures += damaged_loads.loaded_by_server(kind, engine, paths, good, models, faults)
            paths = make(next(seeds), counts[kind, "commands"], into / f"commands {kind}")
            outcomes = _tried(paths, engine, to, into)
            figures += _figures(kind, outcomes)
            for outcome in outcomes:
                if outcome.how not in GOOD:
                    faults[f"{outcome.command} {outcome.path.name}: {outcome.how}"] += 1
    total = sum(counts.values())
    figures.insert(0, Figure("damaged models", f"{total}").of(DAMAGED))
    return findings


def shares(count: int) -> Counts:
    """Of so many models: how many of each kind, and what is done with them."""
    parts = sum(SHARES.values())
    return {what: max(1, round(count * part / parts)) for what, part in SHARES.items()}


def _files(paths: Iterator[Path]) -> Iterator[Path]:
    """Without what is no file, which is refused before an engine is asked: the other ways have it."""
    for path in paths:
        if "no-file" in path.name:
            damaged_loads.remove(path)
        else:
            yield path


def _tried(paths: Iterator[Path], engine: str, to: tuple[str, ...], into: Path) -> list[Outcome]:
    """Each model is made when its turn comes, and removed afterwards, so that few are on the disk."""
    outcomes: list[Outcome] = []
    numbered, lock = zip(itertools.count(), paths, strict=False), threading.Lock()

    def one_after_another() -> None:
        while True:
            with lock:
                number, path = next(numbered, (0, None))
            if path is None:
                return
            outcomes.extend([serve(path, engine, into), convert(path, to[number % len(to)], into)])
            damaged_loads.remove(path)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        for running in [pool.submit(one_after_another) for _ in range(AT_ONCE)]:
            running.result()
    return outcomes


def _of_folders() -> tuple[str, ...]:
    """GGUF only where its environment exists already, since making it takes minutes and gigabytes."""
    made = folders.cache() / "environments" / "converter" / environments.MARKER
    return ("gguf", "mlx") if made.is_file() else ("mlx",)


def _figures(name: str, outcomes: list[Outcome]) -> list[Figure]:
    figures = []
    for command in ("serve", "convert"):
        of_it = [outcome for outcome in outcomes if outcome.command == command]
        counts = Counter(outcome.how if outcome.how in GOOD else "other" for outcome in of_it)
        summary = ", ".join(f"{n} {how}" for how, n in sorted(counts.items()))
        longest = max((outcome.seconds for outcome in of_it), default=0.0)
        figures += [
            Figure(f"{name}: {command}", summary).of(DAMAGED),
            Figure.none(f"{name}: {command}: neither works nor ends with one sentence", counts["other"]).of(DAMAGED),
            Figure(f"{name}: {command}: longest, s", f"{longest:.1f}"),
        ]
    return figures


def serve(path: Path, engine: str, into: Path) -> Outcome:
    """Serve the model, and send it one request."""
    began = time.monotonic()
    arguments = [
        "serve",
        str(path),
        "--engine",
        engine,
        "--port",
        "0",
        "--ctx",
        "128",
        "--parallel",
        "1",
        *servers.QUIET,
    ]
    with tempfile.TemporaryFile(dir=into) as output:
        process = _started(arguments, output.fileno())
        try:
            port = None
            while process.poll() is None and port is None and time.monotonic() - began < COMMAND_TIMEOUT:
                time.sleep(0.05)
                port = URL.search(_text(output.fileno()))
            if port:
                how = _request(int(port[1]), process)
            elif process.poll() is None:
                how = "hangs"
            else:
                how = refusal(process.returncode, _text(output.fileno()))
        finally:
            process.kill()
            process.wait()
    return Outcome("serve", path, how, time.monotonic() - began)


def convert(path: Path, to: str, into: Path) -> Outcome:
    """Convert the model with its proof."""
    began = time.monotonic()
    target = Path(tempfile.mkdtemp(dir=into)) / ("made.gguf" if to == "gguf" else "made")
    arguments = ["convert", str(path), "--to", to, "--output", str(target), "--positions", "64"]
    with tempfile.TemporaryFile(dir=into) as output:
        process = _started(arguments, output.fileno())
        try:
            status = process.wait(COMMAND_TIMEOUT)
            how = "converted" if status == 0 else refusal(status, _text(output.fileno()))
        except subprocess.TimeoutExpired:
            how = "hangs"
        finally:
            process.kill()
            process.wait()
    if how == "converted" and not target.exists():
        how = "status 0, and nothing is there"
    elif how == "refused" and any(target.parent.iterdir()):
        how = "refused, and something is left behind"
    shutil.rmtree(target.parent)
    return Outcome("convert", path, how, time.monotonic() - began)


def refusal(status: int, output: str) -> str:
    """ "refused" where a failed command printed one sentence, otherwise the fault."""
    last = next((line for line in reversed(output.splitlines()) if line.strip()), "")
    if "Traceback" in output:
        return f"status {status}, a traceback"
    if status != 1:
        return f"status {status}"
    if not SENTENCE.fullmatch(last.strip()):
        return "status 1 without a sentence"
    return "refused"


def _request(port: int, process: "subprocess.Popen[bytes]") -> str:
    try:
        reply = client.run(ask(port, replies.CHAT, HONEST, REPLY_TIMEOUT))
        fault = replies.fault(reply)
    except (OSError, Unanswered) as error:
        fault = str(error)
    if fault:
        return f"serves, but answers: {fault}"
    process.send_signal(signal.SIGTERM)
    try:
        status = process.wait(servers.EXIT_TIMEOUT)
    except subprocess.TimeoutExpired:
        return "serves, but does not end"
    return "serves" if status == 0 else f"serves, but ends with status {status}"


def _started(arguments: list[str], output: int) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "nitro", *arguments],
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        env=servers.environment(),
        start_new_session=True,
        preexec_fn=_bounded,
    )


def _bounded() -> None:
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))


def _text(file: int) -> str:
    """Read the file without moving the position at which the process writes."""
    return os.pread(file, os.fstat(file).st_size, 0).decode(errors="replace")
