"""One engine process as the server sees it: started, sent frames, read from, ended. Knows nothing of generations."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator

from nitro import logs
from nitro.engines import wire

BRIEF = 0.2  # seconds in which a process that closed its socket has usually ended
PATIENCE = 5.0  # seconds it has to end before it is killed

# Threads that wait for each other spin at first, in GNU's OpenMP by default for milliseconds: with another busy process
# on the machine that makes a step several times slower. A short spin costs nothing when idle.
ENVIRONMENT = {"GOMP_SPINCOUNT": "1000"}


class EngineProcess:
    """Made by `start`. After its last message `how_it_ended`, then `reap`, which may be called at any time."""

    def __init__(self, process: subprocess.Popen[bytes], stream: asyncio.StreamReader, writer: asyncio.StreamWriter):
        self._process, self._stream, self._writer = process, stream, writer

    @classmethod
    async def start(cls) -> "EngineProcess":
        """Raises OSError where no process can be had."""
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                # -P: the current folder is the user's, and no place to import from
                process = subprocess.Popen(
                    [sys.executable, "-P", "-m", "nitro.engines.worker", str(theirs.fileno())],
                    pass_fds=[theirs.fileno()],
                    stdin=subprocess.DEVNULL,
                    stdout=logs.for_children(),
                    stderr=subprocess.STDOUT,
                    env={**ENVIRONMENT, **os.environ},
                    start_new_session=True,  # a Ctrl-C in the terminal is for the server alone
                )
        except OSError:
            ours.close()
            raise
        return cls(process, *await asyncio.open_connection(sock=ours))

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

    async def how_it_ended(self) -> str:
        """A sentence, soon: it does not wait for a process that is slow to go."""
        try:
            status = await asyncio.to_thread(self._process.wait, BRIEF)
        except subprocess.TimeoutExpired:
            return "The engine process closed its connection."
        if status < 0:
            return f"The engine process was killed by {_signal_name(-status)}."
        return f"The engine process ended with status {status}."

    async def reap(self) -> None:
        """Close the socket, which ends it, and wait until it is gone; kill it where it does not go."""
        self._writer.close()
        try:
            await asyncio.to_thread(self._process.wait, PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            await asyncio.to_thread(self._process.wait)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # a real-time signal
        return f"signal {number}"
