"""How mlx-lm lays out quantised weights and experts: what config.json and the shapes of a layer's arrays say.

A packed layer NAME has NAME.weight, the codes of each row one after another, lowest bits first, in words of 32 bits;
and NAME.scales, one for every group of a row. What a code means is said by the mode (mlx.core.quantize):
"affine": value = scale × code + bias, the biases being in NAME.biases; all others: value = scale × number(code).
NAME.global_scale, one for each expert, is only of "nvfp4".
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

WORD_BITS = 32
CONFIG_KEYS = ("quantization", "quantization_config")
EXPERT_STACK = re.compile(r"\.switch_mlp\.(?=\w+_proj\.)")  # all experts of a layer: [experts, rows, columns]
PARTS = ("weight", "scales", "biases", "global_scale")  # the arrays of a packed layer
AFFINE = "affine"
AFFINE_BITS = (2, 3, 4, 5, 6, 8)
AFFINE_GROUPS = (32, 64, 128)
GLOBAL_SCALE = 448 * 6  # nvfp4: the largest scale times the largest number; a global scale is this many times too large


@dataclass(frozen=True, slots=True)
class Mode:
    """A mode whose scales are bytes. `number`, `scale`: the floats that codes and scales are, as in `_float`."""

    type: str  # as ggml names it, where it has it
    group_size: int
    bits: int
    number: str
    scale: str


# OCP Microscaling Formats 1.0, sections 5.2 and 5.3; NVFP4: E4M3 scales of 16 numbers (mlx.core.quantize, "nvfp4")
MODES = {
    "mxfp4": Mode("MXFP4", 32, 4, "e2m1", "e8m0"),
    "nvfp4": Mode("NVFP4", 16, 4, "e2m1", "e4m3"),
    "mxfp8": Mode("MXFP8", 32, 8, "e4m3", "e8m0"),
}
SUPPORTED = "affine (2 to 6 or 8 bits in groups of 32, 64 or 128), " + ", ".join(
    f"{name} ({mode.bits} bits in groups of {mode.group_size})" for name, mode in MODES.items()
)


@dataclass(frozen=True, slots=True)
class LayerPacking:
    """How one layer is packed."""

    group_size: int
    bits: int
    mode: str

    @property
    def type(self) -> str:
        """The name of the type: "4bit" or "MXFP4"."""
        return f"{self.bits}bit" if self.mode == AFFINE else MODES[self.mode].type

    def __str__(self) -> str:
        return f"{self.mode}, {self.bits} bits, groups of {self.group_size}"


@dataclass(frozen=True, slots=True)
class PackedShape:
    """What the arrays of a packed layer tell: words and scales in a row, and whether scales are bytes."""

    words: int
    groups: int
    byte_scales: bool


def quantization(config: Mapping[str, Any]) -> dict[str, Any] | None:
    """What config.json says of quantised weights: a default, and layers that differ by name; or another library's
    method. None: nothing."""
    for key in CONFIG_KEYS:
        for part in (config, config.get("text_config") or {}):
            settings = part.get(key)
            if isinstance(settings, dict):
                return settings
    return None


def of_layer(quantization: Mapping[str, Any] | None, layer: str, shape: PackedShape) -> LayerPacking:
    """How a layer is packed: as its arrays say, where only one mode fits them, otherwise as config.json says it.

    `layer`: the name of its weight without ".weight". As mlx-lm, a layer whose settings are its own must fit them, and
    one with the default's may be packed otherwise. Raises ValueError with a sentence that names layer and mode.
    """
    default = quantization or {}
    own = default.get(layer)
    said = _said(own) if isinstance(own, dict) else _said(default, 0, 0)
    found = _of_bytes(shape) if shape.byte_scales else said
    if not shape.byte_scales and not (said.mode == AFFINE and said.group_size and said.bits):
        raise ValueError(f"config.json does not say how {layer} is packed; its scales are those of the mode {AFFINE}")
    if not _fits(found, shape) or (isinstance(own, dict) and found != said):
        raise ValueError(
            f"config.json says that {layer} is packed as {said}, and its arrays have {shape.words} words and "
            f"{shape.groups} scales in a row; supported are {SUPPORTED}"
        )
    return found


def _said(settings: Mapping[str, Any], group_size: int = 64, bits: int = 4) -> LayerPacking:
    """`group_size`, `bits`: where the settings do not have them. Those of a layer are completed as by MLX's layers
    (nn.Linear.to_quantized), and not by the folder's default."""
    mode = str(settings.get("mode") or AFFINE)
    if mode in MODES:
        group_size, bits = MODES[mode].group_size, MODES[mode].bits
    found = [settings.get(key, value) for key, value in (("group_size", group_size), ("bits", bits))]
    numbers = [number if isinstance(number, int) else 0 for number in found]
    return LayerPacking(numbers[0], numbers[1], mode)


