"""Chunks → the arrays that llama_decode takes."""

import ctypes
from collections.abc import Callable
from typing import Any

import llama_cpp.llama_cpp as lib
from msgspec.structs import replace

from nitro.engines.runner import Chunk


def full_tiles(chunks: list[Chunk], tile: int) -> tuple[list[Chunk], list[Chunk]]:
    """Chunks as full tiles, to be computed first, and what then remains of each chunk.

    Of fewer rows than a tile another kernel gives other numbers, so they are computed by themselves. A chunk stays
    whole if it ends where a tile does, or if its tokens are scored: there are logits of the last llama_decode only.
    """
    first, last = [], []
    for chunk in chunks:
        cut = chunk.stop - (chunk.stop - chunk.start) % tile
        if chunk.start < cut < chunk.stop and not chunk.score_tokens:
            first.append(replace(chunk, stop=cut, draft=[]))
            chunk = replace(chunk, start=cut)
        last.append(chunk)
    return first, last


def _same(slot: int) -> int:
    return slot


def _as_many(_slot: int, length: int) -> int:
    return length


class Batch:
    """A llama_batch over arrays of our own, filled by slices. Each token belongs to one sequence."""

    def __init__(self, room: int):
        self.first_row: dict[int, int] = {}  # by slot: where its chunk begins
        self.last_row: dict[int, int] = {}  # where it ends, and its draft begins
        self._token: Any = (lib.llama_token * room)()
        self._pos: Any = (lib.llama_pos * room)()
        self._seq_id: Any = (lib.llama_seq_id * room)()
        self._logits: Any = (ctypes.c_int8 * room)()
        self._n_seq_id = (ctypes.c_int32 * room)(*[1] * room)
        pointer = ctypes.POINTER(lib.llama_seq_id)
        size = ctypes.sizeof(lib.llama_seq_id)
        base = ctypes.addressof(self._seq_id)
        self._seq_ids = (pointer * room)(*[ctypes.cast(base + i * size, pointer) for i in range(room)])
        self._batch = lib.llama_batch(
            token=self._token, pos=self._pos, n_seq_id=self._n_seq_id, seq_id=self._seq_ids, logits=self._logits
        )

    def fill(
        self,
        chunks: list[Chunk],
        sequence: Callable[[int], int] = _same,
        position: Callable[[int, int], int] = _as_many,
    ) -> Any:
        """Chunks of text. `sequence`: a slot's llama.cpp sequence; `position`: of what comes after so many tokens of a
        slot.

        Logits are wanted of a sampling chunk's last token, of all its draft, and before tokens to be scored."""
        end = 0
        for chunk in chunks:
            span = slice(end, end + chunk.size)
            self.first_row[chunk.slot] = end
            end += chunk.size
            self._token[span] = chunk.tokens[chunk.start : chunk.stop] + chunk.draft
            begin = position(chunk.slot, chunk.start)
            self._pos[span] = range(begin, begin + chunk.size)
            self._seq_id[span] = [sequence(chunk.slot)] * chunk.size
            scored = len(chunk.score_tokens)
            wanted = chunk.wants_token + len(chunk.draft)
            self._logits[span] = [1] * scored + [0] * (chunk.size - scored)
            self._logits[end - wanted : end] = [1] * wanted
            self.last_row[chunk.slot] = end - 1 - len(chunk.draft)
        self._batch.n_tokens = end
        return self._batch

    def fill_ids(self, rows: list[tuple[int, int, list[int]]], sampled: bool = True) -> Any:
        """Sequence ids, positions and the tokens from there on. With `sampled` logits are wanted of the last of each,
        in this order."""
        end = 0
        for sequence, start, tokens in rows:
            span = slice(end, end + len(tokens))
            end += len(tokens)
            self._token[span] = tokens
            self._pos[span] = range(start, start + len(tokens))
            self._seq_id[span] = [sequence] * len(tokens)
            self._logits[span] = [0] * len(tokens)
            self._logits[end - 1] = sampled
        self._batch.n_tokens = end
        return self._batch
