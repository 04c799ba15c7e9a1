"""Into how many pieces flash attention on the CPU cuts a prompt: as llama.cpp's loop does, and what follows."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nitro.engines.backends.llama.attention_pieces import good_rows, pieces

TILE = 64


def counted(rows: int, heads: int, threads: int) -> int:
    """By walking through the rows of all heads."""
    total = rows * heads
    chunks = 4 * threads
    size = (total + chunks - 1) // chunks
    chunks = threads if threads == 1 else (total + size - 1) // size
    size = (total + chunks - 1) // chunks
    count = 0
    for start in range(0, total, size):
        end = min(start + size, total)
        while start < end:
            start += min(TILE, end - start, rows - start % rows)
            count += 1
    return count


@settings(deadline=None, database=None)
@given(st.integers(TILE, 520), st.integers(1, 64), st.integers(1, 40))
def test_pieces_are_counted(rows: int, heads: int, threads: int) -> None:
    assert pieces(rows, heads, threads, TILE) == counted(rows, heads, threads)


def test_one_tile_of_9_heads_makes_16_pieces_for_2_threads() -> None:
    assert [pieces(rows, 9, 2, TILE) for rows in (64, 128, 256, 512)] == [16, 24, 40, 72]
    assert pieces(64, 9, 1, TILE) == 9 and pieces(64, 32, 4, TILE) == 32


@pytest.mark.parametrize(
    ("heads", "threads", "rows"),
    [(9, 2, 128), (9, 1, 64), (9, 4, 256), (9, 16, 256), (32, 4, 64), (32, 8, 64), (32, 6, 192), (24, 8, 128)],
)
def test_as_many_tiles_as_waste_little(heads: int, threads: int, rows: int) -> None:
    assert good_rows(heads, threads, TILE, 4 * TILE) == rows


def test_no_more_than_are_computed_at_a_time() -> None:
    assert good_rows(9, 2, TILE, TILE) == TILE
