"""The sockets that the RPC backend has in this process, and what the system says of them: which worker is gone, and
which has not answered what was sent to it.

The backend opens and closes them by itself, and has no time limit for an answer. They are found among the process's
file descriptors by who is at the other end, and are its own: nothing here reads, writes, closes or keeps one.
"""

import os
import socket
import stat
import struct
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from nitro.engines.remote.workers import Worker

DESCRIPTORS = "/proc/self/fd" if sys.platform == "linux" else "/dev/fd"
# tcp_info of linux/tcp.h: milliseconds since data was sent last, and since data came last
INFO = struct.Struct("<44xI4xI")
IDLE, INTERVAL, PROBES = 10, 5, 3  # of keep-alive: seconds and a count, after which a machine that vanished is told


class Connections:
    """To these workers. What is found stays known while its descriptor is the same."""

    def __init__(self, workers: Sequence[Worker]):
        self._workers = {(worker.address, worker.port): worker for worker in workers}
        self._known: dict[int, tuple[int, Worker]] = {}  # by descriptor: the socket's inode

    def limit(self, seconds: float) -> None:
        """Let an answer take so long at most, 0: any time, on all that are open now. The backend takes a longer one for
        a worker that is gone."""
        long = struct.pack("@ll", int(seconds), 0)
        for _, sock in self._each():
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, long)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, long)
            _keep_alive(sock)

    def gone(self) -> list[str]:
        """The names of those whose end of the connection is closed."""
        return [worker.name for worker, sock in self._each() if _is_closed(sock)]

    def awaited(self, longer: float) -> dict[str, float]:
        """By name, for how many seconds those have not answered what was sent to them, if that is longer than so. Empty
        where the system does not say."""
        found = {}
        for worker, sock in self._each():
            seconds = _waiting(sock)
            if seconds > longer:
                found[worker.name] = seconds
        return found

    def _each(self) -> Iterator[tuple[Worker, socket.socket]]:
        for descriptor in map(int, os.listdir(DESCRIPTORS)):
            with _borrowed(descriptor) as sock:
                if sock and (worker := self._worker(descriptor, sock)):
                    yield worker, sock

    def _worker(self, descriptor: int, sock: socket.socket) -> Worker | None:
        """Who is at the other end. Of a connection that was reset only what was known before tells it."""
        inode = os.fstat(sock.fileno()).st_ino
        known = self._known.get(descriptor)
        if known and known[0] == inode:
            return known[1]
        try:
            worker = self._workers.get(sock.getpeername()[:2])
        except OSError:
            return None
        if worker:
            self._known[descriptor] = (inode, worker)
        return worker


def keep_clients_alive(port: int) -> None:
    """As a worker that listens on this port: have the system notice when a client's machine vanishes, which else kept
    the worker from others for ever. Connections inherit it from the socket that listens."""
    for descriptor in map(int, os.listdir(DESCRIPTORS)):
        with _borrowed(descriptor) as sock:
            if sock and sock.getsockname()[1] == port:
                _keep_alive(sock)


def _keep_alive(sock: socket.socket) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (("TCP_KEEPIDLE", IDLE), ("TCP_KEEPINTVL", INTERVAL), ("TCP_KEEPCNT", PROBES)):
        if hasattr(socket, name):
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


@contextmanager
def _borrowed(descriptor: int) -> Iterator[socket.socket | None]:
    """The socket behind a descriptor, by a second one for a moment; None: there is none."""
    try:
        if not stat.S_ISSOCK(os.fstat(descriptor).st_mode):
            yield None
            return
        sock = socket.socket(fileno=os.dup(descriptor))
    except OSError:
        yield None
        return
    with sock:
        yield sock if sock.family == socket.AF_INET else None


def _is_closed(sock: socket.socket) -> bool:
    try:
        return sock.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True


def _waiting(sock: socket.socket) -> float:
    """Seconds since something was sent, if nothing has come since; 0: something has, or it is not known."""
    if sys.platform != "linux":
        return 0.0
    sent, came = INFO.unpack(sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, INFO.size))
    return float(sent / 1000) if sent < came else 0.0
