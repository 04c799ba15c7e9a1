"""Whether an engine has stalled: it has work, and no step has ended for too long. A call that never returns, say."""

import time
from collections.abc import Callable

STALL = 30.0  # seconds without a step, beyond the longest one seen, while work waits


class StallWatch:
    """Told of every step, and of work for an engine that had none."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._last_news = 0.0  # time of the last step, or of the first work after none
        self._longest_step = 0.0  # seconds

    def work_came(self) -> None:
        """The engine has something to compute, and had nothing before."""
        self._last_news = self._clock()

    def step(self, seconds: float) -> None:
        """A step has ended, which took so long."""
        self._last_news = self._clock()
        self._longest_step = max(self._longest_step, seconds)

    def problem(self, patience: float | None = None) -> str | None:
        """A sentence if an engine that has work has stalled; None: it has not. `patience`: seconds without a step that
        are allowed; by default STALL beyond the longest step."""
        silence = self._clock() - self._last_news
        if silence <= (STALL + self._longest_step if patience is None else patience):
            return None
        return f"The engine has work and has not taken a step for {silence:.0f} seconds."
