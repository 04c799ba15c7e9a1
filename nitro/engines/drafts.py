"""What a sequence may say next, guessed from text: the runner checks several guessed tokens in one step. Pure.

A guess is what followed the last place where the sequence's last tokens stood: in the text that the client predicted,
else in the sequence itself (prompt look-up). A sequence drafts more while its guesses come true, and pauses longer each
time they do not: a checked token costs about half of a step of its own on a CPU.
"""

from collections.abc import Sequence

GRAM = 3  # tokens that must agree before a guess
LEAST, MOST = 4, 48  # tokens of a draft; more would fill a tile of llama.cpp's attention, with all it costs
PAYS = 0.6  # the share of guesses that must come true
LONGEST_PAUSE = 256  # steps


class Drafts:
    """Of one sequence. `predicted`: the tokens of the client's prediction, or none."""

    def __init__(self, predicted: Sequence[int] = ()):
        self._predicted = list(predicted)
        self._followers: dict[tuple[int, ...], int] = {}  # n-gram → where what follows it begins
        self._known = 0  # tokens of the source whose n-grams are in there
        self._length = MOST if predicted else LEAST
        self._pause, self._wait = 1, 0

    def guess(self, tokens: list[int], generated: int, most: int) -> list[int]:
        """At most `most` tokens that may follow `tokens`, of which the last `generated` are the answer so far."""
        if self._wait > 0:
            self._wait -= 1
            return []
        source = self._predicted or tokens
        self._learn(source, len(source) - (0 if self._predicted else 1))
        at = self._followers.get(tuple(tokens[-GRAM:])) if generated >= GRAM or not self._predicted else generated
        if at is None:
            return []
        return source[at : at + min(self._length, most)]

    def settle(self, guessed: int, right: int) -> None:
        """Of so many guessed tokens so many were right, the first ones."""
        if right == guessed:
            self._length, self._pause = min(2 * self._length, MOST), 1
        elif right < PAYS * guessed:
            self._length = max(min(right, self._length // 2), LEAST)
            self._wait, self._pause = self._pause, min(2 * self._pause, LONGEST_PAUSE)

    def _learn(self, source: list[int], until: int) -> None:
        """Note the n-grams that end before `until`; of equals the last."""
        for end in range(max(self._known, GRAM), until + 1):
            self._followers[tuple(source[end - GRAM : end])] = end
        self._known = max(until + 1, self._known)
