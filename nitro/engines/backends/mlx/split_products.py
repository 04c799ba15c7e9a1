"""Layers whose products MLX's CPU build computes on all cores, by weights that may take half the memory of the result.

A linear layer computes x @ W.T. MLX's CPU build leaves that to the reference BLAS, on one core. Here W.T lies row by
row, which is 1.5 to 2.4 times as fast as W doing so, in pieces of its columns. The pieces take turns on streams, one
for each core. Weights of bfloat16 stay so; each piece is widened to the type of `x` where it is used, and freed again.
So a result is what the same weights in float32 give, bit by bit.
"""

import threading
from dataclasses import dataclass
from typing import Any

import mlx.core as mx
from mlx import nn

from nitro.engines.hardware import memory

PIECE = 2**18  # weights in a piece at most: widened, it fits into a core's cache
SHARE = 2**16  # weights that are worth a core of their own
SHARED_PRODUCTS = 2**19  # multiplications from which on it pays that cores wait for each other
_of_thread = threading.local()


class SplitLinear(nn.Module):  # type: ignore[misc]
    """Does what nn.Linear does. `pieces`: [count, inputs, columns], the last one filled up with zeros."""

    def __init__(self, weight: mx.array, bias: mx.array | None = None):
        """`weight`: [outputs, inputs], `bias`: [outputs]."""
        super().__init__()
        self.outputs, self.inputs = weight.shape
        self.pieces = _cut(weight)
        if bias is not None:
            self.bias = bias
        views = [mx.squeeze(part, 0) for part in mx.split(self.pieces, len(self.pieces))]  # an index would copy
        mx.eval(views)  # so that each is there on all streams
        self._views = _Views(views)

    @property
    def weight(self) -> mx.array:
        """W, [outputs, inputs], made anew: for models that look at it."""
        return _flat(self.pieces, self.outputs)

    def __call__(self, x: mx.array) -> mx.array:
        """[..., inputs] → [..., outputs]."""
        product = self.multiply(x)
        return product + self.bias if "bias" in self else product

    def multiply(self, x: mx.array) -> mx.array:
        """x @ W.T."""
        turns = streams()  # this thread's
        count = 1 if x.size * self.outputs < SHARED_PRODUCTS else len(turns)
        views = self._views.pieces
        parts = [mx.matmul(x, view, stream=turns[i % count]) for i, view in enumerate(views)]
        return parts[0] if len(parts) == 1 else mx.concatenate(parts, axis=-1)[..., : self.outputs]


class SummedLinear(SplitLinear):
    """Does what nn.ShardedToAllLinear does: `weight` has the columns of one rank, whose products all ranks sum up."""

    def __init__(self, weight: mx.array, bias: mx.array | None, group: Any):
        """`group`: MLX's, of the ranks."""
        super().__init__(weight, bias)
        self._group = group

    def __call__(self, x: mx.array) -> mx.array:
        """[..., inputs of this rank] → [..., outputs]."""
        total = mx.distributed.all_sum(self.multiply(x), group=self._group)
        return total + self.bias if "bias" in self else total


class SplitEmbedding(SplitLinear):
    """Does what nn.Embedding does: W's rows by their numbers, and products with W."""

    def __call__(self, x: mx.array) -> mx.array:
        """Ids [...] → [..., inputs], float32."""
        columns = self.pieces.shape[2]
        return self.pieces[x // columns, :, x % columns].astype(mx.float32)

    def as_linear(self, x: mx.array) -> mx.array:
        """[..., inputs] → [..., outputs]: the head of a model that has none of its own."""
        return self.multiply(x)


@dataclass(frozen=True, slots=True)
class _Views:
    """Of each piece the columns of W.T, [inputs, columns]: what nn.Module is not to take for parameters."""

    pieces: list[mx.array]


def _cut(weight: mx.array) -> mx.array:
    outputs, inputs = weight.shape
    cores = min(len(streams()), -(-weight.size // SHARE))
    count = cores * -(-weight.size // (PIECE * cores))
    columns = -(-outputs // count)
    count = -(-outputs // columns)
    if count * columns > outputs:
        weight = mx.pad(weight, [(0, count * columns - outputs), (0, 0)])
    pieces = mx.contiguous(weight.reshape(count, columns, inputs).swapaxes(1, 2))
    mx.eval(pieces)
    return pieces


def _flat(pieces: mx.array, outputs: int) -> mx.array:
    return pieces.swapaxes(1, 2).reshape(-1, pieces.shape[1])[:outputs]


def streams() -> list[mx.Stream]:
    """One for each core; they belong to the thread that made them."""
    if not hasattr(_of_thread, "streams"):
        more = [mx.new_stream(mx.cpu) for _ in range(memory.physical_cores() - 1)]
        _of_thread.streams = [mx.default_stream(mx.cpu), *more]
    found: list[mx.Stream] = _of_thread.streams
    return found
