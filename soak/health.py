"""`/health`, polled at fixed times by a process of its own, on a connection of its own.

A poll that is due while another waits for its answer is late, and not left out: its time counts from when it was due.
So a stall of one second makes a hundred late polls, as it would for a hundred clients.
"""

import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass

from bench.processes import HOST
from nitro.bench.stats import percentile
from soak.servers import ROOT, environment

INTERVAL = 0.01  # seconds between two polls
POLL_TIMEOUT = 60.0  # seconds
READY = b"HTTP/1.1 200"


@dataclass(frozen=True)
class Health:
    """Times in milliseconds. `bad`: polls without an answer, or with one other than 200."""

    p50: float
    p99: float
    longest: float
    polls: int
    bad: int

    @classmethod
    def of(cls, polls: Sequence[tuple[float, bool]]) -> "Health":
        """From the seconds of each poll, and whether its answer was good."""
        values = [1000 * seconds for seconds, _ in polls]
        p50, p99, longest = (percentile(values, share) for share in (0.5, 0.99, 1.0))
        return cls(p50, p99, longest, len(polls), sum(not good for _, good in polls))

    def cells(self) -> list[str]:
        """The cells of a table: p50, p99 and the longest."""
        return [f"{value:.1f}" for value in (self.p50, self.p99, self.longest)]


class Watch:
    """Runs the polling process while this is entered."""

    def __init__(self, port: int):
        self._port = port

    def __enter__(self) -> "Watch":
        command = [sys.executable, "-P", "-m", "soak.health", str(self._port)]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=environment()
        )
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin and self._process.stdout
        self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()

    def between(self, begin: float, end: float) -> Health:
        """The polls that were due from `begin` to `end` on the monotonic clock. Waits for the answer to the last
        one."""
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write(f"{begin} {end}\n")
        self._process.stdin.flush()
        return Health.of([(seconds, good) for seconds, good in json.loads(self._process.stdout.readline())])


class _Poller(threading.Thread):
    def __init__(self, port: int):
        super().__init__(daemon=True)
        self._port = port
        self._socket: socket.socket | None = None
        self._polls: list[tuple[float, float, bool]] = []  # due, seconds, whether it was good
        self._lock = threading.Lock()
        self._due = time.monotonic()

    def run(self) -> None:
        while True:
            time.sleep(max(self._due - time.monotonic(), 0))
            good = self._poll()
            now = time.monotonic()
            with self._lock:
                while self._due <= now:
                    self._polls.append((self._due, now - self._due, good))
                    self._due += INTERVAL

    def between(self, begin: float, end: float) -> list[tuple[float, bool]]:
        given_up = time.monotonic() + POLL_TIMEOUT
        while self._due <= end and time.monotonic() < given_up:
            time.sleep(INTERVAL)
        with self._lock:
            found = [(seconds, good) for due, seconds, good in self._polls if begin <= due <= end]
            now, due = time.monotonic(), self._due
        while due <= end:  # these have no answer yet
            if due >= begin:
                found.append((now - due, False))
            due += INTERVAL
        return found or [(0.0, False)]

    def _poll(self) -> bool:
        try:
            if self._socket is None:
                self._socket = socket.create_connection((HOST, self._port), POLL_TIMEOUT)
                self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._socket.sendall(b"GET /health HTTP/1.1\r\nHost: %s:%d\r\n\r\n" % (HOST.encode(), self._port))
            return self._read(self._socket).startswith(READY)
        except OSError:
            if self._socket:
                self._socket.close()
            self._socket = None
            return False

    def _read(self, sock: socket.socket) -> bytes:
        """A complete reply. Raises OSError."""
        got = b""
        while b"\r\n\r\n" not in got:
            got += self._receive(sock)
        headers, _, body = got.partition(b"\r\n\r\n")
        named = dict(line.lower().split(b":", 1) for line in headers.split(b"\r\n")[1:])
        missing = int(named.get(b"content-length", b"0")) - len(body)
        while missing > 0:
            missing -= len(self._receive(sock))
        return got

    def _receive(self, sock: socket.socket) -> bytes:
        if not (data := sock.recv(65536)):
            raise ConnectionError
        return data


def main() -> None:
    """Poll until stdin closes. For each line "BEGIN END" print the polls of that time as JSON."""
    poller = _Poller(int(sys.argv[1]))
    poller.start()
    for line in sys.stdin:
        begin, end = map(float, line.split())
        print(json.dumps(poller.between(begin, end)), flush=True)


if __name__ == "__main__":
    main()
