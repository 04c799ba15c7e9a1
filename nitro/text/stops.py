"""Matches stop strings in text that comes in pieces. Knows nothing of tokens."""

from collections.abc import Sequence

from nitro.text.partial_tags import partial_length


class StopMatcher:
    """Passes text on until a stop string appears, and drops the stop string and what follows.

    It holds back only text that may be the beginning of a stop string. Of several stop strings the one that is complete
    first ends the text (the longest of those), so the result does not depend on how the text was cut into pieces.
    """

    def __init__(self, stops: Sequence[str], keep: bool = False):
        """`keep`: the stop string itself is passed on, too."""
        self._keep = keep
        self._stops = [stop for stop in stops if stop]
        self._held = ""
        self.found: str | None = None  # what has ended the text

    @property
    def stopped(self) -> bool:
        """Whether a stop string has appeared."""
        return self.found is not None

    @property
    def held(self) -> int:
        """How many characters are held back."""
        return len(self._held)

    def feed(self, text: str) -> str:
        """The text that can be passed on now. Sets `found` when a stop string has appeared."""
        if self.stopped:
            return ""
        if not self._stops:
            return text
        text = self._held + text
        found = [(at + len(stop), at) for stop in self._stops if (at := text.find(stop)) >= 0]
        if found:
            end, begin = min(found)
            self.found = text[begin:end]
            self._held = ""
            return text[: end if self._keep else begin]
        certain = len(text) - partial_length(text, self._stops)
        self._held = text[certain:]
        return text[:certain]

    def flush(self) -> str:
        """What was held back. The text ends here, so it was no stop string."""
        held = self._held
        self._held = ""
        return held
