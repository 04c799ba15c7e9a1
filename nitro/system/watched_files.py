"""Files that are read again while the server runs: when one of them changes, and when somebody asks for it (SIGHUP).

It knows when, and nothing of what is in them. A thread looks at files, because a folder of the network may hang.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Sequence
from pathlib import Path

from nitro.errors import NitroError

log = logging.getLogger("nitro")

PERIOD = 2.0  # seconds between two looks

# What changes with a file: where it lies (a link that leads elsewhere is another file), its size, its time.
_Stamp = tuple[tuple[int, int, int, int] | None, ...]


class WatchedFiles:
    """All of them. `start` needs a running event loop, on which every `read` is called."""

    def __init__(self) -> None:
        self._groups: list[_Group] = []
        self._task: asyncio.Task[None] | None = None

    def add(self, paths: Sequence[Path], read: Callable[[], None]) -> None:
        """Have these files, which belong together, read by `read`. What it raises as NitroError or OSError is logged,
        and what was read before holds."""
        self._groups.append(_Group(tuple(paths), read))

    def start(self) -> None:
        """Begin to look."""
        if self._groups:
            self._task = asyncio.create_task(self._watch())

    def read_again(self) -> None:
        """Read all of them now."""
        for group in self._groups:
            group.stamp = _stamp(group.paths)
            group.read_again()
        if not self._groups:
            log.info("there is no file that could be read again")

    async def close(self) -> None:
        """Look no more."""
        if self._task:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(PERIOD)
            for group in self._groups:
                stamp = await asyncio.to_thread(_stamp, group.paths)
                if stamp != group.stamp:
                    group.stamp = stamp  # of before the reading: what is written during it is seen at the next look
                    group.read_again()


class _Group:
    def __init__(self, paths: tuple[Path, ...], read: Callable[[], None]):
        self.paths, self._read = paths, read
        self.stamp = _stamp(paths)

    def read_again(self) -> None:
        try:
            self._read()
        except (NitroError, OSError) as error:
            log.error("%s What was read before still holds.", error)
        else:
            log.info("read again: %s", ", ".join(map(str, self.paths)))


def _stamp(paths: Sequence[Path]) -> _Stamp:
    found = []
    for path in paths:
        try:
            about = path.stat()
            found.append((about.st_dev, about.st_ino, about.st_size, about.st_mtime_ns))
        except OSError:
            found.append(None)
    return tuple(found)
