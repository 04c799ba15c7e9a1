"""What stands behind an encoder or a decoder: pooling to one vector for each text, dense layers, a cross-encoder's
head."""

from collections.abc import Callable

import mlx.core as mx
from mlx import nn

from nitro.checkpoints.sentence_files import Pooling
from nitro.engines.backends.mlx.encoders.families import HeadShape
from nitro.engines.backends.mlx.encoders.network import ACTIVATIONS

FUNCTIONS: dict[str, Callable[[mx.array], mx.array]] = {**ACTIVATIONS, "tanh": mx.tanh, "identity": lambda x: x}


def pool(hidden: mx.array, lengths: mx.array, how: Pooling) -> mx.array:
    """[rows, length, width], padded behind `lengths` [rows] → float32 [rows, width]."""
    hidden = hidden.astype(mx.float32)
    if how == "cls":
        return hidden[:, 0]
    if how == "last":
        return mx.take_along_axis(hidden, (lengths - 1)[:, None, None], axis=1)[:, 0]
    is_token = (mx.arange(hidden.shape[1])[None, :] < lengths[:, None])[..., None]
    if how == "max":
        return mx.where(is_token, hidden, -mx.inf).max(axis=1)
    return mx.where(is_token, hidden, 0).sum(axis=1) / lengths[:, None]  # what padding holds may be no number


class DenseLayer(nn.Module):  # type: ignore[misc]
    """A linear layer and a function."""

    def __init__(self, weight: mx.array, bias: mx.array | None, activation: str):
        """`weight`: [outputs, inputs], `activation`: a key of FUNCTIONS."""
        super().__init__()
        self.linear = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None)
        self.linear.weight = weight
        if bias is not None:
            self.linear.bias = bias
        self.outputs = weight.shape[0]
        self._function = FUNCTIONS[activation]

    def __call__(self, x: mx.array) -> mx.array:
        """[rows, inputs] → [rows, outputs]."""
        result: mx.array = self._function(self.linear(x))
        return result


class ScoreHead(nn.Module):  # type: ignore[misc]
    """A cross-encoder's: the vector of a pair of texts → its logits, of which a reranker has one."""

    def __init__(self, shape: HeadShape, width: int, labels: int, eps: float):
        super().__init__()
        self.dense = nn.Linear(width, width, bias=shape.biases)
        if shape.norm:
            self.norm = nn.LayerNorm(width, eps=eps, bias=shape.biases)
        self.output = nn.Linear(width, labels)
        self._function = FUNCTIONS[shape.activation]
        self.pooling: Pooling = shape.pooling

    def __call__(self, hidden: mx.array, lengths: mx.array) -> mx.array:
        """[rows, length, width] and `lengths` [rows] → [rows, labels], float32."""
        pooled = self._function(self.dense(pool(hidden, lengths, self.pooling)))
        logits: mx.array = self.output(self.norm(pooled) if "norm" in self else pooled)
        return logits
