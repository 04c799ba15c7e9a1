"""The prefixes of one engine: written behind by one thread, read ahead by another, and found in memory by the engine's.

Whatever goes wrong with the disk costs what would have been found there, and no request. While the engine computes, the
writer rests for most of the time: the processor is the engine's.
"""

import contextlib
import logging
import os
import queue
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Literal, NamedTuple

from nitro.engines.prefix_files import form
from nitro.engines.prefix_files.folder import PrefixFolder, TooLarge
from nitro.engines.prefix_files.form import Buffer, Damaged, Header
from nitro.engines.prefix_files.index import Entry, Found, PrefixIndex
from nitro.engines.prefix_files.weights import Changed

log = logging.getLogger("nitro.prefixes")

PACE = 40  # seconds that the writer rests for each that it works, while the engine computes
REFRESH = 10.0  # seconds after which is looked for what other servers have written
MAX_QUEUED = 2**30  # bytes that wait to be written

# written, or not: there was no room in the queue, or the disk would not; read, gone meanwhile, or damaged
Event = Literal["written", "dropped", "failed", "restored", "gone", "damaged"]
Report = Callable[[Event, int, int], None]  # and its tokens, and bytes
Identify = Callable[[Callable[[], None]], str]  # gets what it has to call after each few bytes that it reads


class _Write(NamedTuple):
    entry: Entry
    pieces: list[Buffer]
    size: int
    generation: int


class _Forgotten(Exception):
    """What is being written is to be forgotten."""


