"""A child process as the server sees it: started, sent frames, read from, and ended. It knows no message.

Nothing here needs a thread: a server that cannot start one must still see its processes end, and start others.
"""

import asyncio
import errno
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from typing import Self

from nitro.system import frames, signals
from nitro.system.frame_connection import FrameConnection
from nitro.system.spawn import Spawned, spawn

BRIEF = 0.2  # seconds in which a process that closed its socket has usually ended
PATIENCE = 5.0  # seconds that a process has to end before it is killed
MAX_POLL_INTERVAL = 0.02  # seconds between two checks whether the process has ended

MAXRSS_UNIT = 1 if sys.platform == "darwin" else 1024  # bytes, of ru_maxrss (getrusage(2))
SCARCE = {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN}  # errors of a server that is short of something


class ChildProcess:
    """Made by `spawn`. After its last payload call `how_it_ended`, then `reap`, which may be called at any time."""

    name = "process"  # in messages

    def __init__(self, process: subprocess.Popen[bytes], connection: FrameConnection):
        self._process = process
        self._connection = connection
        self.peak = 0  # bytes that it had in main memory at most, once it has ended; 0: not known

    @classmethod
    async def attach(cls, spawned: Spawned) -> Self:
        """The process on the running event loop. Kills it where that fails. Raises OSError."""
        try:
            return cls(spawned.process, await FrameConnection.connect(spawned.sock))
        except BaseException:
            spawned.end()
            raise

    @classmethod
    async def spawn(cls, module: str, *descriptors: int, environment: Mapping[str, str] | None = None) -> Self:
        """Start one, as `spawn.spawn` does. Raises OSError if no process can be started, with an errno of SCARCE if
        this server is short of something."""
        return await cls.attach(spawn(module, *descriptors, environment=environment))

    @property
    def pid(self) -> int:
        """The id of the process."""
        return self._process.pid

    @property
    def status(self) -> int | None:
        """The exit status, −n if signal n ended the process, or None while it runs."""
        if self._process.returncode is None:
            try:  # as `poll` does, but that this tells what the process took
                pid, status, usage = os.wait4(self._process.pid, os.WNOHANG)
            except ChildProcessError:
                return self._process.poll()
            if pid:
                self._process.returncode = os.waitstatus_to_exitcode(status)
                self.peak = usage.ru_maxrss * MAXRSS_UNIT
        return self._process.returncode

    def send(self, message: frames.WireMessage, payload: list[bytes] | None = None) -> None:
        """Send a message, and `payload`, which is in pieces and is not copied, as a second frame.

        If the process has ended nothing happens.
        """
        pieces = [frames.frame(message)]
        if payload is not None:
            pieces += [frames.length(sum(map(len, payload))), *payload]
        self._connection.send(pieces)

    async def burst(self) -> list[bytes]:
        """The next payloads that it sends, together as they come; none: its socket has closed."""
        return await self._connection.burst()

    async def listen(self, receive: Callable[[list[bytes]], None]) -> None:
        """Hand over what it sends, in the calls that bring it, until its socket closes. Raises what `receive` does."""
        await self._connection.listen(receive)

    async def how_it_ended(self) -> str:
        """A sentence for people. It comes soon: a process that is slow to end is not waited for."""
        status = await self._ended(BRIEF)
        if status is None:
            return f"The {self.name} closed its connection."
        if status < 0:
            return f"The {self.name} was killed by {signals.name_of(-status)}."
        return f"The {self.name} ended with status {status}."

    def kill(self) -> None:
        """Send SIGKILL."""
        self._process.kill()

    def abandon(self) -> None:
        """Send SIGKILL, and hear nothing more of it, though it may take its time to end."""
        self._process.kill()
        self._connection.abort()

    async def reap(self) -> None:
        """Close the socket, which ends the process, and wait until it is gone. Kill it if that takes too long."""
        self._connection.close()
        if await self._ended(PATIENCE) is None:
            self._process.kill()
            await self._ended(None)

    async def _ended(self, patience: float | None) -> int | None:
        """The exit status as soon as there is one, or None after `patience` seconds."""
        limit = None if patience is None else time.monotonic() + patience
        pause = MAX_POLL_INTERVAL / 16
        while (status := self.status) is None and (limit is None or time.monotonic() < limit):
            await asyncio.sleep(pause)
            pause = min(2 * pause, MAX_POLL_INTERVAL)
        return status
