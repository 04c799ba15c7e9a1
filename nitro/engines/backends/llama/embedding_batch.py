"""Sequences → a llama_batch whose every row is wanted."""

import ctypes
from typing import Any

import llama_cpp.llama_cpp as lib


class EmbeddingBatch:
    """A llama_batch over arrays of our own, of at most `room` rows."""

    def __init__(self, room: int):
        self.room = room
        self._token: Any = (lib.llama_token * room)()
        self._pos: Any = (lib.llama_pos * room)()
        self._seq_id: Any = (lib.llama_seq_id * room)()
        self._logits = (ctypes.c_int8 * room)(*[1] * room)
        self._n_seq_id = (ctypes.c_int32 * room)(*[1] * room)
        pointer = ctypes.POINTER(lib.llama_seq_id)
        size = ctypes.sizeof(lib.llama_seq_id)
        base = ctypes.addressof(self._seq_id)
        self._seq_ids = (pointer * room)(*[ctypes.cast(base + i * size, pointer) for i in range(room)])
        self._batch = lib.llama_batch(
            token=self._token, pos=self._pos, n_seq_id=self._n_seq_id, seq_id=self._seq_ids, logits=self._logits
        )

    def fill(self, rows: list[tuple[int, int, list[int]]]) -> Any:
        """`rows`: a sequence, the position of its first token here, and its tokens."""
        end = 0
        for sequence, start, tokens in rows:
            span = slice(end, end + len(tokens))
            end += len(tokens)
            self._token[span] = tokens
            self._pos[span] = range(start, start + len(tokens))
            self._seq_id[span] = [sequence] * len(tokens)
        self._batch.n_tokens = end
        return self._batch
