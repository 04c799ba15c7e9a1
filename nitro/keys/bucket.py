"""So many a minute. Pure: the time is given, in seconds of a clock that never goes back.

What was taken comes back evenly, `limit` in a minute, and never more than `limit` is there. What turns out to be more
than was left, as an answer's tokens may, is owed: nothing can be begun before it has come back. So what is taken in any
t seconds is no more than limit · (1 + t / 60), and what was begun last.
"""

MINUTE = 60.0
ROUNDING = 1e-6  # who waits as long as they were told is not told to wait again


class Bucket:
    """See above. It begins full."""

    def __init__(self, limit: int, now: float):
        self.limit = limit
        self._level = float(limit)
        self._at = now

    def level(self, now: float) -> float:
        """What is left; below zero: what is owed."""
        if now > self._at:
            self._level = min(self._level + (now - self._at) * self.limit / MINUTE, self.limit)
            self._at = now
        return self._level

    def take(self, count: int, now: float) -> None:
        """Whether it is there or not."""
        self._level = self.level(now) - count

    def until(self, count: float, now: float) -> float:
        """Seconds until so much is there, up to `limit`; 0: it is."""
        missing = min(count, self.limit) - self.level(now)
        return missing * MINUTE / self.limit if missing > ROUNDING else 0.0

    def resize(self, limit: int, now: float) -> None:
        """From now on there is another limit. What was taken stays taken."""
        taken = self.limit - self.level(now)
        self.limit, self._level = limit, limit - taken
