"""One engine process as the server sees it: its messages, and the sequences that it is at work on."""

import os
from collections.abc import AsyncIterator

from nitro.engines import messages
from nitro.engines.crash_marks import CrashMarks, shared_memory
from nitro.system.child_process import ChildProcess

WORKER = "nitro.engines.worker.main"

# GOMP_SPINCOUNT: threads that wait for each other spin at first, in GNU's OpenMP by default for milliseconds. With
# another busy process on the machine that makes a step several times slower. A short spin costs nothing when idle.
# GGML_NO_BACKTRACE: else ggml, when it aborts, runs a debugger for seconds to print a backtrace of a hundred lines.
ENVIRONMENT = {"GOMP_SPINCOUNT": "1000", "GGML_NO_BACKTRACE": "1"}


class EngineProcess(ChildProcess):
    """An engine process with its crash marks. Made by `start`."""

    name = "engine process"
    _marks: CrashMarks

    @classmethod
    async def start(cls) -> "EngineProcess":
        """Raises OSError, as `spawn` does."""
        memory = shared_memory()
        try:
            marks = CrashMarks(memory)
            engine = await cls.spawn(WORKER, memory, environment=ENVIRONMENT)
        finally:
            os.close(memory)
        engine._marks = marks
        return engine

    async def messages(self) -> AsyncIterator[messages.FromEngine]:
        """What it sends, until its socket closes."""
        async for payload in self.payloads():
            yield messages.decode_from_engine(payload)

    def at_work(self) -> set[int]:
        """The sequences that it works on, or worked on when it died."""
        return self._marks.read()
