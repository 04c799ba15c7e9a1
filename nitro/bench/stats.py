"""A sample's middle and its high end, and rounds compared in pairs."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least `share` of them do not exceed."""
    return sorted(values)[max(math.ceil(share * len(values)) - 1, 0)]


@dataclass(frozen=True)
class Ratio:
    """Ours ÷ theirs, round by round: drift of the machine is in both halves of a round."""

    median: float
    least: float
    most: float

    @classmethod
    def of(cls, ours: Sequence[float], theirs: Sequence[float]) -> "Ratio":
        ratios = [a / b for a, b in zip(ours, theirs, strict=True)]
        return cls(statistics.median(ratios), min(ratios), max(ratios))

    def __str__(self) -> str:
        return f"{self.median:.2f} ({self.least:.2f}–{self.most:.2f})"


def turns(rounds: int, sides: int = 2) -> list[tuple[int, ...]]:
    """Who goes when in each round: AB BA AB …, or ABC CBA …, cancels steady drift."""
    forth = tuple(range(sides))
    return [forth if i % 2 == 0 else forth[::-1] for i in range(rounds)]
