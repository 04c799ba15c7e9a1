"""examples/replicas/ray_serve as its page starts it; what CHANGES names is for a smaller machine, and less time."""

import json
import os
import queue
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import environments
import replicas
from replicas import EXAMPLES, Replica
from running import CEILING, FAKE, raw_request

from nitro.system import folders
from nitro.system.held_port import held_port

EXAMPLE = EXAMPLES / "ray_serve"
PATIENCE = 5 * CEILING  # Ray's own processes need minutes where all cores are busy
ROOT = Path(__file__).parents[2]
COMMAND = f"{sys.executable} -m nitro serve --engine {FAKE} --no-state --ctx 65536 --parallel 16 --grace 60"
CHANGES = {
    "port: 8000": "port: {port}",
    "num_cpus: 1": "num_cpus: 0.1",
    "look_back_period_s: 30": "look_back_period_s: 1\n          metrics_interval_s: 0.5",
    "upscale_delay_s: 10": "upscale_delay_s: 0",
    "downscale_delay_s: 300": "downscale_delay_s: 0",
}
WANTED = 13  # requests at once for which there are four replicas: target_ongoing_requests is 4


class Served(Replica):
    """The server of a replica. Its Unix socket is known, and its process is at the socket's other end."""

    def __init__(self, path: Path):
        self.url = f"unix:{path}"
        with socket.socket(socket.AF_UNIX) as peer:
            peer.connect(str(path))
            told = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        self.pid = struct.unpack("3i", told)[0]

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)

    def signal(self, number: signal.Signals) -> None:
        """To the server and its engine."""
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
        for pid in (self.pid, *map(int, children)):
            os.kill(pid, number)


class Cluster:
    """What `serve run` has started, and what it says."""

    def __init__(self, lines: Iterable[str], url: str, folder: Path):
        self.url = url
        self._folder = folder
        self._lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._said: list[str] = []
        self.reader = threading.Thread(target=self._read, args=(lines,))
        self.reader.start()

    def _read(self, lines: Iterable[str]) -> None:
        for line in lines:
            self._lines.put(line)
        self._lines.put("")  # the end

    def wait(self, pattern: str) -> None:
        """For the next line that says so."""
        while True:
            with suppress(queue.Empty):
                self._said.append(self._lines.get(timeout=PATIENCE) or "the end")
                if re.search(pattern, self._said[-1]):
                    return
                if self._said[-1] != "the end":
                    continue
            raise AssertionError(f"nothing says {pattern}:\n" + "".join(self._said[-100:]))

    def wait_replicas(self, number: int) -> list[Served]:
        """Until that many share the conversations."""
        self.wait(rf"Rebuilt consistent-hash ring .*: {number} replicas")
        return self.replicas()

    def replicas(self) -> list[Served]:
        found = []
        for path in self._folder.glob("nitro-*/nitro.sock"):
            with suppress(ConnectionRefusedError):  # of one that was killed
                found.append(Served(path))
        return found


@contextmanager
def running() -> Iterator[Cluster]:
    python = environments.python(EXAMPLE)
    # not in the test's folder: sockets lie deep in this one, and their paths may have 107 bytes
    with tempfile.TemporaryDirectory(prefix="ray", ignore_cleanup_errors=True) as name, held_port() as port:
        shutil.copy(EXAMPLE / "app.py", name)
        config = (EXAMPLE / "config.yaml").read_text()
        for before, after in CHANGES.items():
            assert len(re.findall(rf"\b{before}\b", config)) == 1, before
            config = config.replace(before, after.format(port=port))
        Path(name, "config.yaml").write_text(config)
        with subprocess.Popen(
            [python.with_name("serve"), "run", "config.yaml"],
            cwd=name,
            env=_variables(name, python),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        ) as process:
            cluster = Cluster(process.stdout, f"http://127.0.0.1:{port}", Path(name))
            try:
                yield cluster
            finally:
                _kill_session(process.pid)
                cluster.reader.join(CEILING)


def _variables(folder: str, python: Path) -> dict[str, str]:
    interval = "RAY_SERVE_{}_AUTOSCALING_METRIC_PUSH_INTERVAL_S"
    return {
        "PATH": f"{python.parent}:{os.environ['PATH']}",
        **dict.fromkeys(("HOME", "TMPDIR", "RAY_TMPDIR"), folder),
        **dict.fromkeys((interval.format("HANDLE"), interval.format("REPLICA")), "0.5"),
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_AUTH_MODE": "disabled",
        "RAY_DEDUP_LOGS": "0",
        "RAY_SERVE_SESSION_ID_HEADER_KEY": "x-nitro-prefix",
        "PYTHONPYCACHEPREFIX": str(folders.cache() / "clients" / "pycache"),
        "NITRO_COMMAND": f"env PYTHONPATH={ROOT} {COMMAND}",
    }


def _kill_session(leader: int) -> None:
    """All that was started: Ray gives some a process group of their own, but none a session."""
    while left := [pid for pid in map(int, filter(str.isdigit, os.listdir("/proc"))) if _is_of(pid, leader)]:
        for pid in left:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def _is_of(pid: int, leader: int) -> bool:
    """Whether a process runs, and is of this session."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return int(stat[3]) == leader and stat[0] not in "ZX"


def check_scaled(cluster: Cluster, servers: list[Served]) -> None:
    """Many requests bring a fourth replica. Later one ends again, under load, and nothing is lost."""
    body = json.dumps({"model": "", "prompt": "Hello", "max_tokens": 1}).encode()
    with ExitStack() as held:
        for each in servers:
            each.signal(signal.SIGSTOP)
        for number in range(WANTED):
            key = f"x-nitro-prefix: held {number}"
            held.enter_context(raw_request(cluster.url, body, None, "/v1/completions", key))
        cluster.wait_replicas(4)
        for each in servers:
            each.signal(signal.SIGCONT)
    ending = replicas.under_load(cluster.url, range(200, 248), True)
    assert (ending.whole, ending.lost) == (48 * replicas.TURNS, [])
    cluster.wait("Removing 1 replica from")
    cluster.wait(r"Replica\(.*\) is stopped")
    assert len(cluster.replicas()) == 3


def check_replies(url: str) -> None:
    """For the server, who calls is no program of its machine; and what it refuses is told as it says it."""
    with replicas.http(url) as asked:
        assert asked.delete("/processmanager/destroy").status_code == 403
        refused = asked.post("/v1/chat/completions", json={"model": "", "messages": []})
        assert (refused.status_code, refused.json()["error"]["param"]) == (400, "messages")
