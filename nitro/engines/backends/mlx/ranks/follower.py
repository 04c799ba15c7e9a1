"""The process of a rank other than 0: it finds rank 0, loads its part of the model, and makes the calls that it is
told.

It ends when its connection to rank 0 closes, whatever it is doing, and on Linux when the process that started it ends.
"""

from __future__ import annotations

import logging
import os
import queue
import signal
import socket
import sys
import threading

import msgspec

from nitro.engines.backends.mlx.ranks import meeting, pulse, wire
from nitro.engines.backends.mlx.ranks.starting import end_with_parent
from nitro.engines.backends.mlx.ranks.wire import Alive, Arrived, Call, Errand, Failed, Hello, Join, Loaded, Meet, Pulse
from nitro.engines.runner import LoadError
from nitro.errors import reason
from nitro.system import frames
from nitro.system.frames import WireMessage
from nitro.system.memory import free_host_memory

log = logging.getLogger("nitro.ranks")

PATIENCE = 8.0  # seconds to connect to rank 0


class Link:
    """The connection to rank 0. Any thread may send."""

    def __init__(self, sock: socket.socket):
        self._sock = sock
        self._sending = threading.Lock()
        self.calls: queue.SimpleQueue[Join | Meet | Call] = queue.SimpleQueue()

    def send(self, message: WireMessage) -> None:
        """If rank 0 is gone nothing happens: this process ends."""
        try:
            with self._sending:
                self._sock.sendall(frames.frame(message))
        except OSError:
            os._exit(0)

    def read(self) -> None:
        """On a thread of its own: what comes goes into `calls`. The end of the connection ends the process."""
        try:
            for payload in frames.payloads(self._sock):
                self.calls.put(wire.decode_at_others(payload))
            os._exit(0)
        except OSError:
            os._exit(0)
        except Exception:
            log.exception("what rank 0 says cannot be read")
            os._exit(1)

    def live(self, pause: float) -> None:
        """On a thread of its own: that threads run, every so many seconds."""
        while True:
            self.send(Alive(free_host_memory()))
            threading.Event().wait(pause)


def main() -> None:
    """The errand is the first line of the standard input."""
    end_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    errand = msgspec.json.decode(sys.stdin.readline(), type=Errand)
    beats = _connected(errand)
    beats.sendall(frames.frame(Pulse(errand.secret, errand.rank)))
    pulse.give(beats)
    from nitro.engines.backends.mlx.ranks.team import versions

    hello = Hello(errand.secret, errand.rank, versions(), free_host_memory(), meeting.free_ports(errand.addresses))
    link = Link(_connected(errand))  # not before: rank 0 waits for no Hello
    link.send(hello)
    threading.Thread(target=link.read, name="reader", daemon=True).start()
    join = link.calls.get()
    assert isinstance(join, Join)
    threading.Thread(target=link.live, args=(join.beat,), name="threads run", daemon=True).start()
    logging.basicConfig(
        level=join.spec.log_level.upper(), format=f"%(levelname)s rank {errand.rank} %(name)s: %(message)s"
    )
    try:
        _serve(link, errand.rank, join)
    except LoadError as error:
        link.send(Failed(str(error)))
    except BaseException as error:
        log.debug("this rank cannot go on", exc_info=error)
        link.send(Failed(reason(error)))
    threading.Event().wait()  # for rank 0 to end it


def _connected(errand: Errand) -> socket.socket:
    try:
        sock = socket.create_connection((errand.host, errand.port), PATIENCE)
    except OSError as error:
        sys.exit(f"rank {errand.rank} does not reach rank 0 at {errand.host} port {errand.port}: {error}")
    sock.settimeout(None)
    wire.keep(sock)
    return sock


def _serve(link: Link, rank: int, join: Join) -> None:
    """Load, and make calls for ever. Raises LoadError, and what a call raises."""
    from nitro.engines.backends.mlx.ranks import group  # MLX looks at the environment as it is now
    from nitro.engines.backends.mlx.ranks.replay import Replay
    from nitro.engines.backends.mlx.runner import MlxRunner

    link.send(Arrived())
    meet = link.calls.get()
    assert isinstance(meet, Meet)
    found = group.join(rank, join)
    member = group.Rank(found, join.names, join.beside, join.spec.pipeline, ready=lambda: link.send(Loaded()))
    replay = Replay(MlxRunner(join.spec, member))
    while True:
        call = link.calls.get()
        assert not isinstance(call, Join | Meet)
        replay.make(call)
