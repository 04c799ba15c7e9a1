"""The memory of a server's processes over time, and how fast it grows."""

import threading
import time
from collections.abc import Sequence
from pathlib import Path

from bench import processes
from bench.processes import Server
from soak.goals import MIXED
from soak.report import Figure

EVERY = 2.0  # seconds between two readings
WARM_UP = 600.0  # seconds that are not counted, or a part of a shorter time:
SHARE = 0.5
TEN_MINUTES = 600.0  # seconds
BOUND = 1.0  # MiB in ten minutes
PARTS = {b"nitro.engines.worker.main": "engine", b"nitro.service.intake.worker": "reading"}

Readings = Sequence[tuple[float, float]]  # seconds, MiB


def warm_up(seconds: float) -> float:
    """The seconds that are not counted of so many."""
    return min(WARM_UP, SHARE * seconds)


def slope(readings: Readings) -> float:
    """Of the line of least squares, in MiB in ten minutes; 0 where there are too few readings."""
    if len(readings) < 3:
        return 0.0
    times, values = zip(*readings, strict=True)
    middle, mean = sum(times) / len(times), sum(values) / len(values)
    spread = sum((at - middle) ** 2 for at in times)
    return TEN_MINUTES * sum((at - middle) * (value - mean) for at, value in readings) / spread


class MemoryWatch:
    """Reads the memory of each process while this is entered, or until `end`; a thread does."""

    def __init__(self, server: Server):
        self.readings: dict[str, list[tuple[float, float]]] = {}  # by process
        self._server = server
        self._began = time.monotonic()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "MemoryWatch":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def end(self) -> None:
        """Read no more."""
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._ended.wait(EVERY):
            now = time.monotonic() - self._began
            for name, mib in memory_of(self._server).items():
                self.readings.setdefault(name, []).append((now, mib))

    def figures(self, name: str, warm: float, bounded: bool) -> list[Figure]:
        """A slope for each process. Not `bounded`: the time was too short for a bound."""
        figures = []
        for part, readings in sorted(self.readings.items()):
            counted = [(at, mib) for at, mib in readings if at >= warm]
            what = f"{name}: memory of the process “{part}”, MiB in 10 minutes"
            ends = f" (from {counted[0][1]:.1f} to {counted[-1][1]:.1f})" if counted else ""
            value = slope(counted)
            bound = (f"≤ {BOUND:g}", value <= BOUND) if bounded else ("", True)
            figures.append(Figure(what, f"{value:+.2f}{ends}", *bound).of(MIXED))
        return figures


def memory_of(server: Server) -> dict[str, float]:
    """MiB that each process of a server has allocated; those of one kind together."""
    found: dict[str, float] = {}
    for pid in server.pids():
        try:
            command = Path(f"/proc/{pid}/cmdline").read_bytes()
            part = next((part for word, part in PARTS.items() if word in command), "server")
            found[part] = found.get(part, 0.0) + processes.pss(pid)["Pss_Anon"]
        except OSError:  # gone meanwhile
            continue
    return found
