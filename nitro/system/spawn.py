"""Starts a child process with a socket to it. Needs no event loop, and imports little: it is what `nitro serve` does
first. `child_process` is such a process on the event loop.
"""

import os
import socket
import subprocess
import sys
from collections.abc import Mapping

from nitro.system import frames, logs

ENTRY = "nitro.system.child"  # the module that runs in every child, and imports the one that it is for


class Spawned:
    """A process that has begun, and our end of its socket. It ends when that is closed."""

    def __init__(self, process: subprocess.Popen[bytes], sock: socket.socket):
        self.process = process
        self.sock = sock

    def send(self, message: frames.WireMessage) -> None:
        """Send a message that is small enough for the socket's buffer: nothing reads it yet. If the process has ended
        nothing happens."""
        try:
            self.sock.sendall(frames.frame(message))
        except ConnectionError:
            pass

    def end(self) -> None:
        """Kill the process, and wait until it is gone."""
        self.sock.close()
        self.process.kill()
        self.process.wait()


def spawn(module: str, *descriptors: int, environment: Mapping[str, str] | None = None) -> Spawned:
    """Run the `main` of `module`, which finds the numbers of its socket and of `descriptors` in its arguments.

    `environment` has variables for the process; ours win. Its output goes the same way as our log. Raises OSError if no
    process can be started.
    """
    ours, theirs = socket.socketpair()
    try:
        with theirs:
            return Spawned(_popen(module, (theirs.fileno(), *descriptors), environment or {}), ours)
    except BaseException:
        ours.close()
        raise


def _popen(module: str, descriptors: tuple[int, ...], environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
    # -P: do not import from the current folder, which is the user's
    return subprocess.Popen(
        [sys.executable, "-P", "-m", ENTRY, module, *map(str, descriptors)],
        pass_fds=descriptors,
        stdin=subprocess.DEVNULL,
        stdout=logs.for_children(),
        stderr=subprocess.STDOUT,
        env={**environment, **os.environ},
        start_new_session=True,  # a Ctrl-C in the terminal is for the server alone
    )
