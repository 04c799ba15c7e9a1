"""What a sequence may say next, guessed from text: the runner checks several guessed tokens in one step. Pure.

Guesses come from the text that the client predicted, read along with the answer; else from the sequence itself, where
its last tokens stood before (prompt look-up). They get longer while they come true, and pause, longer each time, where
they do not pay: what share of them must come true for that depends on the device and on the step (`cost.py`).
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence

LEAST, FIRST, MOST = 4, 8, 12  # tokens of a guess: after a wrong one, at first, and when all goes well
TOGETHER = 48  # tokens of all guesses in a step
GRAM = 3  # tokens that must agree before a look-up
AGREE, NEAR = 2, 16  # a prediction that was left is met again where so many tokens agree, so near to where it may be
HOPELESS = 0.97  # where a larger share than this must come true, none are made
LONGEST_PAUSE = 256  # steps


class Drafts:
    """Of one sequence: guesses, and learns what became of them."""

    def __init__(self, predicted: Sequence[int] = ()):
        """`predicted`: the tokens of the client's prediction, or none."""
        self._sources: list[_Source] = [_Prediction(list(predicted))] if predicted else []
        self._sources.append(_LookUp())
        self._last = self._sources[0]
        self._pays = 0.0  # of the last guess

    @property
    def predicted(self) -> bool:
        """Whether the last guess was of the client's prediction."""
        return isinstance(self._last, _Prediction)

    def guess(self, tokens: list[int], generated: int, most: int, pays: float) -> list[int]:
        """At most `most` tokens that may follow `tokens`, of which the last `generated` are the answer so far. `pays`:
        the share of them that must come true."""
        self._pays = pays
        if pays > HOPELESS:
            return []
        for source in self._sources:
            if guess := source.next(tokens, generated, most):
                self._last = source
                return guess
        return []

    def settle(self, guessed: int, right: int) -> None:
        """Of so many guessed tokens so many were right, the first ones."""
        self._last.settle(guessed, right, self._pays)


class _Source(ABC):
    """Where guesses come from. Those of each get longer, and pause, for themselves."""

    def __init__(self, length: int):
        self._length = length
        self._pause, self._wait = 1, 0

    def next(self, tokens: list[int], generated: int, most: int) -> list[int]:
        if self._wait > 0:
            self._wait -= 1
            return []
        return self._guess(tokens, generated)[: min(self._length, most)]

    def settle(self, guessed: int, right: int, pays: float) -> None:
        self._length = min(self._length * 3 // 2, MOST) if right == guessed else min(max(right, LEAST), MOST)
        if right >= pays * guessed:
            self._pause = 1
        else:
            self._wait, self._pause = self._pause, min(2 * self._pause, LONGEST_PAUSE)

    @abstractmethod
    def _guess(self, tokens: list[int], generated: int) -> list[int]:
        """What may follow, as far as it can be told."""


class _Prediction(_Source):
    """A text that the answer follows, leaves at a changed word, and meets again: as far on as the answer is by then, or
    where it was left, after something that the prediction has not, such as reasoning."""

    def __init__(self, predicted: list[int]):
        super().__init__(FIRST)
        self._predicted = predicted
        self._at = 0  # where the last guess begins in the prediction
        self._ahead = 0  # how far that place is ahead of the one in the answer
        self._followed = 0  # up to where the answer has followed it
        self._left = False

    def _guess(self, tokens: list[int], generated: int) -> list[int]:
        at = generated + self._ahead
        if self._left:
            last = tokens[-min(AGREE, generated) :]
            places = [end for near in (at, self._followed) for end in self._ends_near(near, last)]
            if not places:
                return []
            at = min(places, key=lambda end: abs(end - at))
            self._ahead, self._left = at - generated, False
        self._at = at
        return self._predicted[at : at + MOST]

    def _ends_near(self, place: int, last: list[int]) -> list[int]:
        """Where these tokens end, not far from that place."""
        near = range(max(place - NEAR, len(last)), min(place + NEAR, len(self._predicted)) + 1)
        return [end for end in near if self._predicted[end - len(last) : end] == last]

    def settle(self, guessed: int, right: int, pays: float) -> None:
        super().settle(guessed, right, pays)
        self._left = right < guessed
        if right:
            self._followed = self._at + right


class _LookUp(_Source):
    """What the sequence has said already. The last place counts, right or wrong."""

    def __init__(self) -> None:
        super().__init__(LEAST)
        self._followers: dict[tuple[int, ...], int] = {}  # n-gram → where what follows it begins, the last time
        self._known = GRAM  # where the next n-gram to note ends

    def _guess(self, tokens: list[int], generated: int) -> list[int]:
        for end in range(self._known, len(tokens)):
            self._followers[tuple(tokens[end - GRAM : end])] = end
        self._known = max(len(tokens), self._known)
        at = self._followers.get(tuple(tokens[-GRAM:]), len(tokens))
        return tokens[at : at + MOST]
