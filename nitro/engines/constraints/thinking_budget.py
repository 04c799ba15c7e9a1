"""A limit on how long a sequence may reason: a Matcher around another or none, which ends the reasoning in time."""

from nitro.engines.runner import Matcher, Tokenizer
from nitro.engines.types import ThinkingBudget

PARAM = "thinking_budget"


class ThinkingMatcher:
    """Counts the tokens of a reasoning. When they are used up it lets nothing through but `closing_text`, by token."""

    def __init__(self, budget: ThinkingBudget, inner: Matcher | None, tokenizer: Tokenizer, vocabulary: int):
        self._budget = budget
        self._inner = inner
        self._tokenizer = tokenizer
        self._vocabulary = vocabulary
        self._tokens_left = budget.max_tokens
        self._thinking = not budget.open_tag
        self._text = b""  # of the answer so far, as much as may hold part of a tag
        self._forced: list[int] = []  # tokens that must come next
        self._over = False  # the reasoning has ended, or there is none
        self._force_if_due()

    @property
    def param(self) -> str:
        """The inner matcher's, else `thinking_budget`."""
        return self._inner.param if self._inner else PARAM

    @property
    def problem(self) -> str:
        """See Matcher."""
        return self._inner.problem if self._inner else "The reasoning cannot be ended."

    @property
    def schema_violated(self) -> bool:
        """See Matcher."""
        return self._inner is not None and self._inner.schema_violated

    def allows(self, token: int) -> bool:
        """See Matcher."""
        if self._forced:
            return token == self._forced[0]
        return self._inner is None or self._inner.allows(token)

    def mask(self) -> bytes | None:
        """See Matcher."""
        if not self._forced:
            return self._inner.mask() if self._inner else None
        mask = bytearray((self._vocabulary + 31) // 32 * 4)
        mask[self._forced[0] // 8] = 1 << self._forced[0] % 8
        return bytes(mask)

    def accept(self, token: int) -> bool:
        """See Matcher."""
        if self._inner and not self._inner.accept(token):
            return False
        if self._forced:
            self._forced = self._forced[1:]
            self._over = not self._forced
        elif not self._over:
            self._watch(token)
        return True

    @property
    def active(self) -> Matcher | None:
        """The inner matcher alone once the reasoning is over."""
        return self._inner if self._over else self

    def _watch(self, token: int) -> None:
        """Look for the tags, and count the tokens between them."""
        self._text += self._tokenizer.vocabulary_text(token)
        if self._thinking:
            self._tokens_left -= 1
            ends = [tag for tag in (self._budget.close_tag, self._budget.call_opening) if tag]
            self._over = any(end in self._text for end in ends)
            if not self._over:
                self._text = self._text[-max(map(len, ends)) :]
                self._force_if_due()
            return
        text = self._text.lstrip()
        if text.startswith(self._budget.open_tag):
            self._thinking = True
            self._text = text[len(self._budget.open_tag) :]
            self._force_if_due()
        else:
            self._over = not self._budget.open_tag.startswith(text)

    def _force_if_due(self) -> None:
        if self._thinking and self._tokens_left <= 0:
            self._forced = self._tokenizer.encode(self._budget.closing_text)
