"""Into how many pieces llama.cpp's flash attention cuts a prompt's rows on the CPU, and so what it costs. Pure.

The rows of all heads are one list, which is cut into four equal chunks for each thread. A piece ends where a chunk
does, where a head does, and after 64 rows; and it takes as long as one of 64, however few rows are in it
(ggml-cpu's ops.cpp:9134 and 9530). With 9 heads and 2 threads 64 rows make 16 pieces where 9 would do.
"""

from itertools import pairwise
from math import ceil

CHUNKS = 4  # for each thread
MAX_WASTE = 1 / 3  # of the pieces that would do: what of it is left is little beside the rest of a step


def pieces(rows: int, heads: int, threads: int, tile: int) -> int:
    """How many pieces it makes of so many rows of one sequence, which are a tile at least."""
    total = rows * heads
    chunks = 1 if threads == 1 else ceil(total / ceil(total / (CHUNKS * threads)))
    borders = {*range(0, total, ceil(total / chunks)), *range(0, total, rows), total}
    ends = sorted(borders)
    return sum(ceil((end - start) / tile) for start, end in pairwise(ends))


def good_rows(heads: int, threads: int, tile: int, most: int) -> int:
    """The fewest complete tiles, in rows, that make at most a third more pieces than would do; `most`, if none do."""
    for rows in range(tile, most, tile):
        if pieces(rows, heads, threads, tile) <= (1 + MAX_WASTE) * heads * rows / tile:
            return rows
    return most