def _of_bytes(shape: PackedShape) -> LayerPacking:
    """The one mode whose groups have so many words; where there is none, one that does not fit."""
    fitting = (LayerPacking(mode.group_size, mode.bits, name) for name, mode in MODES.items())
    return next((each for each in fitting if _fits(each, shape)), LayerPacking(0, 0, next(iter(MODES))))


def _fits(packing: LayerPacking, shape: PackedShape) -> bool:
    known = MODES.get(packing.mode)
    if known:
        valid = (packing.group_size, packing.bits) == (known.group_size, known.bits)
    else:
        valid = packing.mode == AFFINE and packing.bits in AFFINE_BITS and packing.group_size in AFFINE_GROUPS
    return valid and shape.words * WORD_BITS == shape.groups * packing.group_size * packing.bits


def columns(words: int, bits: int) -> int:
    """The number of weights that a row of so many words holds."""
    return words * WORD_BITS // bits


def unpack(
    words: np.ndarray,
    scales: np.ndarray,
    biases: np.ndarray | None,
    packing: LayerPacking,
    global_scale: np.ndarray | None = None,
) -> np.ndarray:
    """Rows of a packed weight as numbers.

    `words`: uint32 [rows, columns × bits / 32]; `scales`, `biases`: [rows, groups], float32, or bytes without biases;
    `global_scale`: float32 [rows]. Returns float32 [rows, columns].
    """
    rows, groups = scales.shape
    bits = np.unpackbits(words.view(np.uint8), axis=1, bitorder="little").reshape(rows, groups, -1, packing.bits)
    codes = bits @ (1 << np.arange(packing.bits))
    if packing.mode == AFFINE:
        assert biases is not None
        values = codes.astype(np.float32) * scales[..., None] + biases[..., None]
    else:
        mode = MODES[packing.mode]
        values = _float(mode.number)[codes] * _float(mode.scale)[scales][..., None]
    values = values.reshape(rows, -1)
    if global_scale is not None:
        values = values * (global_scale / np.float32(GLOBAL_SCALE))[:, None]
    return np.asarray(values, np.float32)


@cache
def _float(format: str) -> np.ndarray:
    """What each code of a small float means, float32. `format`: "e2m1", "e4m3" (both with a sign) or "e8m0"."""
    if format == "e8m0":
        with np.errstate(over="ignore"):
            return np.ldexp(np.float32(1), np.arange(256) - 127)
    exponent_bits, fraction_bits = (2, 1) if format == "e2m1" else (4, 3)
    count = 1 << exponent_bits + fraction_bits
    exponent, fraction = np.divmod(np.arange(count), 1 << fraction_bits)
    bias = (1 << exponent_bits - 1) - 1
    mantissa = np.where(exponent > 0, fraction + (1 << fraction_bits), fraction)
    values = np.ldexp(mantissa.astype(np.float32), np.maximum(exponent, 1) - bias - fraction_bits)
    if format == "e4m3":
        values[-1] = np.nan
    return np.concatenate([values, -values])


def is_expert_stack(name: str) -> bool:
    """Does this weight hold all experts of a layer?"""
    return bool(EXPERT_STACK.search(name))


def expert_name(name: str, number: int) -> str:
    """What transformers, which keeps every expert by itself, calls one expert of a stack."""
    return EXPERT_STACK.sub(f".experts.{number}.", name)
