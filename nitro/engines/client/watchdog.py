"""Ends an engine that gets nowhere, where `--stall-timeout` asks for it."""

import asyncio
import time
from collections.abc import Callable, Mapping

LOOKS = 4  # within the timeout: so it is exceeded by a quarter at most
LONGEST_LOOK = 1.0  # seconds between two looks

Progress = Mapping[int, tuple[int, ...]]


class Standstill:
    """For how long the threads that make requests ready have been at the same piece of work. Pure, but for the clock
    that it is given."""

    def __init__(self, clock: Callable[[], float] = time.monotonic):
        self._clock = clock
        self._seen: dict[int, tuple[tuple[int, ...], float]] = {}  # by lane: what was seen, and when first

    def longest(self, progress: Progress) -> float:
        """Seconds of the lane that has stood still for the longest time. `progress`: see CrashMarks."""
        now = self._clock()
        before = self._seen
        self._seen = {}
        for lane, found in progress.items():
            known, since = before.get(lane, (None, now))
            self._seen[lane] = (found, since if known == found else now)
        return max((now - since for _, since in self._seen.values()), default=0.0)


class Watchdog:
    """Looks at one engine process a few times within the timeout, while there is one."""

    def __init__(self, timeout: float, problem: Callable[[float], str | None], end: Callable[[str], None]):
        """`problem`: a sentence if nothing has happened for so many seconds, though there is work. `end`: ends the
        process, for this reason."""
        self._timeout, self._problem, self._end = timeout, problem, end
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """A process is ready."""
        self.stop()
        self._wait()

    def stop(self) -> None:
        """It is gone."""
        if self._timer:
            self._timer.cancel()
            self._timer = None

    def _wait(self) -> None:
        pause = min(self._timeout / LOOKS, LONGEST_LOOK)
        self._timer = asyncio.get_running_loop().call_later(pause, self._look)

    def _look(self) -> None:
        if problem := self._problem(self._timeout):
            self._timer = None
            self._end(f"{problem} It was ended, as --stall-timeout {self._timeout:g} says.")
        else:
            self._wait()
