"""Server processes: started with a port, waited for, ended; and what /proc tells of them and their children."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

HOST = "127.0.0.1"
CEILING = 120.0  # seconds a server has to load
OURS = ("NITRO_", "LLAMA_ARG_")  # variables that would change a server's options
MIB = 2**20


@dataclass(frozen=True)
class Server:
    port: int
    pid: int

    @property
    def address(self) -> tuple[str, int]:
        return HOST, self.port

    def cpu_seconds(self) -> float | None:
        """CPU time of the process and its children so far; None where there is no /proc."""
        try:
            return sum(_cpu_seconds(pid) for pid in (self.pid, *children(self.pid)))
        except OSError:
            return None


@contextmanager
def running(command: Sequence[str]) -> Iterator[Server]:
    """The server of `command`, ready; {port} in an argument is filled in. Raises RuntimeError if it never is."""
    signal.signal(signal.SIGTERM, _leave)
    port = _free_port()
    environment = {name: value for name, value in os.environ.items() if not name.startswith(OURS)}
    with tempfile.TemporaryFile() as log:
        filled = [argument.format(port=port) for argument in command]
        process = subprocess.Popen(filled, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment)
        try:
            if not _wait_ready(process, port):
                log.seek(0)
                raise RuntimeError(f"{command[0]} did not come up:\n{log.read().decode(errors='replace')[-2000:]}")
            yield Server(port, process.pid)
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def nitro(*options: str) -> list[str]:
    # -P: the current folder is not where nitro is imported from, unless PYTHONPATH says so
    return [sys.executable, "-P", "-m", "nitro", "serve", *options, "--host", HOST, "--port", "{port}"]


def llama_server(binary: Path, *options: str) -> list[str]:
    return [str(binary), *options, "--host", HOST, "--port", "{port}"]


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
    end = time.monotonic() + CEILING
    while process.poll() is None and time.monotonic() < end:
        try:
            with urllib.request.urlopen(f"http://{HOST}:{port}/health", timeout=5):
                return True
        except (urllib.error.URLError, OSError):  # not listening yet, or 503 while it loads
            time.sleep(0.1)
    return False
