"""Draft tokens: what a sequence may say next, guessed from text, so that the runner checks several in one step. Pure.

Drafts come from the text that the client predicted, read along with the answer; else from the sequence itself, where
its last tokens stood before (prompt lookup). They get longer while they are accepted, and pause, longer each time,
while they do not pay. What share of them must be accepted for that depends on the device and on the step
(`step_cost.py`).
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence

MIN_DRAFT = 4  # tokens of a draft after one that was rejected
FIRST_DRAFT = 8  # tokens of the first draft of a prediction
MAX_DRAFT = 12  # tokens of a draft when all are accepted
MAX_DRAFTED = 48  # tokens of all drafts in a step
NGRAM = 3  # tokens that must agree before a lookup
MIN_AGREEMENT = 2  # tokens that must agree before a prediction that the answer has left is followed again
SEARCH_RADIUS = 16  # tokens around where the answer may meet it again
MAX_BREAK_EVEN = 0.97  # where a larger share than this must be accepted, nothing is drafted
MAX_PAUSE = 256  # steps


class Drafter:
    """Drafts for one sequence, and learns what became of the drafts."""

    def __init__(self, predicted: Sequence[int] = ()):
        """`predicted`: the tokens of the client's prediction, or none."""
        self._sources: list[_Source] = [_Prediction(list(predicted))] if predicted else []
        self._sources.append(_PromptLookup())
        self._last = self._sources[0]
        self._break_even = 0.0  # of the last draft

    @property
    def predicted(self) -> bool:
        """Whether the last draft was of the client's prediction."""
        return isinstance(self._last, _Prediction)

    def draft(self, tokens: list[int], generated: int, limit: int, break_even: float) -> list[int]:
        """At most `limit` tokens that may follow `tokens`, of which the last `generated` are the answer so far.

        `break_even`: the share of them, 0 to 1, that must be accepted so that drafting pays.
        """
        self._break_even = break_even
        if break_even > MAX_BREAK_EVEN:
            return []
        for source in self._sources:
            if draft := source.draft(tokens, generated, limit):
                self._last = source
                return draft
        return []

    def settle(self, drafted: int, accepted: int) -> None:
        """Of so many tokens of the last draft so many were accepted, the first ones."""
        self._last.settle(drafted, accepted, self._break_even)


class _Source(ABC):
    """Where drafts come from. Length and pause of its drafts are each source's own."""

    def __init__(self, length: int):
        self._length = length
        self._next_pause = 1  # steps
        self._paused = 0  # steps left of the pause

    def draft(self, tokens: list[int], generated: int, limit: int) -> list[int]:
        if self._paused > 0:
            self._paused -= 1
            return []
        return self._following(tokens, generated)[: min(self._length, limit)]

    def settle(self, drafted: int, accepted: int, break_even: float) -> None:
        if accepted == drafted:
            self._length = min(self._length * 3 // 2, MAX_DRAFT)
        else:
            self._length = min(max(accepted, MIN_DRAFT), MAX_DRAFT)
        if accepted >= break_even * drafted:
            self._next_pause = 1
        else:
            self._paused = self._next_pause
            self._next_pause = min(2 * self._next_pause, MAX_PAUSE)

    @abstractmethod
    def _following(self, tokens: list[int], generated: int) -> list[int]:
        """What may follow, as far as the source knows."""


class _Prediction(_Source):
    """A text that the answer follows, leaves at a changed word, and meets again.

    It is met again as far on as the answer is by then, or where it was left, after something that the prediction does
    not have, such as reasoning.
    """

    def __init__(self, predicted: list[int]):
        super().__init__(FIRST_DRAFT)
        self._predicted = predicted
        self._position = 0  # in the prediction, where the last draft begins
        self._offset = 0  # how far that is ahead of the position in the answer
        self._followed = 0  # the position up to which the answer has followed it
        self._left = False

    def _following(self, tokens: list[int], generated: int) -> list[int]:
        position = generated + self._offset
        if self._left:
            last = tokens[-min(MIN_AGREEMENT, generated) :]
            ends = [end for near in (position, self._followed) for end in self._ends_near(near, last)]
            if not ends:
                return []
            position = min(ends, key=lambda end: abs(end - position))
            self._offset = position - generated
            self._left = False
        self._position = position
        return self._predicted[position : position + MAX_DRAFT]

    def _ends_near(self, position: int, last: list[int]) -> list[int]:
        """Where these tokens end in the prediction, not far from that position."""
        start = max(position - SEARCH_RADIUS, len(last))
        stop = min(position + SEARCH_RADIUS, len(self._predicted)) + 1
        return [end for end in range(start, stop) if self._predicted[end - len(last) : end] == last]

    def settle(self, drafted: int, accepted: int, break_even: float) -> None:
        super().settle(drafted, accepted, break_even)
        self._left = accepted < drafted
        if accepted:
            self._followed = self._position + accepted


class _PromptLookup(_Source):
    """What the sequence has said already. The last place counts, accepted or not."""

    def __init__(self) -> None:
        super().__init__(MIN_DRAFT)
        self._followers: dict[tuple[int, ...], int] = {}  # n-gram → where what follows it begins, the last time
        self._known = NGRAM  # where the next n-gram to note ends

    def _following(self, tokens: list[int], generated: int) -> list[int]:
        for end in range(self._known, len(tokens)):
            self._followers[tuple(tokens[end - NGRAM : end])] = end
        self._known = max(len(tokens), self._known)
        begin = self._followers.get(tuple(tokens[-NGRAM:]), len(tokens))
        return tokens[begin : begin + MAX_DRAFT]
