"""What a step costs, as measured: a base, and something for every row. Pure: the times are given to it.

It tells whether guessed tokens pay. Where rows cost nearly nothing (a GPU, which reads all weights for one row as for
eight) a guess may be wrong most of the time; where they cost nearly all (a CPU that computes many) it must be right.
"""

WEIGHT = 0.05  # of the newest step
UNKNOWN = 0.6  # the share while nothing is known of it: all steps so far had as many rows
DOUBT = 1.0  # rows², of the steps seen: with that spread it counts as much as what was measured


class StepCost:
    """Fits seconds = base + per_row × rows to the steps without prompts, by least squares, the newest first."""

    def __init__(self) -> None:
        self._rows = self._seconds = 0.0  # means
        self._variance = self._covariance = 0.0  # of the rows, and of both
        self._seen = False

    def observe(self, rows: int, seconds: float) -> None:
        """A step that computed a token of each of so many rows, guessed ones included, took this long."""
        if not self._seen:
            self._rows, self._seconds, self._seen = rows, seconds, True
        more, longer = rows - self._rows, seconds - self._seconds
        self._rows += WEIGHT * more
        self._seconds += WEIGHT * longer
        self._variance = (1 - WEIGHT) * (self._variance + WEIGHT * more * more)
        self._covariance = (1 - WEIGHT) * (self._covariance + WEIGHT * more * longer)

    def share(self, rows: int) -> float:
        """The part of the time of a step that its rows cost, 0 to 1, and not its base.

        An accepted token saves a row of a later step and this row's part of its base. So a guess pays where a larger
        share of its tokens than this comes true.
        """
        if self._variance <= 0 or self._seconds <= 0:
            return UNKNOWN
        average = self._seconds / self._rows
        per_row = min(max(self._covariance / self._variance, 0.0), average)
        base = max(self._seconds - per_row * self._rows, 0.0)
        measured = per_row * rows / (base + per_row * rows)
        return (self._variance * measured + DOUBT * UNKNOWN) / (self._variance + DOUBT)
