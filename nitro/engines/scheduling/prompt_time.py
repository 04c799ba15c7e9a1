"""How long a prompt's tokens take to compute, by where in the prompt they stand. Pure: it is given the times.

Attention goes over all tokens before one, so the time of a token is a line over its position. How its two parts are to
each other belongs to model and device, and is learnt once; how fast the device is just now may change with each step.
So this is a Kalman filter (R. E. Kalman, 1960) whose state is the line, and in which all that changes from one step to
the next is a common factor of both parts.
"""

from math import hypot, sqrt

NOISE = 0.1  # of a step's time: how far it may be off the line by chance
CHANGE = 0.07  # of the device's speed: by how much it differs from one step to the next
MOST_CHANGE = 1.5  # a step that took longer than that many times what it should was disturbed
UNIT = 1000.0  # tokens: positions are counted so, for numbers of one size
STEEPEST = 2.0  # times a first token's time, per UNIT: how steep the line may well be, before anything says how steep
LEAST, MOST = 1e-9, 1e9  # seconds of a token; a clock may say anything
LEAST_SHARE = 0.1  # of the time where it was measured last: no token takes less


class PromptTime:
    """The line, as far as it is known. While all steps were at one position it is as steep as it was taken to be."""

    def __init__(self, steepness: float = 0.0) -> None:
        """`steepness`: how many times a first token's time a token takes longer UNIT tokens further on, before anything
        says so."""
        self._steepness = steepness
        self._first = 0.0  # seconds of a token at the beginning; 0: nothing was measured
        self._growth = 0.0  # seconds by which a token takes longer UNIT tokens further on
        self._last = 0.0  # seconds of a token, where it was measured last
        # how uncertain both are, and how the one's error goes with the other's: variances and covariance
        self._of_first = self._of_growth = self._of_both = 0.0

    @property
    def is_measured(self) -> bool:
        """Whether anything was."""
        return self._first > 0

    def observe(self, position: float, seconds: float) -> None:
        """A token takes so long: the mean of a step's, whose mean position this is."""
        seconds, at = min(max(seconds, LEAST), MOST), position / UNIT
        if not self.is_measured:
            self._last = seconds
            self._first = seconds / (1 + self._steepness * at)
            self._growth = self._steepness * self._first
            self._of_first, self._of_growth = (NOISE * seconds) ** 2, (STEEPEST * seconds) ** 2
            self._of_both = -at * self._of_growth  # at this position it is known
            self._of_first += at * at * self._of_growth
            return
        first, growth = self._first, self._growth
        self._of_first += (CHANGE * first) ** 2
        self._of_growth += (CHANGE * growth) ** 2
        self._of_both += CHANGE * first * CHANGE * growth
        expected = first + growth * at
        seconds = min(max(seconds, expected / MOST_CHANGE), expected * MOST_CHANGE)
        with_first = self._of_first + at * self._of_both
        with_growth = self._of_both + at * self._of_growth
        whole = with_first + at * with_growth + (NOISE * expected) ** 2
        off = seconds - expected
        self._first = max(first + with_first / whole * off, LEAST)
        self._growth = max(growth + with_growth / whole * off, 0.0)
        self._of_first -= with_first * with_first / whole
        self._of_growth -= with_growth * with_growth / whole
        self._of_both -= with_first * with_growth / whole
        self._last = self._first + self._growth * at

    def seconds(self, start: int, tokens: int) -> float:
        """So many tokens from a position on."""
        return tokens * (self._at(start) + self._growth / UNIT * tokens / 2)

    def tokens(self, start: int, seconds: float, most: int) -> int:
        """How many tokens from a position on take so long at most, `most` if all those do."""
        if self.seconds(start, most) <= seconds:
            return most
        first = self._at(start)
        return min(int(2 * seconds / (first + hypot(first, sqrt(2 * self._growth / UNIT * seconds)))), most)

    def _at(self, position: int) -> float:
        return max(self._first + self._growth * position / UNIT, LEAST_SHARE * self._last)
