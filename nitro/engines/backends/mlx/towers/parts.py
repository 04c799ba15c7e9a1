"""A prompt in which some ids stand for rows of media, taken apart: stretches of text and of media, and positions. Pure.

Where a model has M-RoPE, a token's position is (time, height, width). A text's three are the same; an image's rows lie
on a grid that begins where the text before it ended, and the text behind goes on after the grid's longest side.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from nitro.engines.media_encoder import EncodedRun, EncodedRuns
from nitro.engines.scheduling.media_borders import run_at


@dataclass(frozen=True, slots=True)
class Stretch:
    """Tokens [start, stop) of a sequence, which are text or, with a `run`, rows of that from its row `first` on."""

    start: int
    stop: int
    run: EncodedRun | None = None
    first: int = 0


def stretches(tokens: list[int], start: int, stop: int, runs: EncodedRuns) -> Iterator[Stretch]:
    """What stands in tokens[start:stop], in order. The same picture twice in a row is two stretches."""
    while start < stop:
        if tokens[start] >= 0:
            end = next((i for i in range(start, stop) if tokens[i] < 0), stop)
            yield Stretch(start, end)
        else:
            found = run_at(tokens, runs, start)
            assert found
            begin, end = found[0], min(found[1], stop)
            yield Stretch(start, end, runs[tokens[start]], start - begin)
        start = end


def shift(tokens: list[int], runs: EncodedRuns, stop: int | None = None) -> int:
    """By how much positions behind tokens[:stop] differ from places: what its whole runs make of it."""
    if not runs:
        return 0
    counts = Counter(token for token in tokens[:stop] if token < 0)
    return sum(n // runs[id].tokens * (runs[id].positions - runs[id].tokens) for id, n in counts.items())


def positions(tokens: list[int], start: int, stop: int, runs: EncodedRuns) -> np.ndarray:
    """Those of tokens[start:stop]: int32 [3, stop - start]. Each run's rows tell theirs on its own grid."""
    moved = shift(tokens, runs, start)
    found = []
    for part in stretches(tokens, start, stop, runs):
        count = part.stop - part.start
        if part.run is None:
            found.append(np.broadcast_to(np.arange(part.start, part.stop) + moved, (3, count)))
            continue
        begin = part.start - part.first
        found.append(part.run.rows.grid[:, part.first : part.first + count] + begin + moved)  # type: ignore[attr-defined]
        if part.first + count == part.run.tokens:
            moved += part.run.positions - part.run.tokens
    return np.concatenate(found, axis=1).astype(np.int32)
