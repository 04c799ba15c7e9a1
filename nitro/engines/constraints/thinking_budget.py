"""A limit on how long a sequence may reason: a Matcher around another or none, which then says what ends it."""

from nitro.engines.runner import Matcher, Tokenizer
from nitro.engines.types import ThinkingBudget

PARAM = "thinking_budget"


class ThinkingMatcher:
    """Counts the tokens of a reasoning, and when they are used up lets nothing through but `forced`, token by token."""

    def __init__(self, limit: ThinkingBudget, inner: Matcher | None, tokenizer: Tokenizer, vocabulary: int):
        self._limit, self._inner, self._tokenizer, self._vocabulary = limit, inner, tokenizer, vocabulary
        self._left = limit.budget
        self._thinking = not limit.opens
        self._heard = b""
        self._forced: list[int] = []  # still to be said
        self._over = False  # it has ended, or there is none
        self._force_if_due()

    @property
    def param(self) -> str:
        return self._inner.param if self._inner else PARAM

    @property
    def problem(self) -> str:
        return self._inner.problem if self._inner else "The reasoning cannot be ended."

    @property
    def schema_violated(self) -> bool:
        return self._inner is not None and self._inner.schema_violated

    def allows(self, token: int) -> bool:
        if self._forced:
            return token == self._forced[0]
        return self._inner is None or self._inner.allows(token)

    def mask(self) -> bytes | None:
        if not self._forced:
            return self._inner.mask() if self._inner else None
        mask = bytearray((self._vocabulary + 31) // 32 * 4)
        mask[self._forced[0] // 8] = 1 << self._forced[0] % 8
        return bytes(mask)

    def accept(self, token: int) -> bool:
        if self._inner and not self._inner.accept(token):
            return False
        if self._forced:
            self._forced = self._forced[1:]
            self._over = not self._forced
        elif not self._over:
            self._listen(token)
        return True

    @property
    def active(self) -> Matcher | None:
        return self._inner if self._over else self

    def _listen(self, token: int) -> None:
        self._heard += self._tokenizer.vocabulary_text(token)
        if self._thinking:
            self._left -= 1
            self._over = self._limit.closes in self._heard
            if not self._over:
                self._heard = self._heard[-len(self._limit.closes) :]
                self._force_if_due()
            return
        begun = self._heard.lstrip()
        if begun.startswith(self._limit.opens):
            self._thinking, self._heard = True, begun[len(self._limit.opens) :]
            self._force_if_due()
        else:
            self._over = not self._limit.opens.startswith(begun)

    def _force_if_due(self) -> None:
        if self._thinking and self._left <= 0:
            self._forced = self._tokenizer.encode(self._limit.forced)
