"""The pieces in which prompts are computed, where what a token gives depends on the piece it is computed in. Pure.

With a grid of G tokens a prompt of P tokens is always computed in the same pieces, whatever comes from a cache:

    0 … G … 2G … as far as P−1 │ the last token │ each token of the answer

So a chunk ends where a piece does, and of what a slot holds only whole pieces of its prompt are used again. Without a
grid (0) a chunk may end anywhere, and everything may be used again.
"""


class PromptGrid:
    """Where pieces end. `size`: tokens of a piece, or 0."""

    def __init__(self, size: int):
        self.size = size

    def down(self, length: int) -> int:
        """The end of the last whole piece of so many tokens of a prompt."""
        return length // self.size * self.size if self.size else length

    def down_all(self, points: tuple[int, ...]) -> tuple[int, ...]:
        """Ascending positions, each moved to the end of a piece before it; none at 0, and none twice."""
        return tuple(sorted({down for point in points if (down := self.down(point))}))

    def reusable(self, computed: int, prompt_length: int) -> int:
        """How many of a sequence's computed tokens another one may use."""
        return self.down(min(computed, prompt_length - 1)) if self.size else computed

    def chunk_end(self, start: int, end: int, prompt_length: int) -> int:
        """Where a chunk from `start` on ends that should end at `end`: there or before, but after one piece at
        least."""
        if not self.size:
            return end
        last = prompt_length - 1
        if start >= last:
            return start + 1
        return min(max(self.down(end), self.down(start) + self.size), last)

    def pieces(self, start: int, stop: int, prompt_length: int) -> list[tuple[int, int]]:
        """A chunk as the pieces to compute, one after the other: (start, stop) of each."""
        if not self.size:
            return [(start, stop)] if start < stop else []
        ends = []
        while start < stop:
            end = min(self.chunk_end(start, start, prompt_length), stop)
            ends.append((start, end))
            start = end
        return ends
