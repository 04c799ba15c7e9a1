"""Layers whose weights stay in the blocks that a GGUF has, computed by the kernels of the package mlx-kquant.

The package is there where it has a wheel (macOS 26.2 and newer) or was built (`make test` on Linux).
"""

from functools import cache
from importlib.util import find_spec
from typing import Any

import mlx.core as mx
from mlx import nn
from mlx.utils import tree_unflatten
from mlx_lm.models.mla import MultiLinear
from mlx_lm.models.switch_layers import SwitchLinear

from nitro.checkpoints.block_packing import CODECS

KINDS = (nn.Linear, nn.Embedding, SwitchLinear, MultiLinear)  # that have a layer of blocks
CURE = (
    "The package mlx-kquant would hold it and is not installed here: on macOS 26.2 or newer, `make install` or "
    "pip install '.[mlx]' brings it."
)


@cache
def is_installed() -> bool:
    """Whether mlx-kquant is there. Looked up once: a loader asks for every tensor."""
    return find_spec("mlx_kquant") is not None


def can_replace(module: Any) -> bool:
    """Whether this layer can hold its weight in blocks."""
    return type(module) in KINDS


def holds_blocks(module: Any) -> bool:
    """Whether it is one of these layers."""
    return type(module).__module__.startswith(("mlx_kquant", f"{__package__}.block_products"))


def install(network: Any, types: dict[str, str]) -> dict[str, mx.array]:
    """Put layers of blocks in the place of dense ones. `types`: keys of CODECS, by the path of the layer. Returns the
    arrays that these layers have beside their weights, by name."""
    make = _exact_layer if mx.default_device().type == mx.DeviceType.cpu else _layer
    layers = [(path, make(module, CODECS[types[path]])) for path, module in network.named_modules() if path in types]
    network.update_modules(tree_unflatten(layers))
    # mlx-kquant's kernels take scales as MLX's do, and ignore them
    return {f"{path}.scales": mx.zeros((1,), mx.uint8) for path, layer in layers if "scales" in layer}


def compute_in(network: Any, dtype: mx.Dtype) -> None:
    """Let the embeddings in blocks give rows of this type."""
    for module in network.modules():
        if hasattr(module, "out_dtype"):
            module.out_dtype = dtype


def _layer(module: Any, codec: str) -> Any:
    """mlx-kquant's layer of blocks for a dense one."""
    from mlx_kquant import nn as block_nn

    *_, rows, columns = module.weight.shape
    biased = "bias" in module
    if isinstance(module, nn.Embedding):
        return block_nn.KQuantEmbedding(rows, columns, codec)
    if isinstance(module, SwitchLinear):
        return block_nn.KQuantSwitchLinear(len(module.weight), rows, columns, biased, codec)
    if isinstance(module, MultiLinear):
        return block_nn.KQuantMultiLinear(columns, rows, len(module.weight), codec)
    return block_nn.KQuantLinear(columns, rows, biased, codec)


def _exact_layer(module: Any, codec: str) -> Any:
    """As `_layer`, for the CPU, in float32."""
    from nitro.engines.backends.mlx import block_products

    kinds = {
        nn.Linear: block_products.BlockLinear,
        nn.Embedding: block_products.BlockEmbedding,
        SwitchLinear: block_products.BlockSwitchLinear,
        MultiLinear: block_products.BlockMultiLinear,
    }
    return kinds[type(module)](module, codec)
