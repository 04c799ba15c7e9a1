"""Chunks with media → what is computed before the step's last llama_decode, and the arrays for rows.

A llama_decode takes tokens or rows, not both. So a chunk is computed in parts, and its last text goes with those of all
other chunks into the step's usual llama_decode, which alone has logits.
"""

import ctypes
from collections.abc import Iterator
from typing import Any

import llama_cpp.llama_cpp as lib
import numpy as np
from msgspec import Struct
from msgspec.structs import replace

from nitro.engines.media_encoder import EncodedRun
from nitro.engines.runner import Chunk
from nitro.engines.scheduling.media_borders import run_at


class LlamaRows(Struct, frozen=True, eq=False):
    """A run's rows. `values`: float32 [rows, width]. `places`: with M-RoPE, of each row in the four sections, int32
    [4, rows], to which `shifts` times the position of the run are added; None: one row comes after the other."""

    values: Any
    places: Any = None
    shifts: Any = None
    causal: bool = True  # else each row sees all rows of its run

    @property
    def nbytes(self) -> int:
        """See Rows."""
        return int(self.values.nbytes)


class RowsPart(Struct, frozen=True):
    """Rows [first, last) of a run, which are tokens [start, start + last − first) of a slot."""

    slot: int
    start: int
    run: EncodedRun
    first: int
    last: int

    @property
    def rows(self) -> LlamaRows:
        """What the encoder has made of it."""
        assert isinstance(self.run.rows, LlamaRows)
        return self.run.rows

    def pieces(self, most: int) -> Iterator["RowsPart"]:
        """It in parts of so many rows at most."""
        for first in range(self.first, self.last, most):
            last = min(first + most, self.last)
            yield RowsPart(self.slot, self.start + first - self.first, self.run, first, last)


def split(chunks: list[Chunk]) -> tuple[list[Chunk | RowsPart], list[Chunk]]:
    """What is to be computed first, in order, and the ends of all chunks that end with text."""
    first: list[Chunk | RowsPart] = []
    last: list[Chunk] = []
    for chunk in chunks:
        if not chunk.media:
            last.append(chunk)
            continue
        *before, end = _parts(chunk)
        first += before
        if isinstance(end, Chunk):
            last.append(end)
        else:
            first.append(end)
    return first, last


def _parts(chunk: Chunk) -> Iterator[Chunk | RowsPart]:
    """A chunk as texts and rows. The last, if it is text, has its draft."""
    at = chunk.start
    while at < chunk.stop:
        found = run_at(chunk.tokens, chunk.media, at)
        if found:
            begin, end = found
            stop = min(end, chunk.stop)
            yield RowsPart(chunk.slot, at, chunk.media[chunk.tokens[at]], at - begin, stop - begin)
        else:
            stop = next((i for i in range(at, chunk.stop) if chunk.tokens[i] < 0), chunk.stop)
            is_end = stop == chunk.stop
            yield replace(chunk, start=at, stop=stop, draft=chunk.draft if is_end else [])
        at = stop


class RowsBatch:
    """A llama_batch of rows of one sequence, without logits."""

    def __init__(self, room: int, sections: int):
        """`sections`: numbers of each position; 4 for models with M-RoPE, else 1."""
        self._sections = sections
        self._pos: Any = (lib.llama_pos * (room * sections))()
        self._seq_id: Any = (lib.llama_seq_id * 1)()
        pointer = ctypes.POINTER(lib.llama_seq_id)
        self._seq_ids = (pointer * room)(*[ctypes.cast(self._seq_id, pointer)] * room)
        self._n_seq_id = (ctypes.c_int32 * room)(*[1] * room)
        self._logits = (ctypes.c_int8 * room)()
        self._rows: Any = None  # kept: llama.cpp reads them

    def fill(self, part: RowsPart, sequence: int, position: int) -> Any:
        """`position`: of the run's first row."""
        rows = part.rows
        count = part.last - part.first
        self._rows = rows.values[part.first : part.last]
        if rows.places is None:
            places = np.arange(position + part.first, position + part.last, dtype=np.int32)[None]
            places = np.repeat(places, self._sections, axis=0)
        else:
            places = rows.places[:, part.first : part.last] + position * rows.shifts[:, None]
        self._pos[: count * self._sections] = places.reshape(-1).tolist()
        self._seq_id[0] = sequence
        return lib.llama_batch(
            n_tokens=count,
            embd=self._rows.ctypes.data_as(ctypes.POINTER(ctypes.c_float)),
            pos=self._pos,
            n_seq_id=self._n_seq_id,
            seq_id=self._seq_ids,
            logits=self._logits,
        )