class PrefixFiles:
    """Of one engine. `find`, `wants`, `write` and `fetch` are the engine thread's, and wait for no disk."""

    def __init__(self, folder: PrefixFolder, index: PrefixIndex, report: Report):
        """`report`: called by any thread."""
        self._folder, self._index, self._report = folder, index, report
        self._identity = ""  # not known yet
        self._lock = threading.Condition()  # of all below
        self._writes: deque[_Write | Callable[[], None]] = deque()
        self._queued = 0  # bytes
        self._is_writing = False
        self._generation = 0  # counts how often all was forgotten
        self._reads: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._at_rest = threading.Event()
        self._worked = 0.0  # time.monotonic(): since when the writer works
        self._refreshed = 0.0
        self._complaint = ""  # that was logged last

    def start(self, identity: str | None, identify: Identify) -> None:
        """Begin. `identity`: what all of it was computed with, if that is known; else `identify` finds it, which may
        take long and is done by the writer. Nothing is found before."""
        if identity:
            self._begin(identity)
        else:
            self._writes.append(lambda: self._begin(identify(self._pause)))
        threading.Thread(target=self._write_all, name="prefix writer", daemon=True).start()
        threading.Thread(target=self._read_all, name="prefix reader", daemon=True).start()

    def rest(self, resting: bool) -> None:
        """Whether the engine computes nothing."""
        if resting != self._at_rest.is_set():
            (self._at_rest.set if resting else self._at_rest.clear)()

    def find(self, tokens: bytes, adapters: str) -> Found | None:
        """What is to be fetched for a prompt, if anything."""
        if not self._identity:
            return None
        now = time.monotonic()
        if now - self._refreshed > REFRESH:
            self._refreshed = now
            self._reads.put(self._refresh)
        with self._lock:
            return self._index.find(tokens, adapters)

    def wants(self, tokens: bytes, adapters: str) -> bool:
        """Whether what a slot holds is to be written."""
        with self._lock:
            return self._index.is_worth_writing(tokens, adapters)

    def write(self, tokens: bytes, adapters: str, pieces: list[Buffer], room: int) -> None:
        """Write a state soon. `room`: bytes of memory that what waits may take; beyond, this one is not written."""
        entry = Entry(form.name_of(tokens, adapters), adapters, tokens, is_there=False)
        size = sum(memoryview(piece).nbytes for piece in pieces)
        with self._lock:
            if self._queued and self._queued + size > min(MAX_QUEUED, room):
                self._report("dropped", entry.length, size)
                return
            self._index.add(entry)
            self._queued += size
            self._writes.append(_Write(entry, pieces, size, self._generation))
            self._lock.notify_all()

    def fetch(self, found: Found, done: Callable[[memoryview | None], None]) -> None:
        """Read a state. `done` is called by another thread, with None where there is no such state any more."""
        generation = self._generation

        def read() -> None:
            state = self._read(found.entry)
            done(state if generation == self._generation else None)

        self._reads.put(read)

    def forget(self, done: Callable[[], None]) -> None:
        """Write nothing that waits, and find nothing that was there. `done` is called by another thread when nothing
        of that is being written any more; files are not removed."""
        with self._lock:
            self._generation += 1
            self._writes = deque(job for job in self._writes if not isinstance(job, _Write))
            self._queued = 0
            self._index.clear()
            self._writes.append(done)
            self._lock.notify_all()

    def drain(self, until: float) -> bool:
        """Wait until all is written, or until the clock (time.monotonic) shows so much. Returns whether it is."""
        self.rest(True)
        with self._lock:
            return self._lock.wait_for(
                lambda: not self._writes and not self._is_writing, max(until - time.monotonic(), 0)
            )

    # The writer

    def _write_all(self) -> None:
        while True:
            with self._lock:
                self._lock.wait_for(lambda: self._writes)
                job = self._writes.popleft()
                self._is_writing = True
            self._worked = time.monotonic()
            try:
                self._write(job) if isinstance(job, _Write) else job()
            except Changed as error:
                log.warning("--prefix-cache: %s Nothing is kept of it.", error)
            except Exception:  # a fault of ours costs no request
                log.exception("the prefix cache has a fault")
            finally:
                with self._lock:
                    self._is_writing = False
                    if isinstance(job, _Write) and job.generation == self._generation:
                        self._queued -= job.size
                    self._lock.notify_all()
                del job  # which may hold much memory

    def _begin(self, identity: str) -> None:
        try:
            self._folder.prepare()
            for name in self._folder.names(identity):
                self._look(identity, name)
        except OSError as error:
            self._complain(f"--prefix-cache {self._folder.path} cannot be read: {error.strerror or error}.")
        self._refreshed = time.monotonic()
        self._identity = identity

    def _write(self, job: _Write) -> None:
        entry = job.entry
        header = Header(self._identity, entry.adapters, entry.tokens, job.size)
        if not self._identity or job.generation != self._generation:
            return self._lose(entry)
        try:
            self._folder.add(
                self._identity,
                entry.name,
                form.file_size(header),
                lambda fd: form.write(fd, header, job.pieces, lambda: self._pause(job.generation)),
            )
        except _Forgotten:
            return
        except OSError as error:
            self._lose(entry)
            self._report("failed", entry.length, job.size)
            if not isinstance(error, TooLarge):
                why = error.strerror or error
                self._complain(f"--prefix-cache {self._folder.path} cannot be written: {why}. Prefixes are not kept.")
            return
        self._complaint = ""
        with self._lock:
            forgotten = job.generation != self._generation
            if not forgotten:
                self._index.add(entry._replace(is_there=True))
            gone = [] if forgotten else self._index.superseded(entry)
            for other in gone:
                self._index.remove(other.name)
        with contextlib.suppress(OSError):
            for other in [entry] if forgotten else gone:
                self._folder.remove(self._identity, other.name)
        if not forgotten:
            self._report("written", entry.length, job.size)

    def _lose(self, entry: Entry) -> None:
        with self._lock:
            self._index.remove(entry.name)

    def _pause(self, generation: int | None = None) -> None:
        """Called often by whoever works on the writer's thread."""
        if generation is not None and generation != self._generation:
            raise _Forgotten
        if not self._at_rest.is_set():
            self._at_rest.wait(PACE * (time.monotonic() - self._worked))
        self._worked = time.monotonic()

    # The reader

    def _read_all(self) -> None:
        while True:
            job = self._reads.get()
            try:
                job()
            except Exception:
                log.exception("the prefix cache has a fault")

    def _read(self, entry: Entry) -> memoryview | None:
        wanted = Header(self._identity, entry.adapters, entry.tokens, 0)
        try:
            fd = self._folder.open(self._identity, entry.name)
            try:
                state = form.read_state(fd, wanted)
            finally:
                os.close(fd)
            self._folder.touch(self._identity, entry.name)
        except FileNotFoundError:
            self._lose(entry)
            self._report("gone", entry.length, 0)
        except Damaged as error:
            self._damaged(self._identity, entry.name, error)
            self._lose(entry)
        except (OSError, ValueError) as error:  # mmap
            self._complain(f"--prefix-cache {self._folder.path} cannot be read: {error}.")
        else:
            return state
        return None

    def _refresh(self) -> None:
        """See what others have written and removed."""
        try:
            there = self._folder.names(self._identity)
            with self._lock:
                known, generation = self._index.names, self._generation
                for name in known - there:
                    self._index.remove(name)
            for name in there - known:
                self._look(self._identity, name, generation)
        except OSError as error:
            self._complain(f"--prefix-cache {self._folder.path} cannot be read: {error.strerror or error}.")

    def _look(self, identity: str, name: str, generation: int = 0) -> None:
        """Have a file in the index that was found in the folder. Raises OSError."""
        try:
            fd = self._folder.open(identity, name)
        except FileNotFoundError:
            return
        try:
            header = form.read_header(fd)
            if header.identity != identity or header.name != name:
                raise Damaged("it holds something else")
        except Damaged as error:
            return self._damaged(identity, name, error)
        finally:
            os.close(fd)
        with self._lock:
            if generation == self._generation:
                self._index.add(Entry(name, header.adapters, header.tokens))

    def _damaged(self, identity: str, name: str, error: Damaged) -> None:
        log.warning("the prefix %s in %s is damaged (%s), and is removed", name[:12], self._folder.path, error)
        self._report("damaged", 0, 0)
        with contextlib.suppress(OSError):
            self._folder.remove(identity, name)

    def _complain(self, complaint: str) -> None:
        """Log it, unless it was the last thing that was logged."""
        if complaint != self._complaint:
            self._complaint = complaint
            log.warning("%s", complaint)
