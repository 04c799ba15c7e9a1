"""An engine process that is ready to load a model: it has begun, and has imported its engine's library.

To begin and to import is a good part of what the load of a small model takes.
"""

import time

from msgspec.structs import replace

from nitro.engines import messages
from nitro.engines.client import spawn
from nitro.engines.client.spawn import SpawnedEngine
from nitro.engines.types import EngineSpec


class Spare:
    """One process at most, for models of one engine."""

    def __init__(self, engine: str):
        """`engine`: as EngineSpec has it."""
        self._engine = engine
        self._waiting: SpawnedEngine | None = None

    def prepare(self) -> None:
        """Have one. Returns at once; where none can be had there is none."""
        if self._waiting is None:
            try:
                self._waiting = spawn.start()
            except OSError:
                return
            self._waiting.child.send(messages.Import(self._engine))

    def take(self, spec: EngineSpec) -> SpawnedEngine | None:
        """The process, which loads this model now. None: there is none, or it is for another engine, and waits on."""
        if self._waiting is None or spec.engine != self._engine:
            return None
        spare, self._waiting = self._waiting, None
        if spare.child.process.poll() is not None:
            spawn.end(spare)
            return None
        try:
            return spawn.begin_load(replace(spare, since=time.monotonic()), spec)
        except OSError:  # who starts one anew is told
            return None

    def end(self) -> None:
        """End the process, if there is one."""
        if self._waiting:
            spawn.end(self._waiting)
            self._waiting = None
