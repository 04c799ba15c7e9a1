"""Whether the next step generates or embeds, where both wait. Pure: it is given the times.

Embeddings have a share of the engine's time while anything is generated. A step that embeds takes as long as it takes,
and is paid back: so long as it is not, steps generate. What nobody used is not saved up.
"""

SHARE = 0.15  # of the time, for embeddings: chat keeps 0.85 of its speed, and 0.8 with what a change of work costs


class Turns:
    """Learns how long each step took."""

    def __init__(self, share: float = SHARE):
        self._back = share / (1 - share)  # what a second of generating pays back
        self._debt = 0.0  # seconds of embedding that are not paid back

    def embeds(self, generation_waits: bool, embedding_waits: bool) -> bool:
        """Whether the next step is to embed."""
        if not generation_waits:
            self._debt = 0.0
        return embedding_waits and self._debt <= 0.0

    def generated(self, seconds: float) -> None:
        """A step generated for so long."""
        self._debt = max(self._debt - seconds * self._back, 0.0)

    def embedded(self, seconds: float) -> None:
        """A step embedded for so long, while text waited to be generated."""
        self._debt += seconds
