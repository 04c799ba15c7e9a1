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
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager

from nitro.engines.remote.workers import Worker

DESCRIPTORS = "/proc/self/fd" if sys.platform == "linux" else "/dev/fd"
# tcp_info of linux/tcp.h: milliseconds since data was sent last, and since data came last; bytes received
INFO = struct.Struct("<44xI4xI72xQ")
IDLE, INTERVAL, PROBES = 10, 5, 3  # of keep-alive: seconds and a count, after which a machine that vanished is told


class Connections:
    """To these workers. What is found stays known while its descriptor is the same."""

    def __init__(self, workers: Sequence[Worker], others: Callable[[], Collection[int | None]] = tuple):
        """`others`: descriptors of connections to workers that are not the backend's."""
        self._workers = {(worker.address, worker.port): worker for worker in workers}
        self._others = others
        self._known: dict[int, tuple[int, Worker]] = {}  # by descriptor: the socket's inode

    def keep_alive(self) -> None:
        """Have the system notice on all that are open now when a worker's machine vanishes."""
        for _, sock in self._each():
            _keep_alive(sock)

    def silence(self) -> float:
        """Seconds for which nothing was sent or came on any of them; 0: none is open, or the system does not say."""
        if sys.platform != "linux":
            return 0.0
        return min((min(_times(sock)[:2]) for _, sock in self._each()), default=0.0)

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
        others = self._others()
        for descriptor in map(int, os.listdir(DESCRIPTORS)):
            if descriptor in others:
                continue
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
    sent, came, received = _times(sock)
    return sent if sent < came or not received else 0.0


def _times(sock: socket.socket) -> tuple[float, float, int]:
    """Seconds since data was sent last, and since data came last; bytes that came in all."""
    sent, came, received = INFO.unpack(sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, INFO.size))
    return sent / 1000, came / 1000, received
