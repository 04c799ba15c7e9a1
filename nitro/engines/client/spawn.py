"""Starts an engine process. Needs no event loop, and imports little: it is what `nitro serve` does first."""

import logging
import os
import time

from msgspec import Struct
from msgspec.structs import replace

from nitro.engines import messages
from nitro.engines.client.memory_deaths import MemoryWitness
from nitro.engines.crash_marks import CrashMarks, shared_memory
from nitro.engines.types import EngineSpec
from nitro.system import memory_bound
from nitro.system.memory import parse
from nitro.system.memory_bound import MemoryBound
from nitro.system.spawn import Spawned, spawn

log = logging.getLogger("nitro.engine")

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
    witness: MemoryWitness
    bound: MemoryBound | None = None  # of what it may take, once it loads


def start() -> SpawnedEngine:
    """A process that waits for its first message. Raises OSError, as `spawn` does."""
    since = time.monotonic()
    witness = MemoryWitness()
    memory = shared_memory()
    try:
        return SpawnedEngine(spawn(WORKER, memory, environment=ENVIRONMENT), CrashMarks(memory), since, witness)
    finally:
        os.close(memory)


def load(spec: EngineSpec) -> SpawnedEngine:
    """A process that loads a model. Raises OSError, as `spawn` does, and where its memory cannot be bounded."""
    return begin_load(start(), spec)


def begin_load(engine: SpawnedEngine, spec: EngineSpec) -> SpawnedEngine:
    """Let a process that waits load this model, within the memory that it may take. Raises
    OSError; it has ended then."""
    if spec.engine_memory is not None:
        try:
            bound = memory_bound.hold(engine.child.process.pid, parse(spec.engine_memory))
        except BaseException:
            end(engine)
            raise
        log.info("an engine may take %d MiB, by %s", bound.bytes // 2**20, bound.kind)
        engine = replace(engine, bound=bound)
    engine.child.send(messages.Load(spec))
    return engine


def end(engine: SpawnedEngine) -> None:
    """End a process that nobody has attached to."""
    engine.child.end()
    engine.marks.close()
    if engine.bound:
        engine.bound.release()
