"""Where the tokens of a slot stand for llama.cpp, which counts positions, while all above it count tokens. Pure.

They are the same but behind images of models with M-RoPE, whose rows have places in the image instead: such an image of
n rows goes on by fewer positions. With its first row at p all its rows are at p for the KV cache, and what follows is
at p + positions. So

    position(i) = i + Σ (positions − tokens), over the runs before token i

and of a slot the last position is not enough to say how many tokens it holds.
"""

from typing import NamedTuple


class Run(NamedTuple):
    """A run of media in a slot, from its token `start` on."""

    start: int
    tokens: int
    positions: int


class SlotPositions:
    """Which runs that are computed whole are in which slot. A slot without any needs no entry."""

    def __init__(self) -> None:
        self._runs: dict[int, list[Run]] = {}

    def add(self, slot: int, run: Run) -> None:
        """The slot holds one more, behind all others."""
        self._runs.setdefault(slot, []).append(run)

    def position(self, slot: int, length: int) -> int:
        """The position of the token that comes after the slot's first `length`."""
        return length + sum(run.positions - run.tokens for run in self._runs.get(slot, ()) if run.start < length)

    def tokens(self, slot: int, end: int) -> int:
        """How many tokens a slot holds whose last one stands before position `end`."""
        shift = 0
        for run in self._runs.get(slot, ()):
            begin = run.start + shift
            if end <= begin:
                break
            if end <= begin + run.positions:  # it is the last that the slot holds
                return run.start + run.tokens
            shift += run.positions - run.tokens
        return end - shift

    def is_border(self, slot: int, length: int) -> bool:
        """Whether the slot can be cut there: not inside a run."""
        return not any(run.start < length < run.start + run.tokens for run in self._runs.get(slot, ()))

    def cut(self, slot: int, length: int) -> None:
        """The slot holds its first `length` tokens only."""
        kept = [run for run in self._runs.pop(slot, ()) if run.start < length]
        if kept:
            self._runs[slot] = kept

    def copy(self, src: int, dst: int, length: int) -> None:
        """`dst` holds the first `length` tokens of `src`."""
        self.put(dst, [run for run in self.of(src) if run.start < length])

    def of(self, slot: int) -> list[Run]:
        """The runs in a slot."""
        return self._runs.get(slot, [])

    def put(self, slot: int, runs: list[Run]) -> None:
        """The slot holds these."""
        if runs:
            self._runs[slot] = runs

    def clear(self, slot: int) -> None:
        """The slot is empty."""
        self._runs.pop(slot, None)
