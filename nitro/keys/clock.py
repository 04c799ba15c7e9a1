"""The two clocks that limits need, which tests replace."""

import time
from collections.abc import Callable
from dataclasses import dataclass

DAY = 86400  # seconds


@dataclass(frozen=True, slots=True)
class Clock:
    """`steady`: seconds, never back. `utc`: seconds since 1970."""

    steady: Callable[[], float] = time.monotonic
    utc: Callable[[], float] = time.time

    @property
    def day(self) -> int:
        """Days since 1970, in UTC."""
        return int(self.utc() // DAY)

    @property
    def until_tomorrow(self) -> float:
        """Seconds."""
        return DAY - self.utc() % DAY
