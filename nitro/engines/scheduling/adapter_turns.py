"""Whose adapters are applied in the next step, where a step can have one set only. Pure: it is given the times.

The sets of the sequences that run take turns, the one first that has waited the longest; one that is new waits behind
all others. So nobody starves, however many sequences another set has, or however often new sets come.

A step after a switch takes longer: what it takes more than others of as many rows under the same set is the price, as
measured. A turn has as many steps as make the price a small part of it, but ends when those who wait for the next token
of a stream have waited long enough.
"""

from collections.abc import Iterable

from nitro.engines.adapters import AdapterSet
from nitro.engines.runner import Chunk
from nitro.engines.scheduling.sequence import Sequence

PRICE_SHARE = 0.08  # of a turn: the most that the switch before it is to take
LONGEST_TURN = 0.15  # seconds after which no further step of it begins
FIRST_STEPS = 3  # of a turn while the price is not known: to compare the first with
FIRM = 3  # prices measured before they count
NEWEST = 0.2  # weight of the newest measurement
MOST_KNOWN = 256  # sets and rows whose seconds are remembered


class AdapterTurns:
    """For one scheduler. `next` before a step, `observe` after it."""

    def __init__(self, needed: bool):
        """`needed`: a step can have one set only. Else all may run in each."""
        self.current: AdapterSet = ()  # of the step; () where all may run
        self._needed = needed
        self._used = False  # whether any sequence has had adapters
        self._switched = False  # whether the step before it had another
        self._queue: list[AdapterSet] = []  # those with sequences that run; who waited the longest comes first
        self._left = 0  # steps of this turn
        self._elapsed = 0.0  # seconds of this turn
        self._price = 0.0  # seconds
        self._prices = 0  # how many were measured
        self._steady: dict[tuple[AdapterSet, int], float] = {}  # seconds of a step without a switch, by its rows

    @property
    def price(self) -> float:
        """Seconds that a switch takes; 0 while it is not known."""
        return self._price if self._prices >= FIRM else 0.0

    def next(self, running: list[Sequence]) -> list[Sequence]:
        """Those that the next step may have."""
        if not self._needed or not (self._used or any([sequence.adapters for sequence in running])):
            return running
        self._used = True
        before = self.current
        if running:
            self._choose([sequence.adapters for sequence in running])
        self._switched = self.current != before
        return [sequence for sequence in running if sequence.adapters == self.current]

    def observe(self, batch: list[Chunk], seconds: float) -> float:
        """The step computed this in so many seconds. Returns them without what the switch took of them."""
        if not self._used or not batch:
            return seconds
        self._elapsed += seconds
        if all([chunk.size == 1 for chunk in batch]):
            self._learn(len(batch), seconds)
        return max(seconds - self.price, seconds / 2) if self._switched else seconds

    def _choose(self, sets: Iterable[AdapterSet]) -> None:
        present = list(dict.fromkeys(sets))
        self._queue = [known for known in self._queue if known in present]
        self._queue += [new for new in present if new not in self._queue]
        stays = self.current in present and self._left > 0 and self._elapsed < LONGEST_TURN
        if len(present) == 1:
            self.current, self._left = present[0], 0  # who comes next need not wait for the end of a turn
            return
        if stays:
            self._left -= 1
            return
        self.current = next(known for known in self._queue if known != self.current)
        self._queue.remove(self.current)
        self._queue.append(self.current)
        self._left, self._elapsed = self._steps(self.current) - 1, 0.0

    def _steps(self, chosen: AdapterSet) -> int:
        """Of a turn of this set."""
        known = [seconds for (adapters, _), seconds in self._steady.items() if adapters == chosen]
        if self._prices < FIRM or not known:
            return FIRST_STEPS
        step = sum(known) / len(known)
        return max(round(self._price * (1 / PRICE_SHARE - 1) / step), 1) if step > 0 else 1

    def _learn(self, rows: int, seconds: float) -> None:
        """From a step of so many sequences that decode."""
        key = self.current, rows
        steady = self._steady.get(key)
        if not self._switched:
            if len(self._steady) >= MOST_KNOWN and steady is None:
                self._steady.clear()
            self._steady[key] = seconds if steady is None else steady + NEWEST * (seconds - steady)
        elif steady is not None:
            self._prices += 1
            more = min(max(seconds - steady, 0.0), steady)  # a step that takes twice as long was disturbed
            self._price += max(1 / self._prices, NEWEST) * (more - self._price)
