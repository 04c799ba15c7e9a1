"""How mlx-lm lays out quantised weights and experts: what config.json and the shapes of a layer's arrays say.

A packed layer NAME has NAME.weight, the integers of each row one after another, lowest bits first, in words of 32 bits;
NAME.scales; and NAME.biases, each with one number for every group of a row. value = scale × integer + bias
(mlx.core.quantize, mode "affine").
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

WORD_BITS = 32
CONFIG_KEYS = ("quantization", "quantization_config")
EXPERT_STACK = re.compile(r"\.switch_mlp\.(?=\w+_proj\.)")  # all experts of a layer: [experts, rows, columns]


@dataclass(frozen=True, slots=True)
class LayerPacking:
    """How one layer is packed, as config.json says it; 0 where it does not."""

    group_size: int
    bits: int
    mode: str


def quantization(config: Mapping[str, Any]) -> dict[str, Any] | None:
    """What config.json says of quantised weights: a default, and layers that differ by name; or another library's
    method. None: nothing."""
    for key in CONFIG_KEYS:
        for part in (config, config.get("text_config") or {}):
            settings = part.get(key)
            if isinstance(settings, dict):
                return settings
    return None


def of_layer(quantization: Mapping[str, Any] | None, layer: str) -> LayerPacking:
    """A layer's own settings, completed by the default. `layer`: the name of its weight without ".weight"."""
    default = quantization or {}
    own = default.get(layer)
    settings = {**default, **(own if isinstance(own, dict) else {})}
    return LayerPacking(settings.get("group_size") or 0, settings.get("bits") or 0, settings.get("mode", "affine"))


def columns(words: int, bits: int) -> int:
    """The number of weights that a row of so many words holds."""
    return words * WORD_BITS // bits


def bits(words: int, groups: int, group_size: int) -> int:
    """Bits per weight, from the lengths of a row of words and of a row of scales."""
    return words * WORD_BITS // max(groups * group_size, 1)


def unpack(words: np.ndarray, scales: np.ndarray, biases: np.ndarray, bits: int) -> np.ndarray:
    """Rows of a packed weight as numbers.

    `words`: uint32 [rows, columns × bits / 32]; `scales`, `biases`: float32 [rows, groups]. Returns float32
    [rows, columns].
    """
    rows, groups = scales.shape
    integers = np.unpackbits(words.view(np.uint8), axis=1, bitorder="little").reshape(rows, groups, -1, bits)
    powers = (1 << np.arange(bits)).astype(np.float32)
    values: np.ndarray = integers @ powers * scales[..., None] + biases[..., None]
    return values.reshape(rows, -1)


def is_expert_stack(name: str) -> bool:
    """Does this weight hold all experts of a layer?"""
    return bool(EXPERT_STACK.search(name))


def expert_name(name: str, number: int) -> str:
    """What transformers, which keeps every expert by itself, calls one expert of a stack."""
    return EXPERT_STACK.sub(f".experts.{number}.", name)
