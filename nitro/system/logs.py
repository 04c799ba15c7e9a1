"""Standard error of this process, written by a thread of its own: nothing ever waits for whoever reads it.

A pipe that nobody reads is full after 64 KB, and a write to it never returns. So lines go into a bounded queue. What
does not fit is dropped, and the number of dropped lines is reported as soon as lines get through again. The output of
an engine process comes through a pipe that is always read, and takes the same way.
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
import time
from typing import IO

MAX_WAITING = 2**20  # bytes in the queue
MAX_MESSAGE = 2**14  # bytes; longer ones are cut, as they may quote what a client sent
PAUSE = 0.01  # seconds in which more lines may come, to be written together: each wake takes the processor from others
PATIENCE = 1.0  # seconds that the end of the process waits for what is not written yet
DROPPED = b"%d lines of the log were dropped: nobody read them in time.\n"
FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


class Sink:
    """A queue of `limit` bytes for lines to a descriptor. `put` and `flush` never raise; any thread may call them."""

    def __init__(self, descriptor: int, limit: int = MAX_WAITING):
        self._descriptor = descriptor
        self._limit = limit
        self._waiting: collections.deque[bytes] = collections.deque()
        self._size = 0  # bytes not written yet
        self._dropped = 0  # lines, not reported yet
        self._changed = threading.Condition()
        threading.Thread(target=self._run, name="log", daemon=True).start()

    def put(self, lines: bytes) -> None:
        """Queue one line or several, each with its line end. Returns at once."""
        if len(lines) > MAX_MESSAGE:
            lines = lines[:MAX_MESSAGE] + b"...\n"
        with self._changed:
            if self._size + len(lines) > self._limit:
                self._dropped += lines.count(b"\n")
                return
            self._size += len(lines)
            self._waiting.append(lines)
            self._changed.notify_all()

    def flush(self, patience: float = PATIENCE) -> None:
        """Wait until everything is written, at most `patience` seconds."""
        with self._changed:
            self._changed.wait_for(lambda: not self._size, patience)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting)
            time.sleep(PAUSE)
            with self._changed:
                lines = b"".join(self._waiting)
                self._waiting.clear()
            written = self._write(lines)
            with self._changed:
                if not written:
                    self._dropped += lines.count(b"\n")
                reported = self._dropped if written and not self._waiting else 0
                self._dropped -= reported
                self._size -= len(lines)
                self._changed.notify_all()
            if reported and not self._write(DROPPED % reported):
                self._dropped += reported

    def _write(self, lines: bytes) -> bool:
        """Returns whether it worked: the reader may be gone, or the disk full."""
        while lines:
            try:
                lines = lines[os.write(self._descriptor, lines) :]
            except BlockingIOError:  # another process that shares the descriptor has made it non-blocking
                poll = select.poll()
                poll.register(self._descriptor, select.POLLOUT)
                poll.poll()
            except OSError:
                return False
        return True


class _Formatter(logging.Formatter):
    """Writes the time as logging does, and makes the text of each second once."""

    _second = -1
    _text = ""

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:
        second = int(record.created)
        if second != self._second:
            self._second, self._text = second, time.strftime(self.default_time_format, time.localtime(second))
        return f"{self._text},{int(record.msecs):03d}"


class _Stream(io.TextIOBase):
    """Replaces sys.stderr."""

    def __init__(self, sink: Sink, replaced: IO[str]):
        self._sink = sink
        self._replaced = replaced
        self._begun: dict[int, str] = {}  # by thread: a line that has not ended yet

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
        thread = threading.get_ident()
        lines, end, begun = (self._begun.pop(thread, "") + text).rpartition("\n")
        if begun:
            self._begun[thread] = begun
        if end:
            self._sink.put((lines + end).encode(errors="backslashreplace"))
        return len(text)


_sink: Sink | None = None


def install(level: str) -> None:
    """Send everything that Python code writes to standard error, including the log, through a queue. Call it once."""
    global _sink
    try:
        descriptor = sys.stderr.fileno()
    except (OSError, AttributeError):
        pass  # no file: a test captures the output
    else:
        _sink = Sink(descriptor)
        sys.stderr = _Stream(_sink, sys.stderr)
        atexit.register(_sink.flush)
        for_children()
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False  # FORMAT has none of it
    logging.basicConfig(level=level.upper(), format=FORMAT)
    for handler in logging.getLogger().handlers:
        handler.setFormatter(_Formatter(FORMAT))


@functools.cache
def for_children() -> int:
    """A descriptor for the output of the processes that this one starts.

    One thread reads it for all of them, so that they never wait, whatever happens to standard error.
    """
    reader, writer = os.pipe()
    thread = threading.Thread(target=_relay, args=(reader,), name="relay", daemon=True)
    thread.start()
    atexit.register(_end, writer, thread)  # runs before the sink is flushed: the last to register runs first
    return writer


def _end(writer: int, thread: threading.Thread) -> None:
    """Pass on what ended processes have written last."""
    os.close(writer)
    thread.join(PATIENCE)


def _relay(reader: int) -> None:
    begun = b""
    while part := os.read(reader, 2**16):
        lines, end, begun = (begun + part).rpartition(b"\n")
        lines += end
        if len(begun) > MAX_MESSAGE:
            lines += begun + b"\n"
            begun = b""
        _pass_on(lines)
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
