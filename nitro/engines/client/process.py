"""One engine process as the server sees it: its messages, the sequences that it is at work on, and what ended it."""

import signal
import time
from collections.abc import Callable, Set

from nitro.engines import messages
from nitro.engines.client import spawn
from nitro.engines.client.spawn import SpawnedEngine
from nitro.engines.crash_marks import CrashMarks
from nitro.errors import one_line
from nitro.system.child_process import ChildProcess

RECENT = 5.0  # seconds before the end, in which what a process said may be of its end


class EngineProcess(ChildProcess):
    """An engine process with its crash marks. Made by `start`, or by `attached`."""

    name = "engine process"
    _marks: CrashMarks | None = None  # while it is not reaped
    _last: Set[int] = frozenset()  # what it was at work on, once it is
    _spawned: SpawnedEngine | None = None  # with what the system says of its end
    lacked_memory = False  # whether the system ended it for want of memory, as far as is known

    @classmethod
    async def start(cls) -> "EngineProcess":
        """One that waits for its first message. Raises OSError, as `spawn.start` does."""
        return await cls.attached(spawn.start())

    @classmethod
    async def attached(cls, spawned: SpawnedEngine) -> "EngineProcess":
        """One that has begun, on the running event loop. Raises OSError."""
        engine = await cls.attach(spawned.child)
        engine._marks, engine._spawned = spawned.marks, spawned
        return engine

    async def messages(self, receive: Callable[[list[messages.FromEngine]], None]) -> None:
        """Hand over what it sends, in the calls that bring it, until its socket closes. Raises what `receive` does."""
        await self.listen(lambda payloads: receive([messages.decode_from_engine(payload) for payload in payloads]))

    def at_work(self) -> set[int]:
        """The sequences that it works on, or worked on when it died."""
        return self._marks.read() if self._marks else set(self._last)

    def progress(self) -> dict[int, tuple[int, ...]]:
        """See CrashMarks."""
        return self._marks.progress() if self._marks else {}

    async def how_it_ended(self) -> str:
        """See ChildProcess. What the system or the process itself has said of the cause is in it."""
        said = await super().how_it_ended()
        status, spawned = self.status, self._spawned
        if spawned and status == -signal.SIGKILL and (why := spawned.witness.reason(spawned.bound, self.peak)):
            self.lacked_memory = True
            return why
        words = self.recent_words()
        return f"{said} It said last: {words}." if words and status else said

    def recent_words(self) -> str:
        """What the process has said a moment ago of a fault, or of what it waits for; empty: nothing."""
        words, at = self._marks.words() if self._marks else ("", 0.0)
        return one_line(words) if words and 0 <= time.monotonic() - at < RECENT else ""  # not yet: it was foretold

    async def reap(self) -> None:
        """See ChildProcess. Its shared memory goes as well, which else waited for the garbage collector."""
        await super().reap()
        if self._spawned and self._spawned.bound:
            self._spawned.bound.release()
        if self._marks:
            marks, self._marks = self._marks, None
            self._last = marks.read()
            marks.close()
