"""MLX folders whose weights stay in ggml's blocks, as the package mlx-kquant 0.5.6 writes and reads them.

config.json has {"quantization": {"mode": "kquant", "per_tensor": {layer: codec}}}; NAME.weight is uint8,
[rows, bytes of a row], as in a GGUF; NAME.scales, uint8 [1], means nothing (mlx_kquant/loader.py).
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType
from gguf.quants import dequantize

from nitro.checkpoints import mlx_packing

MODE = "kquant"
CODECS = {  # mlx-kquant's names, by ggml's
    name: name.lower()
    for name in (
        *("Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0"),
        *("Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K"),
        *("IQ1_S", "IQ1_M", "IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ3_XXS", "IQ3_S", "IQ4_NL", "IQ4_XS"),
        *("MXFP4", "NVFP4"),
    )
}
TYPES = {codec: name for name, codec in CODECS.items()}


def settings(types: Mapping[str, str]) -> dict[str, Any]:
    """The entries of config.json. `types`: ggml's, by layer."""
    codecs = {layer: CODECS[type] for layer, type in types.items()}
    return {key: {"mode": MODE, "per_tensor": codecs} for key in mlx_packing.CONFIG_KEYS}


def types(config: Mapping[str, Any]) -> dict[str, str]:
    """ggml's types by layer; empty where the folder has no blocks. Raises ValueError for a type that is not known."""
    said = mlx_packing.quantization(config) or {}
    codecs = said.get("per_tensor")
    if said.get("mode") != MODE or not isinstance(codecs, dict):
        return {}
    for layer, codec in codecs.items():
        if codec not in TYPES:
            raise ValueError(f"config.json says that {layer} is in blocks of {codec}; supported are {', '.join(TYPES)}")
    return {layer: TYPES[codec] for layer, codec in codecs.items()}


def sizes(type: str) -> tuple[int, int]:
    """Weights of a block, and its bytes. `type`: ggml's."""
    weights, size = GGML_QUANT_SIZES[GGMLQuantizationType[type]]
    return weights, size


def columns(row_bytes: int, type: str) -> int:
    """The number of weights in a row of so many bytes."""
    weights, size = sizes(type)
    return row_bytes // size * weights


def unpack(rows: np.ndarray, type: str) -> np.ndarray:
    """uint8 [rows, bytes of a row] → float32 [rows, columns]."""
    values: np.ndarray = dequantize(rows, GGMLQuantizationType[type])
    return values
