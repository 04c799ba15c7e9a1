"""A database for the event loop: a thread of its own does what is asked, one thing after the other.

What has been handed to the thread is done, whoever leaves meanwhile.
"""

import asyncio
import concurrent.futures
import contextlib
import logging
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from nitro.errors import NitroError, StateError
from nitro.state.database import Database, Job
from nitro.state.owners import Owners
from nitro.state.schema import Schema

T = TypeVar("T")

log = logging.getLogger("nitro.state")


class DatabaseThread:
    """One database of a server. It touches nothing before it is needed."""

    def __init__(self, folder: Path, schema: Schema):
        self._database = Database(folder, schema)
        self._owners = Owners(folder)
        self._thread = ThreadPoolExecutor(1, "state")
        self._owed: deque[Job[Any]] = deque()

    @property
    def database(self) -> Database:
        """Of the thread: use it in jobs only."""
        return self._database

    async def exists(self) -> bool:
        """Whether there is a file."""
        return await self._ask(lambda: self._database.exists)

    async def read(self, job: Job[T]) -> T:
        """The job's result. Raises StateError, and what the job raises."""
        asked = time.monotonic()
        return await self._ask(lambda: self._database.read(job, time.monotonic() - asked))

    async def write(self, job: Job[T]) -> T:
        """The job's result, once it is in the file. Raises StateError, and what the job raises."""
        return await self._ask(self._writing(job))

    def begin_write(self, job: Job[T]) -> "asyncio.Future[T]":
        """The same for who does not wait yet, or never. It is not cancelled with who waits."""
        submitted = self._submit(self._writing(job))
        submitted.add_done_callback(_tell)
        waiting = asyncio.wrap_future(submitted)
        waiting.add_done_callback(lambda done: done.cancelled() or done.exception())  # seen, even if nobody waits
        return waiting

    def owe(self, job: Job[Any]) -> None:
        """Have this done before the next change, as soon as there can be one again."""
        self._owed.append(job)

    def _writing(self, job: Job[T]) -> Callable[[], T]:
        """While another program writes, all that is asked here waits together, not one after the other."""
        asked = time.monotonic()
        return lambda: self._write(job, time.monotonic() - asked)

    def _write(self, job: Job[T], waited: float = 0.0) -> T:
        while self._owed:
            self._database.write(self._owed[0], waited)
            self._owed.popleft()
        return self._database.write(job, waited)

    async def owner(self) -> str:
        """This server's name in the database. Raises StateError."""
        return await self._ask(self._own)

    async def close(self) -> None:
        """Once what was asked is done."""
        with contextlib.suppress(StateError):
            await self._ask(self._end)
        self._thread.shutdown(wait=False)

    def _end(self) -> None:
        self._owners.close()
        self._database.close()

    def _own(self) -> str:
        try:
            return self._owners.name
        except OSError as error:
            why = f"{self._database.file} cannot be opened: {error.strerror}."
            raise StateError("state_unusable", why) from None

    async def _ask(self, work: Callable[[], T]) -> T:
        return await asyncio.shield(asyncio.wrap_future(self._submit(work)))

    def _submit(self, work: Callable[[], T]) -> "concurrent.futures.Future[T]":
        try:
            return self._thread.submit(work)
        except RuntimeError as error:  # no thread to be had, or it is closed
            raise StateError("state_unusable", f"Nothing can be kept: {error}.") from None


def _tell(done: "concurrent.futures.Future[T]") -> None:
    if isinstance(error := done.exception(), NitroError):
        log.error("something could not be kept: %s", error)
