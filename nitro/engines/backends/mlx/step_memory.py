"""What a step takes, before it is computed: where MLX finds no memory, it may end the process.

On the CPU of MLX 0.32 an allocation that fails is not looked at, and the process dies when it is written to. On Metal a
command that lacks memory ends the process as well, since its error comes on a thread where nobody can catch it.
"""

from collections.abc import Callable
from typing import Any

import mlx.core as mx

from nitro.engines.backends.mlx import library
from nitro.engines.hardware.memory import MIB
from nitro.engines.runner import Chunk, OutOfMemory

ROW = 96  # bytes for each number of a token's vector: a few layers' results at a time, as in models/fit.py
SCORE = 8  # bytes of attention for each head, token and token that it looks at: float32, and its softmax
GROWTH = 256  # tokens by which mlx-lm's KVCache grows
EVERY = 64  # tokens that are computed before memory is looked at again
SPARE = 4 * MIB  # for all that is not counted


class StepMemory:
    """Compares what batches need with what is free."""

    def __init__(self, network: Any, token_bytes: int, fused: bool, free: Callable[[], int] = library.free_memory):
        """`network`: an mlx-lm model. `token_bytes`: of KV. `fused`: whether attention keeps no scores, as on a GPU.
        `free`: bytes that are."""
        about = getattr(network, "args", None)
        self._row = ROW * getattr(about, "hidden_size", 0)
        self._score = 0 if fused else SCORE * getattr(about, "num_attention_heads", 0)
        self._token_bytes = token_bytes
        self._free = free
        self.others: Callable[[], list[int]] = list  # bytes that are free for other ranks
        self._computed = EVERY  # tokens since memory was looked at

    def check(self, batch: list[Chunk]) -> None:
        """Raises OutOfMemory where there is no memory for the batch, as far as it is looked at again."""
        self._computed += sum(chunk.size for chunk in batch)
        if self._computed < EVERY:
            return
        needed, free = self.needed(batch), min([self._free(), *self.others()])
        if needed > free:
            mx.clear_cache()
            free = min([self._free(), *self.others()])
        if needed > free:
            raise OutOfMemory(f"It needs about {needed // MIB} MiB, and {free // MIB} MiB are free.", [])
        self._computed = 0

    def needed(self, batch: list[Chunk]) -> int:
        """Bytes that the batch takes at most, beside what there is."""
        grown = sum(_rounded(chunk.size) for chunk in batch)
        starting = any(chunk.wants_token and chunk.size > 1 for chunk in batch)
        merged = len(batch) * max(chunk.stop for chunk in batch) if starting and len(batch) > 1 else 0
        computing = max(chunk.size * (self._row + self._score * chunk.stop) for chunk in batch)
        return SPARE + (2 * grown + merged) * self._token_bytes + computing  # a cache is copied when it grows


def _rounded(tokens: int) -> int:
    return -(-tokens // GROWTH) * GROWTH
