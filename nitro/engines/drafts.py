"""What a sequence may say next, guessed from text: the runner checks several guessed tokens in one step. Pure.

Guesses come from the text that the client predicted, read along with the answer; else from the sequence itself, where
its last tokens stood before (prompt look-up). They get longer while they come true, and pause, longer each time, where
they do not pay: what share of them must come true for that depends on the device and on the step (`cost.py`).
"""

from collections.abc import Sequence

LEAST, FIRST, MOST = 4, 8, 12  # tokens of a guess: after a wrong one, at first, and when all goes well
TOGETHER = 48  # tokens of all guesses in a step
GRAM = 3  # tokens that must agree before a look-up
AGREE, NEAR = 2, 16  # a prediction that was left is met again where so many tokens agree, so near to where it was
HOPELESS = 0.97  # where a larger share than this must come true, none are made
LONGEST_PAUSE = 256  # steps


class Drafts:
    """Of one sequence: guesses, and learns what became of them."""

    def __init__(self, predicted: Sequence[int] = ()):
        """`predicted`: the tokens of the client's prediction, or none."""
        self._source: _Prediction | _LookUp = _Prediction(list(predicted)) if predicted else _LookUp()
        self._length = FIRST if predicted else LEAST
        self._pays = 0.0  # of the last guess
        self._pause, self._wait = 1, 0

    def guess(self, tokens: list[int], generated: int, most: int, pays: float) -> list[int]:
        """At most `most` tokens that may follow `tokens`, of which the last `generated` are the answer so far. `pays`:
        the share of them that must come true."""
        self._pays = pays
        if pays > HOPELESS:
            return []
        if self._wait > 0:
            self._wait -= 1
            return []
        return self._source.guess(tokens, generated)[: min(self._length, most)]

    def settle(self, guessed: int, right: int) -> None:
        """Of so many guessed tokens so many were right, the first ones."""
        self._length = min(self._length * 3 // 2, MOST) if right == guessed else min(max(right, LEAST), MOST)
        if right >= self._pays * guessed:
            self._pause = 1
        else:
            self._wait, self._pause = self._pause, min(2 * self._pause, LONGEST_PAUSE)
        self._source.settle(guessed, right)


class _Prediction:
    """A text that the answer follows, leaves at a changed word, and meets again."""

    def __init__(self, predicted: list[int]):
        self._predicted = predicted
        self._ahead = 0  # how far the place in the prediction is ahead of that in the answer
        self._left = False

    def guess(self, tokens: list[int], generated: int) -> list[int]:
        at = generated + self._ahead
        if self._left:
            last = tokens[-min(AGREE, generated) :]
            near = range(max(at - NEAR, len(last)), min(at + NEAR, len(self._predicted)) + 1)
            places = [end for end in near if self._predicted[end - len(last) : end] == last]
            if not places:
                return []
            at = min(places, key=lambda end: abs(end - at))
            self._ahead, self._left = at - generated, False
        return self._predicted[at : at + MOST]

    def settle(self, guessed: int, right: int) -> None:
        self._left = right < guessed


class _LookUp:
    """What the sequence has said already."""

    def __init__(self) -> None:
        self._followers: dict[tuple[int, ...], int] = {}  # n-gram → where what follows it begins, the last time
        self._known = GRAM  # where the next n-gram to note ends

    def guess(self, tokens: list[int], generated: int) -> list[int]:
        for end in range(self._known, len(tokens)):
            self._followers[tuple(tokens[end - GRAM : end])] = end
        self._known = max(len(tokens), self._known)
        at = self._followers.get(tuple(tokens[-GRAM:]), len(tokens))
        return tokens[at : at + MOST]

    def settle(self, guessed: int, right: int) -> None:
        pass  # the last place counts, right or wrong
