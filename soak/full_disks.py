"""Full disks under all that a server writes: chat goes on, and what fails names the folder.

The disk is a tmpfs of a few MiB in a mount namespace of the server's own, which the kernel gives back with its process
(`unshare`, https://man7.org/linux/man-pages/man1/unshare.1.html). This process sees it through /proc/PID/root.
"""

import argparse
import contextlib
import importlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import processes
from bench.processes import Server
from nitro.bench import client
from soak import replies, servers
from soak.connection import Reply, Unanswered, ask, get
from soak.goals import FULL_DISK
from soak.report import Figure, Findings

DISK_MIB, CACHE_MIB = 4, 80  # a pull leaves 64 MB free
CHATS = 60  # answers while the disk is full, half of them streamed
TIMEOUT = 60.0  # seconds
FILLER = "filler"
BLOCK = 2**16  # bytes; then single ones, until nothing more goes
LONG = {str(number): "x" * 512 for number in range(16)}  # metadata of a response that is to be kept: more than a page
LOG_TIMEOUT = 5.0  # seconds until a line is in the log
MAX_SHOWN = 500  # characters of what went wrong
NAME, MODEL = "tiny", "org/Fetched-GGUF"  # what answers, and what is to be fetched
HOW = f"""\
A server whose state, cache, log or records lie on a disk of {DISK_MIB} MiB, the
cache's of {CACHE_MIB}. First there is room; then the disk is
filled to its last byte; then there is room again. While it is full {CHATS} chats are answered, whole and streamed; what
needs the disk fails with an error that names the folder, in its reply or in the log. Then all works again. Each server
is also started on a full disk. llama.cpp runs a tiny model."""


@dataclass(frozen=True)
class Disk:
    """What lies on the disk. `options`: of the server, for this folder. `use`: does what needs the disk; returns what
    came of it, in words, and whether it worked. `variables`: of the environment, that name the folder. `mib`:
    the size of the disk."""

    name: str
    options: Callable[[Path], list[str]]
    use: Callable[["Running"], tuple[str, bool]]
    variables: tuple[str, ...] = ()
    mib: int = DISK_MIB


@dataclass
class Running:
    """A server with such a disk."""

    server: Server
    folder: Path  # as the server sees it
    log: Path  # as this process does

    @property
    def disk(self) -> Path:
        """The folder, as this process sees it."""
        return Path(f"/proc/{self.server.pid}/root{self.folder}")

    def ask(self, path: str, body: dict[str, Any]) -> Reply:
        """A request; without a reply it is an empty one."""
        try:
            return client.run(ask(self.server.port, path, json.dumps(body).encode(), TIMEOUT))
        except (OSError, Unanswered) as error:
            return Reply(body=str(error).encode())

    def fill(self) -> None:
        """Take what is free, to the last byte."""
        with open(self.disk / FILLER, "ab", buffering=0) as filler:
            for size in (BLOCK, 1):
                with contextlib.suppress(OSError):
                    while filler.write(bytes(size)):
                        pass

    def free(self) -> None:
        """Have room again."""
        (self.disk / FILLER).unlink()

    def logged(self) -> str:
        """The log so far."""
        return self.log.read_text(errors="replace")


