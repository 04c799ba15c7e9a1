"""What a step costs by the number of its rows, as measured. Pure: it is given the times.

It is a table and no line: kernels compute rows in tiles, so that four may cost as much as three, and a fifth as much as
two more. A device that reads all weights for one row as for eight has a flat one.

All counts share a scale, which follows what changes for all of them (contexts get longer, another program runs); a
count's own cost is relative to it. So one that was measured long ago can be compared with one that is measured now.
"""

DEFAULT_SHARE = 0.6  # of an average row's cost: what one more row costs at most, while nothing is known of it
PROMPT_SHARE = 1.5  # of an average row of prompts: the most that is expected of one more row, which needs logits
NEWEST = 0.2  # weight of the newest step for the scale
LEAST_WEIGHT = 0.02  # of the newest step for its count
MOST_CHANGE = 2.0  # a step that took longer than that many times what it should was disturbed
LEAST_SECONDS = 1e-6  # of a step; a clock may say none
FIRM = 3  # steps after which a count is known
MEMORY = 2048  # steps after which half of them are forgotten, so that it is measured again


class StepCost:
    """The seconds of a step by its rows. Steps whose rows include drafts may cost more, so they are kept apart."""

    def __init__(self) -> None:
        self._scale = 0.0  # seconds; 0: nothing was measured
        self._plain: dict[int, _Measured] = {}  # by rows
        self._drafted: dict[int, _Measured] = {}
        self._steps = 0
        self._prompts = 0  # steps with prompts
        self._prompt_row = 0.0  # seconds: an average row of theirs

    @property
    def is_measured(self) -> bool:
        """Whether anything was; else the curve's unit is the first step's time."""
        return self._scale > 0

    def observe(self, rows: int, seconds: float, drafted: bool = False) -> None:
        """A step that computed so many rows, those of draft tokens included, took this long."""
        seconds = max(seconds, LEAST_SECONDS)
        if not self._scale:
            self._scale = seconds
        table = self._drafted if drafted else self._plain
        known = table.get(rows)
        if known is None:
            table[rows] = _Measured(seconds / self._scale)
            return
        ratio = min(max(seconds / (self._scale * known.relative), 1 / MOST_CHANGE), MOST_CHANGE)
        self._scale *= 1 + NEWEST * (ratio - 1)
        known.steps += 1
        known.relative *= 1 + max(1 / known.steps, LEAST_WEIGHT) * (ratio - 1)
        self._steps += 1
        if self._steps % MEMORY == 0:
            self._forget()

    def observe_prompt(self, rows: int, seconds: float) -> None:
        """A step with prompts, of so many rows in all, took this long. It tells early what many rows cost."""
        self._prompts += 1
        self._prompt_row += max(1 / self._prompts, NEWEST) * (seconds / rows - self._prompt_row)

    def curve(self, rows: int, more: int) -> list[float]:
        """Seconds of a step of so many plain rows, and with 1 to `more` rows of drafts in it.

        More rows never cost less. Between two known counts they lie on a line. Beyond the last, a row costs what the
        rows before it cost, and what one costs of which nothing is known, in the mean.
        """
        known = self._known(rows)
        first = self._first(rows, known)
        seconds = [first]
        at, cost, slope = rows, first, self._unknown(first, rows)
        for count in sorted(count for count in known if count > rows):
            measured = known[count].relative
            step = (measured - cost) / (count - at)
            seconds += [cost + step * i for i in range(1, count - at + 1)]
            at, cost, slope = count, measured, (max(step, 0.0) + self._unknown(measured, count)) / 2
            if at >= rows + more:
                break
        seconds += [cost + slope * i for i in range(1, rows + more - at + 1)]
        scale = self._scale or 1.0
        return [scale * max(relative, first) for relative in seconds[: more + 1]]

    def is_firm(self, rows: int) -> bool:
        """Whether steps with drafts, of so many rows in all, were measured often enough."""
        known = self._drafted.get(rows)
        return known is not None and known.steps >= FIRM

    def _unknown(self, cost: float, rows: int) -> float:
        """The relative cost of one more row than so many, while nothing is known of it."""
        share = DEFAULT_SHARE * cost / rows
        if not self._prompts or not self._scale:
            return share
        return min(share, PROMPT_SHARE * self._prompt_row / self._scale)

    def _known(self, rows: int) -> "dict[int, _Measured]":
        known = {**self._plain, **self._drafted}
        if rows in self._plain:
            known[rows] = self._plain[rows]
        return known

    def _first(self, rows: int, known: "dict[int, _Measured]") -> float:
        """The relative cost of so many plain rows: as measured, or on the line through the nearest counts."""
        if not known:
            return 1.0
        if rows in known:
            return known[rows].relative
        below = max((count for count in known if count < rows), default=None)
        above = min((count for count in known if count > rows), default=None)
        if below is not None and above is not None:
            part = (rows - below) / (above - below)
            return (1 - part) * known[below].relative + part * known[above].relative
        nearest = below or above or rows
        return known[nearest].relative * (1 + DEFAULT_SHARE * (rows - nearest) / nearest)

    def _forget(self) -> None:
        for table in (self._plain, self._drafted):
            for known in table.values():
                known.steps //= 2


class _Measured:
    """The cost of one count of rows."""

    __slots__ = ("relative", "steps")

    def __init__(self, relative: float):
        self.relative = relative  # to the scale
        self.steps = 1
