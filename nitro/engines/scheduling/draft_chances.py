"""How likely a guess is to be right: by where it comes from, and by how many tokens before it agreed. Pure.

Text that is copied agrees for long; a common phrase agrees for a few words. So the chance of a guess depends on the
tokens that agreed before it, and the chance of a chain is the product of its guesses', each of which has one token more
before it. What was seen in all sequences is what a new one begins with; what it then sees itself counts more.
"""

from math import sqrt
from typing import Literal

SourceName = Literal["lookup", "prediction", "model"]

MAX_AGREEMENT = 32  # tokens; more say nothing new
PRIOR_WEIGHT = 4.0  # guesses that what was known before counts as much as
SHARED_MEMORY = 256.0  # guesses, of all sequences together
OWN_MEMORY = 32.0  # guesses, of one sequence
CAUTION = 1.15  # standard errors: how much less likely the first guess of a rung is taken for than was seen
LEAST_CHANCE = 0.02  # a chain ends before a guess that is less likely to be reached and right

FIRST_CHANCES: dict[SourceName, list[float]] = {  # while nothing was seen: after 0, 1, 2, 4, 8, 16 and 32 tokens
    "lookup": [0.2, 0.2, 0.3, 0.5, 0.7, 0.85, 0.9],
    "prediction": [0.9, 0.8, 0.8, 0.9, 0.9, 0.95, 0.95],
    "model": [0.8] * 7,
}


class Chances:
    """What became of guesses, the newest counting most."""

    def __init__(self, prior: "Chances | list[float]", memory: float):
        """`prior`: what to go by where little was seen; by agreement, or of all sequences."""
        self._prior = prior
        self._kept = 1 - 1 / memory
        self._right = [0.0] * (MAX_AGREEMENT.bit_length() + 1)
        self._seen = [0.0] * (MAX_AGREEMENT.bit_length() + 1)

    def chance(self, agreement: int) -> float:
        """That a guess is right, 0 to 1, if so many tokens before it agreed."""
        return self._chance(_rung(agreement))

    def chain(self, agreement: int, count: int) -> list[float]:
        """For each of at most so many guesses in a row: the chance that it and all before it are right.

        A rung's chance is not known exactly, but it is one for all its guesses: if the first is right, the next is
        likelier to be. So each right one counts as seen (a beta-binomial distribution). It begins CAUTION lower than
        what was seen: of many chances, the one that was lucky looks best.
        """
        chances = []
        chance, at, right, seen = 1.0, -1, 0.0, 0.0
        for tokens in range(agreement, agreement + count):
            if (rung := _rung(tokens)) != at:
                at, right, seen = rung, *self._counted(rung)
                right -= CAUTION * sqrt(right * (seen - right) / seen)
            chance *= right / seen
            right, seen = right + 1, seen + 1
            if chance < LEAST_CHANCE:
                break
            chances.append(chance)
        return chances

    def note(self, agreement: int, right: bool) -> None:
        """A guess before which so many tokens agreed was right, or was not."""
        rung = _rung(agreement)
        self._right[rung] = self._kept * self._right[rung] + right
        self._seen[rung] = self._kept * self._seen[rung] + 1
        if isinstance(self._prior, Chances):
            self._prior.note(agreement, right)

    def _chance(self, rung: int) -> float:
        right, seen = self._counted(rung)
        return right / seen

    def _counted(self, rung: int) -> tuple[float, float]:
        """Guesses that were right, and all; what was known before included.

        To begin with, more that agreed makes no guess less likely: changes come seldom, and of few guesses one is much.
        """
        if isinstance(self._prior, Chances):
            prior = self._prior._chance(rung)
        else:
            prior = max(self._prior[rung], self._chance(rung - 1) if rung else 0.0)
        return self._right[rung] + PRIOR_WEIGHT * prior, self._seen[rung] + PRIOR_WEIGHT


def _rung(agreement: int) -> int:
    """0, 1, 2–3, 4–7, 8–15, 16–31, 32 and more."""
    return min(agreement, MAX_AGREEMENT).bit_length()


def shared_chances(name: SourceName) -> Chances:
    """Of all sequences, for one source."""
    return Chances(FIRST_CHANCES[name], SHARED_MEMORY)


def own_chances(shared: Chances) -> Chances:
    """Of a new sequence."""
    return Chances(shared, OWN_MEMORY)