def chat(running: Running, stream: bool) -> str | None:
    """Why a chat is not answered, in words; None: it is."""
    body = {"model": NAME, "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 8, "stream": stream}
    reply = running.ask(replies.CHAT, body)
    if replies.is_answer(reply) and replies.fault(reply) is None:
        return None
    return f"status {reply.status}: {reply.body[-MAX_SHOWN:].decode(errors='replace')}"


def _keep(running: Running) -> tuple[str, bool]:
    """Responses that are to be kept, in the foreground and the background."""
    said, worked = "", True
    for background in (False, True):
        reply = running.ask("/v1/responses", {"model": NAME, "input": "Hi", "background": background, "metadata": LONG})
        said += reply.body.decode(errors="replace")
        worked = worked and reply.status == 200
    return said, worked


def _record(running: Running) -> tuple[str, bool]:
    """A chat that is to be recorded."""
    before = len(list(_records(running)))
    chat(running, stream=False)
    return running.logged(), len(list(_records(running))) > before


def _records(running: Running) -> list[Any]:
    with contextlib.suppress(OSError, Unanswered, ValueError, KeyError):
        listed: list[Any] = json.loads(client.run(get(running.server.port, "/v1/records?limit=100", TIMEOUT)).body)[
            "data"
        ]
        return listed
    return []


def _fetch(running: Running) -> tuple[str, bool]:
    """A model that is to be fetched, and a list of models, of which it remembers what their headers say."""
    reply = running.ask("/api/pull", {"model": MODEL, "stream": False})
    client.run(get(running.server.port, "/v1/models", TIMEOUT))
    return reply.body.decode(errors="replace"), reply.status == 200


def _log(running: Running) -> tuple[str, bool]:
    """A request that the log has a line for."""
    before = running.logged()
    chat(running, stream=False)
    end = time.monotonic() + LOG_TIMEOUT
    while running.logged() == before and time.monotonic() < end:
        time.sleep(0.05)
    return str(running.folder), running.logged() != before  # which cannot be said where it is read


CACHES = ("NITRO_CACHE", "NITRO_DATA", "XDG_CACHE_HOME", "HF_HOME", "TMPDIR")
DISKS = (
    Disk("state", lambda folder: ["--state", str(folder / "state")], _keep),
    Disk("records", lambda folder: ["--record", str(folder / "records")], _record),
    Disk(
        "cache",
        lambda folder: [],
        _fetch,
        ("NITRO_CACHE", "NITRO_DATA", "XDG_CACHE_HOME", "HF_HOME", "TMPDIR"),
        CACHE_MIB,
    ),
    Disk("log", lambda folder: [], _log),
)


def run(options: argparse.Namespace) -> Findings:
    """The section."""
    findings = Findings("Full disks", HOW)
    with tempfile.TemporaryDirectory() as scratch:
        if why := _obstacle(Path(scratch)):
            findings.figures.append(Figure("full disks", f"not measured: {why}"))
            return findings
        sys.path.append(str(servers.ROOT / "tests"))
        hub, tiny_models = importlib.import_module("hub"), importlib.import_module("tiny_models")
        models = Path(scratch) / "models"
        models.mkdir()
        model = tiny_models.write_gguf(models / f"{NAME}.gguf")
        with hub.running() as loopback:
            loopback.repos[MODEL] = hub.Repo({"fetched.gguf": model.read_bytes()})
            variables = {"HF_ENDPOINT": loopback.url, "NITRO_STORES": "hub"}
            for disk in DISKS:
                for begins in ("room",) if options.short else ("room", "full"):
                    findings.figures += _figures(disk, begins, Path(scratch), variables)
    return findings


def _obstacle(scratch: Path) -> str | None:
    """Why no disk can be had here; None: it can."""
    done = subprocess.run(
        _mounted(scratch, "room", scratch / "log", DISK_MIB, ["true"]), capture_output=True, text=True
    )
    return None if done.returncode == 0 else done.stderr.strip() or "no namespace"


def _mounted(folder: Path, begins: str, log: Path, mib: int, command: list[str]) -> list[str]:
    where = [str(folder), begins, str(log), str(mib)]
    return ["unshare", "--map-root-user", "--mount", "sh", "-c", MOUNTED, "sh", *where, *command]


def _figures(disk: Disk, begins: str, scratch: Path, variables: dict[str, str]) -> list[Figure]:
    folder = scratch / f"{disk.name}-{begins}"
    folder.mkdir()
    log = (folder if disk.name == "log" else scratch) / f"{disk.name}-{begins}.log"
    named = {**variables, **{name: str(folder / name) for name in disk.variables}}
    room = ("--no-model", "--models", str(scratch / "models"), "--ctx", "256", "--engine", "llama")
    made = processes.with_variables(processes.nitro(*room, *disk.options(folder)), **named)
    os.environ.update(servers.environment())
    name = f"{disk.name}, {'the disk fills' if begins == 'room' else 'full from the start'}"
    figures = []
    with processes.running(lambda port: _mounted(folder, begins, log, disk.mib, made(port))) as server:
        seen = f"/proc/{server.pid}/root{log}" if disk.name == "log" else str(log)
        running = Running(server, folder, Path(seen))
        if begins == "room":
            figures.append(_works(f"{name}: works before", disk, running))
        running.fill()
        unanswered = [why for i in range(CHATS) if (why := chat(running, stream=i % 2 == 0))]
        said, worked = disk.use(running)
        told = str(folder) in said or str(folder) in running.logged()
        figures.append(Figure.none(f"{name}: of {CHATS} chats not answered", len(unanswered)).of(FULL_DISK))
        if disk.name != "log":
            figures.append(Figure.yes(f"{name}: what needs it fails", not worked))
            figures.append(Figure.yes(f"{name}: the error names the folder", told).of(FULL_DISK))
        for what in [*unanswered[:1], *([] if told else [said[-MAX_SHOWN:]])]:
            print(f"{name}: {what}", file=sys.stderr, flush=True)
        running.free()
        figures.append(_works(f"{name}: works when there is room again", disk, running).of(FULL_DISK))
        figures.append(servers.ended(name, server))
    return figures


def _works(what: str, disk: Disk, running: Running) -> Figure:
    said, worked = disk.use(running)
    if not worked:
        print(f"{what}: {said[-MAX_SHOWN:]}", file=sys.stderr, flush=True)
    return Figure.yes(what, worked)


MOUNTED = f"""\
mount -t tmpfs -o size="$4"m none "$1" || exit 1
if [ "$2" = full ]; then dd if=/dev/zero of="$1/{FILLER}" bs=1k 2>/dev/null; fi
log=$3; shift 4; exec "$@" 2>>"$log"
"""
