"""One engine process as the server sees it: its messages, and the sequences that it is at work on."""

from collections.abc import Callable, Set

from nitro.engines import messages
from nitro.engines.client import spawn
from nitro.engines.client.spawn import SpawnedEngine
from nitro.engines.crash_marks import CrashMarks
from nitro.system.child_process import ChildProcess


class EngineProcess(ChildProcess):
    """An engine process with its crash marks. Made by `start`, or by `attached`."""

    name = "engine process"
    _marks: CrashMarks | None = None  # while it is not reaped
    _last: Set[int] = frozenset()  # what it was at work on, once it is

    @classmethod
    async def start(cls) -> "EngineProcess":
        """One that waits for its first message. Raises OSError, as `spawn.start` does."""
        return await cls.attached(spawn.start())

    @classmethod
    async def attached(cls, spawned: SpawnedEngine) -> "EngineProcess":
        """One that has begun, on the running event loop. Raises OSError."""
        engine = await cls.attach(spawned.child)
        engine._marks = spawned.marks
        return engine

    async def messages(self, receive: Callable[[list[messages.FromEngine]], None]) -> None:
        """Hand over what it sends, in the calls that bring it, until its socket closes. Raises what `receive` does."""
        await self.listen(lambda payloads: receive([messages.decode_from_engine(payload) for payload in payloads]))

    def at_work(self) -> set[int]:
        """The sequences that it works on, or worked on when it died."""
        return self._marks.read() if self._marks else set(self._last)

    async def reap(self) -> None:
        """See ChildProcess. Its shared memory goes as well, which else waited for the garbage collector."""
        await super().reap()
        if self._marks:
            marks, self._marks = self._marks, None
            self._last = marks.read()
            marks.close()
