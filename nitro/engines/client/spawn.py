"""Starts an engine process. Needs no event loop, and imports little: it is what `nitro serve` does first."""

import os
import time

from msgspec import Struct

from nitro.engines import messages
from nitro.engines.crash_marks import CrashMarks, shared_memory
from nitro.engines.types import EngineSpec
from nitro.system.spawn import Spawned, spawn

WORKER = "nitro.engines.worker.main"

# GOMP_SPINCOUNT: threads that wait for each other spin at first, in GNU's OpenMP by default for milliseconds. With
# another busy process on the machine that makes a step several times slower. A short spin costs nothing when idle.
# GGML_NO_BACKTRACE: else ggml, when it aborts, runs a debugger for seconds to print a backtrace of a hundred lines.
ENVIRONMENT = {"GOMP_SPINCOUNT": "1000", "GGML_NO_BACKTRACE": "1"}


class SpawnedEngine(Struct, frozen=True):
    """An engine process that has begun, with its crash marks."""

    child: Spawned
    marks: CrashMarks
    since: float  # time.monotonic()


def start() -> SpawnedEngine:
    """A process that waits for its first message. Raises OSError, as `spawn` does."""
    since = time.monotonic()
    memory = shared_memory()
    try:
        return SpawnedEngine(spawn(WORKER, memory, environment=ENVIRONMENT), CrashMarks(memory), since)
    finally:
        os.close(memory)


def load(spec: EngineSpec) -> SpawnedEngine:
    """A process that loads a model. Raises OSError, as `spawn` does."""
    engine = start()
    engine.child.send(messages.Load(spec))
    return engine
