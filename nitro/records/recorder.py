"""Writes records on a thread of its own: requests wait for nothing, and a disk that is full or gone costs records only.

What does not get through in time is not recorded; the log says where records go, why not, and how many were lost.
"""

import asyncio
import contextlib
import logging
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import TypeVar

from nitro.records import tape as tapes
from nitro.records.folder import RecordFolder
from nitro.records.secrets import Masks
from nitro.records.tape import Tape

T = TypeVar("T")

log = logging.getLogger("nitro.records")

MAX_WAITING = 2**26  # bytes of bodies that are not written yet
PATIENCE = 5.0  # seconds that the server's end waits for what is not written yet


class Recorder:
    """The records of one server. `put` belongs to the event loop."""

    def __init__(self, folder: RecordFolder, masks: Masks):
        self.folder = folder.path
        self._folder = folder
        self._masks = masks
        self._queue: queue.SimpleQueue[Tape | Callable[[], None] | None] = queue.SimpleQueue()
        self._put = 0  # bytes so far
        self._done = 0  # of these
        self._lost = 0  # requests, not reported yet
        self._failing = False
        self._thread = threading.Thread(target=self._run, name="records", daemon=True)

    def start(self) -> None:
        """Begin to write. A folder that cannot be written is told at once."""
        self._queue.put(self._prepare)
        self._thread.start()

    def put(self, tape: Tape) -> None:
        """Have it written. Returns at once."""
        if self._put - self._done > MAX_WAITING:
            self._lost += 1
            return
        self._put += tape.size
        self._queue.put(tape)

    async def remove(self, id: str | None) -> int:
        """Delete the records with this id, or all, once what came before is written. Returns how many there were.
        Raises OSError."""
        return await asyncio.wrap_future(self._do(lambda: self._folder.remove(id)))

    async def written(self) -> None:
        """Return once all that was put is written, or lost."""
        await asyncio.wrap_future(self._do(lambda: None))

    def _do(self, job: Callable[[], T]) -> "Future[T]":
        future: Future[T] = Future()

        def run() -> None:
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(job())
                except BaseException as error:
                    future.set_exception(error)

        self._queue.put(run)
        return future

    async def close(self) -> None:
        """Write what waits, if it takes no longer than a few seconds."""
        if self._thread.ident is not None:
            self._queue.put(None)
            await asyncio.to_thread(self._thread.join, PATIENCE)

    def _run(self) -> None:
        while (job := self._queue.get()) is not None:
            if isinstance(job, Tape):
                self._write(job)
                self._done += job.size
            else:
                job()
            del job  # a tape is not held until the next one comes
        with contextlib.suppress(OSError):
            self._folder.close()

    def _prepare(self) -> None:
        try:
            self._folder.prepare()
        except OSError as error:
            self._fail(error)

    def _write(self, tape: Tape) -> None:
        try:
            exchange, template = tapes.exchange(tape, self._masks)
            self._folder.add(exchange, template)
        except OSError as error:
            self._lost += 1
            self._fail(error)
        except Exception:
            self._lost += 1
            log.exception("a request could not be recorded in %s", self.folder)
        else:
            self._recovered()

    def _fail(self, error: OSError) -> None:
        if not self._failing:
            self._failing = True
            log.error(
                "%s cannot be written (%s): requests are answered, and not recorded",
                self.folder,
                error.strerror or error,
            )

    def _recovered(self) -> None:
        if self._failing or self._lost:
            lost, self._lost, self._failing = self._lost, 0, False
            log.warning("records are written to %s again; %d requests were not recorded", self.folder, lost)


def make(folder: Path | None, most_mib: int, most_files: int, key: str | None) -> Recorder | None:
    """The recorder of a server. `key`: its own, which is in no record."""
    if folder is None:
        return None
    return Recorder(RecordFolder(folder, most_mib * 2**20, most_files), Masks([key] if key else []))
