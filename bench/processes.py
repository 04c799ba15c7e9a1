"""Server processes: started with a port, waited for, ended; and what /proc tells of them and their children."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from nitro.bench.endpoint import Endpoint

HOST = "127.0.0.1"
CEILING = 120.0  # seconds a server has to load
OURS = ("NITRO_", "LLAMA_ARG_")  # variables that would change a server's options
MIB = 2**20

Command = Callable[[int], list[str]]  # of a server, by its port

NO_SUCH_ROUTE = 404
POLL = 0.05  # seconds between two questions whether it is ready
EVERY = 1.0  # seconds between two looks at the memory, of which one costs about 10 ms


@dataclass(frozen=True)
class Server:
    port: int
    pid: int

    @property
    def endpoint(self) -> Endpoint:
        return Endpoint(HOST, self.port, fields={"ignore_eos": True})

    def pids(self) -> tuple[int, ...]:
        return self.pid, *children(self.pid)

    def memory(self) -> float | None:
        """PSS of all its processes, in MiB; None where there is no /proc."""
        try:
            return sum(pss(pid)["Pss"] for pid in self.pids())
        except OSError:
            return None

    def cpu_seconds(self) -> float | None:
        """CPU time of the process and its children so far; None where there is no /proc."""
        try:
            return sum(map(_cpu_seconds, self.pids()))
        except OSError:
            return None


@contextmanager
def running(command: Command) -> Iterator[Server]:
    """The server of `command`, ready. Raises RuntimeError if it never is."""
    signal.signal(signal.SIGTERM, _leave)
    port = _free_port()
    environment = {name: value for name, value in os.environ.items() if not name.startswith(OURS)}
    with tempfile.TemporaryFile() as log:
        arguments = command(port)
        process = subprocess.Popen(arguments, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment)
        try:
            if not _wait_ready(process, port):
                log.seek(0)
                raise RuntimeError(f"{arguments[0]} did not come up:\n{log.read().decode(errors='replace')[-2000:]}")
            yield Server(port, process.pid)
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


class Peak:
    """The most memory that a server's processes have together while this is entered; looked at by a thread."""

    def __init__(self, server: Server):
        self.mib: float | None = None
        self._server = server
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "Peak":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        self._look()

    def _watch(self) -> None:
        while not self._over.wait(EVERY):
            self._look()

    def _look(self) -> None:
        if (found := self._server.memory()) is not None:
            self.mib = max(self.mib or 0.0, found)


def nitro(*options: str) -> Command:
    # -P: the current folder is not where nitro is imported from, unless PYTHONPATH says so
    return listening(sys.executable, "-P", "-m", "nitro", "serve", *options)


def listening(*command: str) -> Command:
    """A command that takes its address as most do."""
    return lambda port: [*command, "--host", HOST, "--port", str(port)]


def children(pid: int) -> list[int]:
    return [
        child
        for file in Path(f"/proc/{pid}/task").glob("*/children")
        for known in map(int, file.read_text().split())
        for child in (known, *children(known))
    ]


def pss(pid: int) -> dict[str, float]:
    """Memory in MiB by its names in smaps_rollup, pages shared with others counted by share: Pss, Pss_Anon, …"""
    rows = (line.split() for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines())
    return {row[0].rstrip(":"): int(row[1]) * 1024 / MIB for row in rows if row[0].startswith("Pss")}


def _leave(*_: object) -> NoReturn:
    """A measurement that is ended ends its servers, too."""
    sys.exit(128 + signal.SIGTERM)


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _free_port() -> int:
    with socket.create_server((HOST, 0)) as sock:
        port: int = sock.getsockname()[1]
        return port


def _wait_ready(process: "subprocess.Popen[bytes]", port: int) -> bool:
    """A server without such a route listens only when it is ready."""
    end = time.monotonic() + CEILING
    while process.poll() is None and time.monotonic() < end:
        try:
            with urllib.request.urlopen(f"http://{HOST}:{port}/health", timeout=5):
                return True
        except urllib.error.HTTPError as error:
            if error.code == NO_SUCH_ROUTE:
                return True
            time.sleep(POLL)
        except (urllib.error.URLError, OSError):  # not listening yet
            time.sleep(POLL)
    return False
