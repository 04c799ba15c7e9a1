"""Server processes: starting, waiting until ready, ending; and what /proc says of them and their children."""

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from nitro.bench.endpoint import BenchEndpoint
from nitro.system.held_port import held_port

HOST = "127.0.0.1"
LOAD_TIMEOUT = 120.0  # seconds
OPTION_VARIABLES = ("NITRO_", "LLAMA_ARG_")  # prefixes of variables that would change a server's options
MIB = 2**20

Command = Callable[[int], list[str]]  # a server's command line for a port

NO_SUCH_ROUTE = 404
READY_POLL = 0.05  # seconds between two checks whether a server is ready
MEMORY_POLL = 1.0  # seconds between two readings of memory, each of which costs about 10 ms


@dataclass(frozen=True)
class Server:
    """A running server on this machine."""

    port: int
    pid: int

    @property
    def endpoint(self) -> BenchEndpoint:
        """Where its requests go; answers do not end before max_tokens."""
        return BenchEndpoint(HOST, self.port, fields={"ignore_eos": True})

    def pids(self) -> tuple[int, ...]:
        """Its process, and all processes below it."""
        return (self.pid, *children(self.pid))

    def memory(self) -> float | None:
        """PSS of all its processes, in MiB; None where there is no /proc."""
        try:
            return sum(pss(pid)["Pss"] for pid in self.pids())
        except OSError:
            return None

    def cpu_seconds(self) -> float | None:
        """CPU time of the process and its children so far; None where there is no /proc."""
        try:
            return sum(map(cpu_seconds, self.pids()))
        except OSError:
            return None


@contextmanager
def running(command: Command) -> Iterator[Server]:
    """Start a server, wait until it is ready, and end it afterwards. Raises RuntimeError if it is never ready."""
    signal.signal(signal.SIGTERM, _exit)
    environment = {name: value for name, value in os.environ.items() if not name.startswith(OPTION_VARIABLES)}
    with held_port(HOST) as port, tempfile.TemporaryFile() as log, tempfile.TemporaryDirectory() as kept:
        environment["XDG_STATE_HOME"] = kept  # not among what the user's programs have kept
        arguments = command(port)
        process = subprocess.Popen(arguments, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment)

        def problem() -> str | None:
            if process.poll() is None:
                return None
            log.seek(0)
            return f"{arguments[0]} did not come up:\n{log.read().decode(errors='replace')[-2000:]}"

        try:
            if not _wait_ready(port, problem):
                raise RuntimeError(problem() or f"no server was ready within {LOAD_TIMEOUT:.0f} seconds")
            yield Server(port, process.pid)
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@contextmanager
def all_running(commands: Sequence[Command]) -> Iterator[list[Server]]:
    """Start several servers, and end all of them afterwards."""
    with ExitStack() as stack:
        yield [stack.enter_context(running(command)) for command in commands]


class Peak:
    """The highest memory of a server's processes together while this is entered. A thread reads it."""

    def __init__(self, server: Server):
        self.mib: float | None = None
        self._server = server
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "Peak":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        self._read()

    def _watch(self) -> None:
        while not self._ended.wait(MEMORY_POLL):
            self._read()

    def _read(self) -> None:
        memory = self._server.memory()
        if memory is not None:
            self.mib = max(self.mib or 0.0, memory)


def nitro(*options: str, tree: Path | None = None) -> Command:
    """`nitro serve` with these options; of another source tree, with this interpreter's libraries, if one is given."""
    # -P: nitro is not imported from the current folder unless PYTHONPATH says so
    command = listening([sys.executable, "-P", "-m", "nitro", "serve", *options])
    return with_variables(command, PYTHONPATH=str(tree)) if tree else command


def with_variables(command: Command, **variables: str) -> Command:
    """The command with these environment variables."""
    return lambda port: ["env", *(f"{name}={value}" for name, value in variables.items()), *command(port)]


def listening(command: list[str]) -> Command:
    """A command that takes its address by --host and --port."""
    return lambda port: [*command, "--host", HOST, "--port", str(port)]


def children(pid: int) -> list[int]:
    """The processes below this one, theirs included. Raises OSError where there is no /proc."""
    return [
        child
        for file in Path(f"/proc/{pid}/task").glob("*/children")
        for child_pid in map(int, file.read_text().split())
        for child in (child_pid, *children(child_pid))
    ]


def pss(pid: int) -> dict[str, float]:
    """Memory in MiB by the names in smaps_rollup: Pss, Pss_Anon, … Pages shared with other processes count in part."""
    rows = (line.split() for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines())
    return {row[0].rstrip(":"): int(row[1]) * 1024 / MIB for row in rows if row[0].startswith("Pss")}


def _exit(*_: object) -> NoReturn:
    """SIGTERM for a measurement ends its servers as well."""
    sys.exit(128 + signal.SIGTERM)


def cpu_seconds(pid: int) -> float:
    """CPU time of one process so far. Raises OSError where there is none."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _wait_ready(port: int, problem: Callable[[], str | None]) -> bool:
    """Did the server become ready? One without the route /health listens only when it is."""
    end = time.monotonic() + LOAD_TIMEOUT
    while problem() is None and time.monotonic() < end:
        try:
            with urllib.request.urlopen(f"http://{HOST}:{port}/health", timeout=5):
                return True
        except urllib.error.HTTPError as error:
            if error.code == NO_SUCH_ROUTE:
                return True
            time.sleep(READY_POLL)
        except (urllib.error.URLError, OSError):  # not listening yet
            time.sleep(READY_POLL)
    return False
