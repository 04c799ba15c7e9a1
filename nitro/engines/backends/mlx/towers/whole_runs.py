"""Where slots hold rows that were computed seeing each other: of those a slot cannot keep a part. Pure."""

from nitro.engines.backends.mlx.towers.parts import stretches
from nitro.engines.runner import Chunk


class WholeRuns:
    """Places of runs that are atomic, by slot."""

    def __init__(self) -> None:
        self._spans: dict[int, list[tuple[int, int]]] = {}

    def note(self, chunk: Chunk) -> None:
        """This chunk is computed in its slot."""
        if chunk.media and any(run.atomic for run in chunk.media.values()):
            parts = stretches(chunk.tokens, chunk.start, chunk.stop, chunk.media)
            self._spans.setdefault(chunk.slot, []).extend((p.start, p.stop) for p in parts if p.run and p.run.atomic)

    def allow(self, slot: int, length: int) -> bool:
        """Whether the first `length` tokens can be kept alone."""
        return not any(start < length < stop for start, stop in self._spans.get(slot, []))

    def keep(self, slot: int, length: int, source: int | None = None) -> None:
        """The slot holds so many tokens now: its own or, with a `source`, that slot's."""
        spans = self._spans.get(slot if source is None else source, [])
        self._spans[slot] = [span for span in spans if span[1] <= length]
        if not self._spans[slot]:
            del self._spans[slot]
