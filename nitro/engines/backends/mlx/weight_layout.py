"""In which type and layout a model's weights lie in memory, and what is computed in."""

from typing import Any

import mlx.core as mx
from mlx import nn
from mlx.utils import tree_unflatten

from nitro.engines.backends.mlx import block_layers
from nitro.engines.backends.mlx.split_products import SplitEmbedding, SplitLinear, SummedLinear

DENSE = (nn.Linear, nn.Embedding, nn.AllToShardedLinear, nn.ShardedToAllLinear)


def arrange(network: Any, dtype: mx.Dtype | None = None) -> None:
    """Give the weights their type and layout. `dtype`: what a GPU computes in; None: as the weights are.

    The CPU computes in float32. Dense layers are replaced there by those of split_products.py.
    """
    if mx.default_device().type != mx.DeviceType.cpu:
        if dtype is not None:
            network.set_dtype(dtype)
            block_layers.compute_in(network, dtype)
        return
    block_layers.compute_in(network, mx.float32)
    layers = [(name, module) for name, module in network.named_modules() if type(module) in DENSE]
    while layers:  # one after another, so that no two copies of the model are held
        name, module = layers.pop()
        network.update_modules(tree_unflatten([(name, _split(module))]))
    network.apply(_widen, _not_split)
    mx.eval(network.parameters())
    mx.clear_cache()


def _split(module: Any) -> SplitLinear:
    weight = module.weight if module.weight.dtype == mx.bfloat16 else module.weight.astype(mx.float32)
    if isinstance(module, nn.Embedding):
        return SplitEmbedding(weight)
    bias = module.get("bias")
    if isinstance(module, nn.ShardedToAllLinear):
        return SummedLinear(weight, bias, module.group)
    return SplitLinear(weight, bias)


def _widen(array: mx.array) -> mx.array:
    return array.astype(mx.float32) if mx.issubdtype(array.dtype, mx.floating) else array


def _not_split(module: Any, key: str, value: Any) -> bool:
    """Whether `apply` is to look at it."""
    return nn.Module.valid_parameter_filter(module, key, value) and not (
        isinstance(module, SplitLinear) and key == "pieces"
    )
