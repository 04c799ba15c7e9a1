"""The servers under test: `nitro serve` as a user starts it, and what /proc says of its processes."""

import atexit
import importlib
import os
import resource
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench import processes
from bench.processes import Server
from soak.report import Figure

ROOT = Path(__file__).resolve().parent.parent
FAKE = ("--engine", "nitro.engines.backends.fake:FakeRunner")
SEER = ("--engine", "nitro.engines.backends.fake:FakeSeer")
POISONED = ("--engine", "soak.runners:PoisonedRunner")
WORKER = b"nitro.engines.worker.main"
EXIT_TIMEOUT = 15.0  # seconds from SIGTERM to the end of a server
SETTLE_TIMEOUT = 5.0  # seconds
QUIET = ("--log-level", "warning")
GRACE = ("--grace", "5")  # seconds, fewer than EXIT_TIMEOUT: some requests hang on purpose


def environment() -> dict[str, str]:
    """Environment variables with which this checkout is imported, with its runners."""
    paths = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path and path != str(ROOT)]
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *paths])}


def command(*options: str) -> processes.Command:
    """`nitro serve` from this checkout."""
    os.environ.update(environment())
    return processes.nitro(*options, *QUIET, *GRACE)


def tiny(engine: str) -> tuple[str, ...]:
    """Options for a tiny random model, with which either engine answers at once."""
    sys.path.append(str(ROOT / "tests"))
    tiny_models = importlib.import_module("tiny_models")
    model = Path(tempfile.gettempdir()) / f"soak-{os.getpid()}.gguf"
    if not model.exists():
        tiny_models.write_gguf(model)
        atexit.register(model.unlink)
    return str(model), "--engine", engine


@contextmanager
def serving(*options: str) -> Iterator[Server]:
    """A running server, which is ready. Raises RuntimeError if it never is."""
    with processes.running(command(*options)) as server:
        yield server


@contextmanager
def limited(resource_id: int, maximum: int) -> Iterator[None]:
    """Set a limit of `resource`, for this process and for those that it starts meanwhile."""
    soft, hard = resource.getrlimit(resource_id)
    resource.setrlimit(resource_id, (maximum if hard == resource.RLIM_INFINITY else min(maximum, hard), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource_id, (soft, hard))


@dataclass(frozen=True)
class Resources:
    """What a server uses: its processes, the open files of its main one, and the memory of all (PSS, MiB)."""

    processes: int
    descriptors: int
    mib: float

    @classmethod
    def of(cls, server: Server) -> "Resources":
        """The current resources of a server."""
        descriptors = len(os.listdir(f"/proc/{server.pid}/fd"))
        return cls(len(server.pids()), descriptors, server.memory() or 0.0)

    def __str__(self) -> str:
        return f"{self.processes} processes, {self.descriptors} descriptors, {self.mib:.0f} MiB"


def settled(server: Server, before: Resources) -> Resources:
    """The server's resources once it has no more open files than before, or after a while: who has left may not have
    been noticed yet."""
    end = time.monotonic() + SETTLE_TIMEOUT
    while (found := Resources.of(server)).descriptors > before.descriptors and time.monotonic() < end:
        time.sleep(0.1)
    return found


def engine(server: Server) -> int | None:
    """The process id of the engine; None: there is none at the moment."""
    for pid in processes.children(server.pid):
        try:
            if WORKER in Path(f"/proc/{pid}/cmdline").read_bytes():
                return pid
        except OSError:  # gone meanwhile
            continue
    return None


def lives(server: Server) -> bool:
    """Is the main process running?"""
    try:
        return Path(f"/proc/{server.pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def ended(name: str, server: Server) -> Figure:
    """End the server, and return the figure for whether it ended by itself."""
    by_itself = ends(server)
    return Figure.yes(f"{name}: ends by itself when told to", by_itself)


def ends(server: Server) -> bool:
    """Send SIGTERM. Does the server end by itself within EXIT_TIMEOUT?"""
    if lives(server):
        os.kill(server.pid, signal.SIGTERM)
    end = time.monotonic() + EXIT_TIMEOUT
    while lives(server) and time.monotonic() < end:
        time.sleep(0.05)
    return not lives(server)
