"""What a step costs, as measured: a base, and something for every row. Pure: it is given the times.

It decides whether drafts pay. Where rows cost nearly nothing (a GPU, which reads all weights for one row as for eight)
a draft may be rejected most of the time; where they cost nearly all (a CPU that computes many) it must be accepted.
"""

WEIGHT = 0.05  # of the newest step
DEFAULT_SHARE = 0.6  # while nothing is known: all steps so far had as many rows
PRIOR_VARIANCE = 1.0  # rows², of the steps seen: with that spread the default counts as much as the measured share


class StepCost:
    """Fits seconds = base + per_row × rows to the steps without prompts, by least squares, the newest weighing most."""

    def __init__(self) -> None:
        self._rows = 0.0  # mean
        self._seconds = 0.0  # mean
        self._variance = 0.0  # of the rows
        self._covariance = 0.0  # of rows and seconds
        self._seen = False

    def observe(self, rows: int, seconds: float) -> None:
        """A step that computed so many rows, those of draft tokens included, took this long."""
        if not self._seen:
            self._rows = rows
            self._seconds = seconds
            self._seen = True
        more_rows = rows - self._rows
        more_seconds = seconds - self._seconds
        self._rows += WEIGHT * more_rows
        self._seconds += WEIGHT * more_seconds
        self._variance = (1 - WEIGHT) * (self._variance + WEIGHT * more_rows * more_rows)
        self._covariance = (1 - WEIGHT) * (self._covariance + WEIGHT * more_rows * more_seconds)

    def break_even(self, rows: int) -> float:
        """The share of draft tokens, 0 to 1, that must be accepted so that they pay in a step of so many rows.

        It is the part of the step's time that its rows cost, and not its base: an accepted token saves a row of a later
        step and this row's part of its base.
        """
        if self._variance <= 0 or self._seconds <= 0:
            return DEFAULT_SHARE
        average = self._seconds / self._rows
        per_row = min(max(self._covariance / self._variance, 0.0), average)
        base = max(self._seconds - per_row * self._rows, 0.0)
        measured = per_row * rows / (base + per_row * rows)
        return (self._variance * measured + PRIOR_VARIANCE * DEFAULT_SHARE) / (self._variance + PRIOR_VARIANCE)
