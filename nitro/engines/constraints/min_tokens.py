"""A sequence that may not end yet: end-of-generation tokens are barred until it has its `min_tokens`."""

from nitro.engines.runner import Matcher
from nitro.engines.types import ModelInfo


class MinTokensMatcher:
    """Bars the end of a sequence, around the sequence's own matcher or none.

    It holds no state, so that a sequence may get one for any token. Where a grammar lets nothing but the end follow,
    the sequence ends.
    """

    def __init__(self, inner: Matcher | None, info: ModelInfo):
        self._inner = inner
        self._info = info

    @property
    def param(self) -> str:
        """The inner matcher's, else `min_tokens`."""
        return self._inner.param if self._inner else "min_tokens"

    @property
    def problem(self) -> str:
        """See Matcher."""
        return self._inner.problem if self._inner else "No token is possible but one that ends the answer."

    @property
    def schema_violated(self) -> bool:
        """See Matcher."""
        return self._inner is not None and self._inner.schema_violated

    def allows(self, token: int) -> bool:
        """See Matcher."""
        if token in self._info.eog:
            mask = self.mask()
            return bool(mask[token // 8] >> token % 8 & 1)
        return self._inner is None or self._inner.allows(token)

    def mask(self) -> bytes:
        """What the inner matcher allows without the end, or only the end where nothing else is left."""
        inner = self._inner.mask() if self._inner else None
        size = (self._info.vocabulary + 7) // 8 if inner is None else len(inner)
        allowed = (1 << self._info.vocabulary) - 1 if inner is None else int.from_bytes(inner, "little")
        going_on = allowed & ~sum(1 << token for token in self._info.eog)
        return (going_on or allowed).to_bytes(size, "little")

    def accept(self, token: int) -> bool:
        """See Matcher."""
        return self._inner is None or self._inner.accept(token)

    @property
    def active(self) -> Matcher | None:
        """The inner matcher: this one is made anew for each token."""
        return self._inner
