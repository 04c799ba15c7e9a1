"""What this process says on standard error, written by a thread of its own: nobody ever waits for who reads it.

A pipe that nobody reads is full after 64 KB, and a write to it never returns. So lines go into a queue that is bounded;
what does not fit is dropped, and it is told how much was as soon as lines come through again. What an engine process
says comes by a pipe that is always read, and goes the same way.
"""

import atexit
import collections
import functools
import io
import logging
import os
import select
import sys
import threading
from typing import IO

ROOM = 2**20  # bytes that wait
LONGEST = 2**14  # bytes of one message; the rest is cut off, as some of it is what a client sent
PATIENCE = 1.0  # seconds for which the end of the process waits for what is not written yet
DROPPED = b"%d lines of the log were dropped: nobody read them in time.\n"
FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


class Sink:
    """Lines on their way to a descriptor. `put` and `flush` never raise; any thread may call them."""

    def __init__(self, descriptor: int, room: int = ROOM):
        self._descriptor, self._room = descriptor, room
        self._waiting: collections.deque[bytes] = collections.deque()
        self._size = 0  # bytes not written yet
        self._dropped = 0  # lines, not told yet
        self._changed = threading.Condition()
        threading.Thread(target=self._run, name="log", daemon=True).start()

    def put(self, lines: bytes) -> None:
        """One line or several, with their ends. Returns at once."""
        if len(lines) > LONGEST:
            lines = lines[:LONGEST] + b"...\n"
        with self._changed:
            if self._size + len(lines) > self._room:
                self._dropped += lines.count(b"\n")
                return
            self._size += len(lines)
            self._waiting.append(lines)
            self._changed.notify_all()

    def flush(self, patience: float = PATIENCE) -> None:
        """Wait until all is written, but not for longer than `patience`, in seconds."""
        with self._changed:
            self._changed.wait_for(lambda: not self._size, patience)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting)
                lines = self._waiting.popleft()
            written = self._write(lines)
            with self._changed:
                if not written:
                    self._dropped += lines.count(b"\n")
                told = self._dropped if written and not self._waiting else 0
                self._dropped -= told
                self._size -= len(lines)
                self._changed.notify_all()
            if told and not self._write(DROPPED % told):
                self._dropped += told

    def _write(self, lines: bytes) -> bool:
        """Whether it worked. Nobody may be there, or the disk be full."""
        while lines:
            try:
                lines = lines[os.write(self._descriptor, lines) :]
            except BlockingIOError:  # whoever shares the descriptor has made it so
                poll = select.poll()
                poll.register(self._descriptor, select.POLLOUT)
                poll.poll()
            except OSError:
                return False
        return True


class _Stream(io.TextIOBase):
    """In the place of sys.stderr."""

    def __init__(self, sink: Sink, replaced: IO[str]):
        self._sink, self._replaced = sink, replaced
        self._begun: dict[int, str] = {}  # by thread, what has no end of line yet

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return "utf-8"

    def writable(self) -> bool:
        return True

    def isatty(self) -> bool:
        return self._replaced.isatty()

    def fileno(self) -> int:
        return self._replaced.fileno()

    def write(self, text: str) -> int:
        whole, end, rest = (self._begun.pop(threading.get_ident(), "") + text).rpartition("\n")
        if rest:
            self._begun[threading.get_ident()] = rest
        if end:
            self._sink.put((whole + end).encode(errors="backslashreplace"))
        return len(text)


_sink: Sink | None = None


def install(level: str) -> None:
    """Once a process: from now on what Python code writes to standard error, the log included, goes through a queue."""
    global _sink
    try:
        descriptor = sys.stderr.fileno()
    except (OSError, AttributeError):
        pass  # no file: a test catches what is said
    else:
        _sink = Sink(descriptor)
        sys.stderr = _Stream(_sink, sys.stderr)
        atexit.register(_sink.flush)
        for_children()
    logging.basicConfig(level=level.upper(), format=FORMAT)


@functools.cache
def for_children() -> int:
    """A descriptor for the output of processes that this one starts. One thread reads it for all of them, so that they
    never wait, whatever becomes of standard error."""
    reader, writer = os.pipe()
    thread = threading.Thread(target=_relay, args=(reader,), name="relay", daemon=True)
    thread.start()
    atexit.register(_end, writer, thread)  # before the sink is flushed: last come, first served
    return writer


def _end(writer: int, thread: threading.Thread) -> None:
    """The last words of processes that have ended."""
    os.close(writer)
    thread.join(PATIENCE)


def _relay(reader: int) -> None:
    begun = b""
    while part := os.read(reader, 2**16):
        whole, end, begun = (begun + part).rpartition(b"\n")
        if len(begun) > LONGEST:
            whole, end, begun = whole + end + begun, b"\n", b""
        _pass_on(whole + end)
    _pass_on(begun and begun + b"\n")


def _pass_on(lines: bytes) -> None:
    if _sink:
        for line in lines.splitlines(keepends=True):
            _sink.put(line)
    elif lines:
        try:
            os.write(2, lines)
        except OSError:
            pass
