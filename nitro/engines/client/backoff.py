"""How long to wait before an engine is started again. Pure."""

STEADY = 60.0  # seconds; an engine that was ready so long worked, as did one that answered a request
FIRST_PAUSE = 0.5  # seconds
LONGEST_PAUSE = 300.0  # seconds


class Backoff:
    """An engine that worked is started again at once. Each one that failed soon makes the pause longer, up to five
    minutes: the third within a minute waits already.

    Loading again and again would only heat the machine, and the cause may pass.
    """

    def __init__(self, first: float = FIRST_PAUSE, longest: float = LONGEST_PAUSE):
        self._first, self._longest = first, longest
        self.quick_failures = 0  # in a row

    def pause(self, lived: float, answered: bool) -> float:
        """Seconds until the next start. The last engine was ready for `lived` seconds; `answered`: any request."""
        if answered or lived >= STEADY:
            self.quick_failures = 0
            return 0.0
        self.quick_failures += 1
        if self.quick_failures == 1:
            return 0.0
        doublings = min(self.quick_failures - 2, 30)
        return min(self._first * 2.0**doublings, self._longest)
