"""What a sequence may say next, guessed from text: what the client predicted, and what was said before. Pure.

A guess costs nothing until it is checked, so each source guesses at every step, and what the model then said tells how
good the guesses are, whether they were checked or not. Which are worth checking is for `draft_policy.py` to say.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

from nitro.engines.scheduling.draft_chances import MAX_AGREEMENT, Chances, SourceName

MAX_DRAFT = 32  # tokens of a draft
MAX_DRAFTED = 48  # tokens of all drafts in a step
NGRAM = 3  # tokens that must agree before a lookup
MIN_AGREEMENT = 2  # tokens that must agree before a prediction that the answer has left is followed again
SEARCH_RADIUS = 16  # tokens around where the answer may meet it again
NEAR = 3  # tokens since the answer has left it, and around where it may be: so far one that agrees is enough


@dataclass(slots=True)
class Guess:
    """Tokens that may follow, and how many before them agreed with what the source took them from. `gave_up`: the draft
    model was asked for more, and was not sure of the next."""

    tokens: list[int]
    agreement: int
    gave_up: bool = False


class Drafter:
    """The guesses for one sequence, and what became of them."""

    def __init__(self, predicted: Sequence[int] = (), lookup: bool = True):
        """`predicted`: the tokens of the client's prediction, or none. `lookup`: guess what was said before, too."""
        self.guesses: dict[SourceName, Guess] = {}  # of what follows the first `_length` tokens
        self.chances: dict[SourceName, Chances] = {}  # by source, once there was a guess
        self.checked: SourceName | None = None  # where the last draft came from
        self.agreed = 0  # tokens of the draft model that were right one after the other
        self.guessed_to = -1  # where the draft model guessed last; -1: never
        self.unanswered = 0  # times in a row that it gave no guess
        self._sources: dict[SourceName, _Source] = {}
        if predicted:
            self._sources["prediction"] = _Prediction(list(predicted))
        if lookup:
            self._sources["lookup"] = _PromptLookup()
        self._length = 0

    def look(self, tokens: list[int], generated: int) -> dict[SourceName, Guess]:
        """What each source says follows `tokens`, of which the last `generated` are the answer so far."""
        self._length = len(tokens)
        self.checked = None
        self.guesses = {}
        for name, source in self._sources.items():
            guess = source.guess(tokens, generated)
            if media := next((at for at, token in enumerate(guess.tokens) if token < 0), None):
                guess.tokens = guess.tokens[:media]
            if guess.tokens and guess.tokens[0] >= 0:
                self.guesses[name] = guess
        return self.guesses

    def settle(self, length: int, drawn: list[int]) -> None:
        """The model said these after so many tokens: learn which guesses were right."""
        if length == self._length:
            for name, guess in self.guesses.items():
                right = self._learn(self.chances[name], guess, drawn)
                if name == "model":
                    self.agreed = self.agreed + right if right == len(guess.tokens) else 0
        self.guesses = {}

    def _learn(self, chances: Chances, guess: Guess, drawn: list[int]) -> int:
        """Returns how many were right. A guess that was asked for and not given counts as wrong: it took a pass too."""
        for i, (token, said) in enumerate(zip(guess.tokens, drawn, strict=False)):
            chances.note(guess.agreement + i, token == said)
            if token != said:
                return i
        right = min(len(guess.tokens), len(drawn))
        if guess.gave_up and right == len(guess.tokens):
            chances.note(guess.agreement + right, False)
        return right


class _Source(ABC):
    """Where guesses come from."""

    @abstractmethod
    def guess(self, tokens: list[int], generated: int) -> Guess:
        """At most MAX_DRAFT tokens that may follow; none where the source knows nothing."""


class _Prediction(_Source):
    """A text that the answer follows, leaves at a changed word, and meets again.

    Most likely one token was replaced by another, so it is guessed at once that the answer goes on behind that. If not,
    one token that agrees tells for a short while where the answer goes on. Then more must agree: as far on as the
    answer is by then, or where it was left, after something that the prediction does not have, such as reasoning.
    """

    def __init__(self, predicted: list[int]):
        self._predicted = predicted
        self._position = 0  # in the prediction: what comes next, if as many tokens were replaced as there were
        self._agreed = 0  # tokens that followed it, one after the other
        self._read = 0  # tokens of the answer that it was compared with
        self._left_at: int | None = None  # where in the prediction; None: the answer follows it
        self._since = 0  # tokens of the answer since then

    def guess(self, tokens: list[int], generated: int) -> Guess:
        self._follow(tokens[len(tokens) - (generated - self._read) :])
        self._read = generated
        if self._left_at is not None and not self._meet(tokens, generated, self._left_at) and self._since > 1:
            return Guess([], 0)
        return Guess(self._predicted[self._position : self._position + MAX_DRAFT], self._agreed)

    def _follow(self, said: list[int]) -> None:
        """Compare it with what the answer has said since."""
        for token in said:
            if self._predicted[self._position : self._position + 1] == [token]:
                self._agreed += 1
                if self._agreed >= MIN_AGREEMENT:
                    self._left_at = None
            else:
                self._agreed = 0
                if self._left_at is None:
                    self._left_at, self._since = self._position, 0
            self._position += 1
            self._since += 1

    def _meet(self, tokens: list[int], generated: int, left_at: int) -> bool:
        """Go on where the last tokens end in the prediction, not far from where they may be expected."""
        last = tokens[-min(MIN_AGREEMENT, generated) :]
        ends = [end for near in (self._position, left_at) for end in self._ends_near(near, last, SEARCH_RADIUS)]
        if ends:
            self._left_at = None
        elif self._agreed:
            return True
        elif self._since <= NEAR:
            last = last[-1:]
            ends = self._ends_near(self._position, last, NEAR)
        if not ends:
            return False
        self._position = min(ends, key=lambda end: abs(end - self._position))
        self._agreed = len(last)
        return True

    def _ends_near(self, position: int, last: list[int], radius: int) -> list[int]:
        """Where these tokens end in the prediction, not far from that position."""
        start = max(position - radius, len(last))
        stop = min(position + radius, len(self._predicted)) + 1
        return [end for end in range(start, stop) if self._predicted[end - len(last) : end] == last]


class _PromptLookup(_Source):
    """What the sequence has said already. The last place counts, accepted or not; what repeats itself goes on so."""

    def __init__(self) -> None:
        self._followers: dict[tuple[int, ...], int] = {}  # n-gram → where what follows it begins, the last time
        self._known = NGRAM  # where the next n-gram to note ends

    def guess(self, tokens: list[int], generated: int) -> Guess:
        for end in range(self._known, len(tokens)):
            self._followers[tuple(tokens[end - NGRAM : end])] = end
        self._known = max(len(tokens), self._known)
        begin = self._followers.get(tuple(tokens[-NGRAM:]))
        if begin is None:
            return Guess([], 0)
        agreement = _agreement(tokens, begin)
        following = tokens[begin : begin + MAX_DRAFT]
        if agreement >= len(tokens) - begin:
            following = (following * MAX_DRAFT)[:MAX_DRAFT]
        return Guess(following, agreement)


def _agreement(tokens: list[int], begin: int) -> int:
    """How many tokens before `begin` are as the last ones."""
    agreement = NGRAM
    back = len(tokens) - begin
    for at in range(begin - NGRAM - 1, max(begin - MAX_AGREEMENT, 0) - 1, -1):
        if tokens[at] != tokens[at + back]:
            break
        agreement += 1
    return agreement
