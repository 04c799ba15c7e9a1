"""Where a chunk of a prompt may end: anywhere in text, but not inside a run of media that is computed whole. Pure."""

from collections.abc import Iterator

from nitro.engines.media_encoder import EncodedRuns
from nitro.engines.runner import Chunk
from nitro.engines.scheduling.prompt_grid import PromptGrid


def run_at(tokens: list[int], runs: EncodedRuns, place: int) -> tuple[int, int] | None:
    """Where the run begins and ends that the token at `place` is of; None where it is text.

    The same picture may stand there twice in a row: such runs are counted from the first on.
    """
    run = runs.get(tokens[place])
    if run is None:
        return None
    begin = place
    while begin and tokens[begin - 1] == run.id:
        begin -= 1
    start = place - (place - begin) % run.tokens
    return start, start + run.tokens


def chunk_end(tokens: list[int], runs: EncodedRuns, start: int, end: int) -> int:
    """Where a chunk from `start` on ends that should end at `end`: there, or before a run that would be cut; behind
    it, where it is all that there is."""
    if not runs or end >= len(tokens) or end <= start:
        return end
    found = run_at(tokens, runs, end)
    if found is None or found[0] == end or not runs[tokens[end]].atomic:
        return end
    return found[0] if found[0] > start else found[1]


def whole_pieces(grid: PromptGrid, chunk: Chunk, stop: int) -> Iterator[tuple[int, int]]:
    """The pieces in which a chunk is computed as far as `stop`: a grid's, but that no atomic run is cut."""
    start = chunk.start
    while start < stop:
        end = grid.chunk_end(start, start if grid.size else stop, chunk.prompt_length)
        end = min(chunk_end(chunk.tokens, chunk.media, start, min(end, stop)), stop)
        yield start, end
        start = end
