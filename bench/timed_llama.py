"""llama.cpp's runner with a clock, to see what Python costs between its steps.

`nitro serve --engine bench.timed_llama:TimedRunner` loads it. When the engine becomes idle, it adds a line of JSON to
the file that the variable STEP_TIMES names: a `Times`.
"""

import os
import time
from pathlib import Path

import llama_cpp.llama_cpp as lib
import msgspec

from nitro.engines.backends.llama.runner import LlamaRunner
from nitro.engines.runner import Chunk, Result
from nitro.engines.types import EngineSpec

FILE = "STEP_TIMES"


class Times(msgspec.Struct):
    """Seconds of consecutive steps, from the first submit until the engine was idle."""

    steps: int = 0
    rows: int = 0  # tokens computed
    device: float = 0.0  # llama_decode, and waiting for its result
    sampling: float = 0.0  # drawing tokens from the logits
    total: float = 0.0

    @property
    def between(self) -> float:
        """The share of the time that is neither the device's nor the samplers': scheduling, messages, Python."""
        return (self.total - self.device - self.sampling) / self.total


class TimedRunner(LlamaRunner):
    """Computes as LlamaRunner does."""

    def __init__(self, spec: EngineSpec):
        self._times = Times()
        self._began: float | None = None
        super().__init__(spec)
        self._times = Times()
        self._began = None

    def submit(self, batch: list[Chunk]) -> None:
        """Compute the batch, and count the time as the device's."""
        started = time.perf_counter()
        if self._began is None:
            self._began = started
        super().submit(batch)
        self._times.device += time.perf_counter() - started
        self._times.steps += 1
        self._times.rows += sum(chunk.size for chunk in batch)

    def collect(self) -> list[Result]:
        """Wait for the device, then sample; each is counted for itself."""
        started = time.perf_counter()
        lib.llama_synchronize(self._context.pointer)
        computed = time.perf_counter()
        results = super().collect()
        self._times.device += computed - started
        self._times.sampling += time.perf_counter() - computed
        return results

    def release_idle_memory(self) -> None:
        """The engine is idle: write down the times, and begin anew."""
        super().release_idle_memory()
        if self._began is None:
            return
        self._times.total = time.perf_counter() - self._began
        with Path(os.environ[FILE]).open("ab") as file:
            file.write(msgspec.json.encode(self._times) + b"\n")
        self._times = Times()
        self._began = None


def read(file: Path) -> list[Times]:
    """The times that a TimedRunner wrote, in order."""
    return [msgspec.json.decode(line, type=Times) for line in file.read_bytes().splitlines()]
