"""An MlxRunner that shows the logits of every token: see same_answer.py."""

from pathlib import Path

import mlx.core as mx
import numpy as np
from mlx import nn
from mlx.utils import tree_unflatten
from mlx_lm.models.cache import make_prompt_cache
from mlx_lm.utils import dequantize_model

from nitro.engines.backends.mlx.runner import MlxRunner
from nitro.engines.backends.mlx.split_products import SplitEmbedding, SplitLinear
from nitro.engines.types import EngineSpec


class MlxScorer(MlxRunner):
    """`banned` tokens are as unlikely as can be."""

    def __init__(self, model: Path, context: int | None = None, parallel: int = 1, banned: list[int] | None = None):
        super().__init__(EngineSpec("mlx", str(model), context=context, parallel=parallel))
        self._banned = banned or []

    def logits(self, tokens: list[int], steps: list[int]) -> np.ndarray:
        assert sum(steps) == len(tokens)
        caches = make_prompt_cache(self._model.network)
        start, rows = 0, []
        for count in steps:
            logits = self._model.network(mx.array(tokens[start : start + count])[None], cache=caches)[0]
            rows.append(np.array((logits if start else logits[-1:]).astype(mx.float32)))
            start += count
        scores = np.concatenate(rows)
        scores[:, self._banned] = -1e9
        return scores


class _Product(nn.Module):
    """A layer whose product NumPy computes: MLX's CPU build takes ten times as long. `weight`: [out, in]."""

    def __init__(self, weight: mx.array):
        super().__init__()
        self._weight = np.array(weight)

    def __call__(self, x: mx.array) -> mx.array:
        return mx.array(np.array(x) @ self._weight.T)


class _Embedding(_Product):
    def __call__(self, tokens: mx.array) -> mx.array:
        return mx.array(self._weight[np.array(tokens)])

    def as_linear(self, x: mx.array) -> mx.array:
        return super().__call__(x)


def with_fast_products(network: nn.Module) -> nn.Module:
    """The same dense network, unpacked: for real models on the CPU, whose layers have no biases."""
    network = dequantize_model(network)
    kinds = {nn.Linear: _Product, SplitLinear: _Product, nn.Embedding: _Embedding, SplitEmbedding: _Embedding}
    layers = [(name, kinds[type(m)](m.weight)) for name, m in network.named_modules() if type(m) in kinds]
    network.update_modules(tree_unflatten(layers))
    return network
