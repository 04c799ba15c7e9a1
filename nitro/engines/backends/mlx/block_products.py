"""Layers whose weights stay in ggml's blocks, for MLX's CPU build: exact in float32, and on all cores.

mlx-kquant's own layers give bfloat16 where they are given float32. Here some rows at a time are unpacked to float32,
multiplied, and freed again, so that results are what the same weights in float32 give.
"""

from typing import Any

import mlx.core as mx
import mlx_kquant
import numpy as np
from mlx import nn
from mlx_kquant.codec_geometry import bytes_per_row

from nitro.engines.backends.mlx.split_products import PIECE, SHARED_PRODUCTS, streams


class BlockLayer(nn.Module):  # type: ignore[misc]
    """A layer whose `weight` is in blocks, uint8: its last axis counts bytes."""

    def __init__(self, dense: nn.Module, codec: str):
        """`dense`: the layer in whose place it stands; its arrays are loaded afterwards. `codec`: mlx-kquant's name of
        the type."""
        super().__init__()
        self.codec = codec
        *rows, columns = dense.weight.shape
        self.weight = mx.zeros((*rows, bytes_per_row(codec, columns)), mx.uint8)
        if "bias" in dense:
            self.bias = dense.bias


class BlockLinear(BlockLayer):
    """Does what nn.Linear does. `weight`: uint8 [outputs, bytes of a row]."""

    def __call__(self, x: mx.array) -> mx.array:
        """[..., inputs] → [..., outputs]."""
        product = multiply(x, self.weight, self.codec)
        return product + self.bias if "bias" in self else product


class BlockEmbedding(BlockLayer):
    """Does what nn.Embedding does: W's rows by their numbers, and products with W."""

    def __call__(self, x: mx.array) -> mx.array:
        """Ids [...] → [..., inputs]."""
        rows = self.weight[x]
        return unpack(rows.reshape(-1, rows.shape[-1]), self.codec).reshape(*x.shape, -1)

    def as_linear(self, x: mx.array) -> mx.array:
        """[..., inputs] → [..., outputs]: the head of a model that has none of its own."""
        return multiply(x, self.weight, self.codec)


class BlockSwitchLinear(BlockLayer):
    """Does what mlx-lm's SwitchLinear does. `weight`: uint8 [experts, outputs, bytes of a row]."""

    def __call__(self, x: mx.array, indices: mx.array, sorted_indices: bool = False) -> mx.array:
        """[..., rows, inputs] and the experts of each, [...] → [..., rows, outputs]."""
        shape = np.broadcast_shapes(x.shape[:-2], indices.shape)
        experts = np.broadcast_to(np.array(indices), shape).reshape(-1)
        rows = mx.broadcast_to(x, (*shape, *x.shape[-2:])).reshape(-1, *x.shape[-2:])
        products = []
        for expert in np.unique(experts).tolist():
            product = multiply(rows[mx.array(np.flatnonzero(experts == expert))], self.weight[expert], self.codec)
            products.append(product + self.bias[expert] if "bias" in self else product)
        back = np.argsort(np.argsort(experts, kind="stable"))
        return mx.concatenate(products)[mx.array(back)].reshape(*shape, x.shape[-2], -1)


class BlockMultiLinear(BlockLayer):
    """Does what mlx-lm's MultiLinear does. `weight`: uint8 [heads, outputs, bytes of a row]."""

    def __call__(self, x: mx.array, transpose: bool = True) -> mx.array:
        """[..., heads, rows, inputs] → [..., heads, rows, outputs]; without `transpose` from outputs to inputs."""
        heads, outputs, width = self.weight.shape
        weight = unpack(self.weight.reshape(-1, width), self.codec).reshape(heads, outputs, -1)
        return x @ (weight.swapaxes(-1, -2) if transpose else weight)


def unpack(rows: mx.array, codec: str, stream: Any = None) -> mx.array:
    """Rows of blocks, uint8 [rows, bytes], as float32 [rows, columns]; bit for bit what gguf-py gives."""
    found: mx.array = mlx_kquant.dequantize(rows, mx.zeros((1,), mx.uint8), codec, dtype=mx.float32, stream=stream)
    return found


def multiply(x: mx.array, weight: mx.array, codec: str) -> mx.array:
    """x @ W.T, in pieces of W's rows that take turns on the cores. `weight`: uint8 [outputs, bytes of a row]."""
    outputs = len(weight)
    rows = max(1, PIECE // x.shape[-1])
    turns = streams() if x.size * outputs >= SHARED_PRODUCTS else streams()[:1]
    parts = []
    for number, start in enumerate(range(0, outputs, rows)):
        stream = turns[number % len(turns)]
        piece = unpack(mx.contiguous(weight[start : start + rows], stream=stream), codec, stream)
        parts.append(mx.matmul(x, mx.swapaxes(piece, 0, 1, stream=stream), stream=stream))
    return parts[0] if len(parts) == 1 else mx.concatenate(parts, axis=-1)
