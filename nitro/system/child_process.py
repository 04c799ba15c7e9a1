"""A process of ours as the server sees it: started, sent frames, read from, ended. Knows nothing of what they mean.

Nothing here needs a thread: a server that is out of them must still see its processes end, and start others.
"""

import asyncio
import errno
import itertools
import os
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Mapping
from typing import Self

from nitro.system import frames, logs, signals

BRIEF = 0.2  # seconds in which a process that closed its socket has usually ended
PATIENCE = 5.0  # seconds it has to end before it is killed
IN_A_TURN = 16  # payloads that are read in one turn of the event loop
LOOK = 0.02  # seconds between two looks whether it has ended, at most

SCARCE = {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN}


class ChildProcess:
    """Made by `spawn`. After its last payload `how_it_ended`, then `reap`, which may be called at any time."""

    name = "process"  # in sentences

    def __init__(self, process: subprocess.Popen[bytes], stream: asyncio.StreamReader, writer: asyncio.StreamWriter):
        self._process, self._stream, self._writer = process, stream, writer

    @classmethod
    async def spawn(cls, module: str, *descriptors: int, environment: Mapping[str, str] | None = None) -> Self:
        """`module` runs, with its socket's number and those of `descriptors` as arguments; `environment` counts where
        ours has no such variable. What it says goes the way of our own log.

        Raises OSError where no process can be had, by an errno of SCARCE where this server is short of something.
        """
        ours, theirs = socket.socketpair()
        process = None
        try:
            with theirs:
                process = _popen(module, (theirs.fileno(), *descriptors), environment or {})
            return cls(process, *await asyncio.open_connection(sock=ours))
        except BaseException:
            ours.close()
            if process:
                process.kill()
                process.wait()
            raise

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def status(self) -> int | None:
        """Its exit status, −n where signal n ended it; None while it runs."""
        return self._process.poll()

    def send(self, message: frames.Message, payload: list[bytes] | None = None) -> None:
        """`payload`, in pieces, is a frame of its own behind the message; it is not copied. A process that has ended
        hears nothing: `payloads` tells."""
        if self._writer.transport.is_closing():
            return
        self._writer.write(frames.frame(message))
        if payload is not None:
            self._writer.writelines([frames.length(sum(map(len, payload))), *payload])

    async def payloads(self) -> AsyncIterator[bytes]:
        """What it sends, until its socket closes. What has come already is read without waiting, but others get their
        turn in between."""
        for number in itertools.count(1):
            try:
                yield await frames.read_payload(self._stream)
            except (asyncio.IncompleteReadError, ConnectionError):
                return
            if number % IN_A_TURN == 0:
                await asyncio.sleep(0)

    async def how_it_ended(self) -> str:
        """A sentence, soon: it does not wait for a process that is slow to go."""
        status = await self._ended(BRIEF)
        if status is None:
            return f"The {self.name} closed its connection."
        if status < 0:
            return f"The {self.name} was killed by {signals.name_of(-status)}."
        return f"The {self.name} ended with status {status}."

    def kill(self) -> None:
        self._process.kill()

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


def _popen(module: str, descriptors: tuple[int, ...], environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
    # -P: the current folder is the user's, and no place to import from
    return subprocess.Popen(
        [sys.executable, "-P", "-m", module, *map(str, descriptors)],
        pass_fds=descriptors,
        stdin=subprocess.DEVNULL,
        stdout=logs.for_children(),
        stderr=subprocess.STDOUT,
        env={**environment, **os.environ},
        start_new_session=True,  # a Ctrl-C in the terminal is for the server alone
    )
