"""Whether the next step generates or embeds, where both wait. Pure: it is given the times.

Embeddings have a share of the engine's time while anything is generated. What they will take is paid before: steps
generate until there is enough for what the last one took. No more than that is saved up.
"""

SHARE = 0.06  # of the time, for embeddings: text is to keep 0.8 of its speed (docs/decisions.md)


class Turns:
    """Learns how long each step took."""

    def __init__(self, share: float = SHARE):
        self._pay = share / (1 - share)  # seconds of embedding for one of generating
        self._saved = 0.0  # seconds
        self._last = 0.0  # that the last step of embeddings took
        self._paid = False  # whether text waited when it began

    def embeds(self, generation_waits: bool, embedding_waits: bool) -> bool:
        """Whether the next step is to embed."""
        self._paid = generation_waits
        if not generation_waits:
            self._saved = 0.0
            return embedding_waits
        return embedding_waits and self._saved >= self._last

    def generated(self, seconds: float) -> None:
        """A step generated for so long."""
        self._saved = min(self._saved + seconds * self._pay, self._last)

    def embedded(self, seconds: float) -> None:
        """A step embedded for so long."""
        self._saved = self._saved - seconds if self._paid else 0.0
        self._last = seconds
