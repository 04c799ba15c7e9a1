"""How long to wait before an engine is started again. Pure."""

STEADY = 60.0  # seconds; an engine that was ready so long was of use, as is one that answered a request
FIRST_PAUSE = 0.5  # seconds
LONGEST_PAUSE = 60.0  # seconds


class Backoff:
    """An engine that was of use is started again at once. Each of no use makes the pause longer, up to a minute.

    Loading again and again would only heat the machine, and the cause may pass.
    """

    def __init__(self, first: float = FIRST_PAUSE, longest: float = LONGEST_PAUSE):
        self._first, self._longest = first, longest
        self._useless = 0  # in a row, since the last that was of use

    def pause(self, lived: float, answered: bool) -> float:
        """Seconds until the next start. The last engine was ready for `lived` seconds; `answered`: any request."""
        if answered or lived >= STEADY:
            self._useless = 0
            return 0.0
        self._useless += 1
        if self._useless == 1:
            return 0.0
        doublings = min(self._useless - 2, 30)
        return min(self._first * 2.0**doublings, self._longest)
