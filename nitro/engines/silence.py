"""For how long somebody who gives signs of life has given none."""

import time
from collections.abc import Callable

LIMIT = 8.0  # seconds after which somebody who gives two a second is lost: it is told within ten


class Silence:
    """As seen by who looks again and again, with a pause between two looks.

    Only time counts in which this process did look: one that did not get to it for long, on a machine that has too much
    to do or was asleep, knows nothing of the others, who may have fared likewise.
    """

    def __init__(self, pause: float, clock: Callable[[], float] = time.monotonic):
        """`pause`: seconds."""
        self._most = 2 * pause  # that one look counts for
        self._clock = clock
        self._looked = clock()
        self._seconds = 0.0

    def look(self, heard: bool) -> float:
        """`heard`: whether there was a sign since the last look. Returns the seconds of silence."""
        now = self._clock()
        self._seconds = 0.0 if heard else self._seconds + min(now - self._looked, self._most)
        self._looked = now
        return self._seconds
