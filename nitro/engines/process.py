"""One engine process as the server sees it: started, sent frames, read from, ended. Knows nothing of generations.

Nothing here needs a thread: a server that is out of them must still see its engine end, and start another.
"""

import asyncio
import errno
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator

from nitro.engines import wire
from nitro.engines.marks import Marks, shared_memory

BRIEF = 0.2  # seconds in which a process that closed its socket has usually ended
PATIENCE = 5.0  # seconds it has to end before it is killed
LOOK = 0.02  # seconds between two looks whether it has ended, at most

# Threads that wait for each other spin at first, in GNU's OpenMP by default for milliseconds: with another busy process
# on the machine that makes a step several times slower. A short spin costs nothing when idle.
ENVIRONMENT = {"GOMP_SPINCOUNT": "1000"}

SCARCE = {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN}


class EngineProcess:
    """Made by `start`. After its last message `how_it_ended`, then `reap`, which may be called at any time."""

    def __init__(
        self,
        process: subprocess.Popen[bytes],
        stream: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        marks: Marks | None = None,
    ):
        self._process, self._stream, self._writer, self._marks = process, stream, writer, marks

    @classmethod
    async def start(cls) -> "EngineProcess":
        """Raises OSError where no process can be had, by an errno of SCARCE where this server is short of something."""
        ours, theirs = socket.socketpair()
        process = None
        try:
            with theirs:
                memory = shared_memory()
                try:
                    marks = Marks(memory)
                    process = _spawn(theirs.fileno(), memory)
                finally:
                    os.close(memory)
            return cls(process, *await asyncio.open_connection(sock=ours), marks)
        except BaseException:
            ours.close()
            if process:
                process.kill()
                process.wait()
            raise

    @property
    def pid(self) -> int:
        return self._process.pid

    def send(self, message: wire.Message) -> None:
        self._writer.write(wire.frame(message))

    async def messages(self) -> AsyncIterator[wire.FromEngine]:
        """What it says, until its socket closes."""
        while True:
            try:
                payload = await wire.read_payload(self._stream)
            except (asyncio.IncompleteReadError, ConnectionError):
                return
            yield wire.decode_from_engine(payload)

    def at_work(self) -> set[int]:
        """The sequences that it works on, or worked on when it died."""
        return self._marks.read() if self._marks else set()

    async def how_it_ended(self) -> str:
        """A sentence, soon: it does not wait for a process that is slow to go."""
        status = await self._ended(BRIEF)
        if status is None:
            return "The engine process closed its connection."
        if status < 0:
            return f"The engine process was killed by {_signal_name(-status)}."
        return f"The engine process ended with status {status}."

    async def reap(self) -> None:
        """Close the socket, which ends it, and wait until it is gone; kill it where it does not go."""
        self._writer.close()
        if await self._ended(PATIENCE) is None:
            self._process.kill()
            await self._ended(None)

    async def _ended(self, patience: float | None) -> int | None:
        """Its status, as soon as it has one; None where patience, in seconds, ends first."""
        limit = None if patience is None else time.monotonic() + patience
        pause = LOOK / 16
        while (status := self._process.poll()) is None and (limit is None or time.monotonic() < limit):
            await asyncio.sleep(pause)
            pause = min(2 * pause, LOOK)
        return status


def _spawn(wire_fd: int, marks_fd: int) -> subprocess.Popen[bytes]:
    # -P: the current folder is the user's, and no place to import from
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "nitro.engines.worker", str(wire_fd), str(marks_fd)],
        pass_fds=[wire_fd, marks_fd],
        stdin=subprocess.DEVNULL,
        env={**ENVIRONMENT, **os.environ},
        start_new_session=True,  # a Ctrl-C in the terminal is for the server alone
    )


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # a real-time signal
        return f"signal {number}"
