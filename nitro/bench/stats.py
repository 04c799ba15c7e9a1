"""Percentiles, and rounds compared in pairs."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest of the values that at least this share of them does not exceed. `share`: 0 to 1."""
    return sorted(values)[max(math.ceil(share * len(values)) - 1, 0)]


@dataclass(frozen=True)
class Ratio:
    """One side ÷ the other, round by round: a drift of the machine's speed affects both halves of a round."""

    median: float
    lowest: float
    highest: float

    @classmethod
    def of(cls, ours: Sequence[float], theirs: Sequence[float]) -> "Ratio":
        """The ratios of two series with one value per round."""
        ratios = [a / b for a, b in zip(ours, theirs, strict=True)]
        return cls(statistics.median(ratios), min(ratios), max(ratios))

    def __str__(self) -> str:
        return f"{self.median:.2f} ({self.lowest:.2f}–{self.highest:.2f})"


def turns(rounds: int, sides: int = 2) -> list[tuple[int, ...]]:
    """The order of the sides in each round: AB BA AB …, or ABC CBA …, which cancels a steady drift."""
    forward = tuple(range(sides))
    return [forward if i % 2 == 0 else forward[::-1] for i in range(rounds)]
