"""Converts quantised weights of a GGUF to MLX's affine layout: groups of 32, value = scale × integer + bias.

MLX packs the integers of a row one after another, lowest bits first, into words of 32 bits (mlx.core.quantize). The
blocks are ggml's (ggml/src/ggml-common.h; ggml-quants.c reads them). The integers are the file's, and so are scales and
biases, except for the types in ROUNDED, whose scales and biases are products that are rounded to float16.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np

GROUP = 32  # weights that share a scale


@dataclass(frozen=True, slots=True)
class Packed:
    """Rows of a weight in MLX's layout."""

    words: np.ndarray  # uint32 [rows, columns × bits / 32]
    scales: np.ndarray  # float16 [rows, columns / GROUP]
    biases: np.ndarray  # like scales


Groups = tuple[np.ndarray, np.ndarray, np.ndarray]  # packed integers as bytes, scales and biases [groups]

# Blocks of 32 weights: a scale, in some types the minimum and fifth bits, and bytes in runs of 16. The runs are
# declared as complex numbers, which NumPy extracts ten times as fast as 16 bytes.
HALVES = np.dtype([("scale", "<u2"), ("nibbles", "<c16")])
HALVES_WITH_MINIMUM = np.dtype([("scale", "<u2"), ("minimum", "<u2"), ("nibbles", "<c16")])
FIVES = np.dtype([("scale", "<u2"), ("fifths", "<u4"), ("nibbles", "<c16")])
FIVES_WITH_MINIMUM = np.dtype([("scale", "<u2"), ("minimum", "<u2"), ("fifths", "<u4"), ("nibbles", "<c16")])
BYTES = np.dtype([("scale", "<u2"), ("low", "<c16"), ("high", "<c16")])


def _q4_0(blocks: np.ndarray) -> Groups:
    scale = _field(blocks, HALVES, "scale").view(np.float16)
    return _packed_nibbles(_field(blocks, HALVES, "nibbles")), scale, _multiplied(scale, -8)


def _q4_1(blocks: np.ndarray) -> Groups:
    scale, minimum = (_field(blocks, HALVES_WITH_MINIMUM, name).view(np.float16) for name in ("scale", "minimum"))
    return _packed_nibbles(_field(blocks, HALVES_WITH_MINIMUM, "nibbles")), scale, minimum


def _q5_0(blocks: np.ndarray) -> Groups:
    scale = _field(blocks, FIVES, "scale").view(np.float16)
    return _packed_fives(blocks, FIVES), scale, _multiplied(scale, -16)


def _q5_1(blocks: np.ndarray) -> Groups:
    scale, minimum = (_field(blocks, FIVES_WITH_MINIMUM, name).view(np.float16) for name in ("scale", "minimum"))
    return _packed_fives(blocks, FIVES_WITH_MINIMUM), scale, minimum


def _q8_0(blocks: np.ndarray) -> Groups:
    """Signed bytes, which become unsigned by adding 128."""
    scale = _field(blocks, BYTES, "scale").view(np.float16)
    halves = np.empty((len(blocks), 2), "<c16")
    halves[:, 0] = _field(blocks, BYTES, "low")
    halves[:, 1] = _field(blocks, BYTES, "high")
    integers = halves.view(np.uint8)
    integers ^= 0x80
    return integers, scale, _multiplied(scale, -128)


def _q4_k(blocks: np.ndarray) -> Groups:
    """256 weights: scale, minimum, 12 bytes with factors of 6 bits for both, and per 64 weights 32 bytes of two
    nibbles."""
    return _pack_4(_pairs_of_nibbles(blocks[:, 16:])), *_factored(blocks)


def _q5_k(blocks: np.ndarray) -> Groups:
    """As Q4_K, with 32 bytes of fifth bits before the nibbles: bit i of byte j belongs to weight j of group i."""
    fifth = (blocks[:, None, 16:48] >> np.arange(8, dtype=np.uint8)[None, :, None] & 1) << 4
    return _pack_5(_pairs_of_nibbles(blocks[:, 48:]) | fifth.reshape(-1, GROUP)), *_factored(blocks)


def _tq1_0(blocks: np.ndarray) -> Groups:
    """256 weights of −1, 0 or 1 in base 3: 48 bytes of five, of which the first 32 and then the other 16 hold every
    32nd and 16th, 4 bytes of four, and a scale. A byte times 3ⁿ, cut to 8 bits, begins with digit n."""
    return _ternary(_base_3(blocks), blocks[:, 52:])


def _base_3(blocks: np.ndarray) -> np.ndarray:
    """The integers 0, 1 and 2 of TQ1_0: uint16 [blocks, 256]."""
    parts = blocks[:, :32], blocks[:, 32:48], blocks[:, 48:52]
    powers = np.array([1, 3, 9, 27, 81], np.uint8)
    digits = [part[:, None, :] * powers[: 5 if part.shape[1] > 4 else 4, None] for part in parts]
    joined = np.concatenate([part.reshape(len(blocks), -1) for part in digits], axis=1)
    return joined.astype(np.uint16) * 3 >> 8


def _tq2_0(blocks: np.ndarray) -> Groups:
    """256 weights of −1, 0 or 1: twice 32 bytes, whose pairs of bits n are 32 weights, and a scale."""
    shifts = np.array([0, 2, 4, 6], np.uint8)[:, None]
    return _ternary(blocks[:, :64].reshape(-1, 2, 1, 32) >> shifts & 3, blocks[:, 64:])


def ternary_as_q2_k(rows: np.ndarray, type: str) -> np.ndarray:
    """Rows of TQ1_0 or TQ2_0 as rows of Q2_K, with the very same numbers: uint8 [rows, bytes].

    Q2_K: 16 bytes of scale and minimum, 4 bits each and here all 1, the integers as TQ2_0 has them, and two float16
    that both are multiplied with, here the same: value = scale × integer - scale.
    """
    blocks = rows.reshape(-1, EXACT[type].block)
    integers, scale = (blocks[:, :64], blocks[:, 64:]) if type == "TQ2_0" else (_twos(blocks), blocks[:, 52:])
    factors = np.full((len(blocks), 16), 0x11, np.uint8)
    return np.concatenate([factors, integers, scale, scale], axis=1).reshape(len(rows), -1)


def _twos(blocks: np.ndarray) -> np.ndarray:
    """The integers of TQ1_0, as TQ2_0 has them: uint8 [blocks, 64]."""
    places = _base_3(blocks).astype(np.uint8).reshape(-1, 2, 4, 32) << np.array([0, 2, 4, 6], np.uint8)[:, None]
    return np.asarray(np.bitwise_or.reduce(places, axis=2)).reshape(-1, 64)


def _ternary(integers: np.ndarray, scales: np.ndarray) -> Groups:
    """Integers 0, 1 and 2, for 256 weights of each scale."""
    pairs = integers.astype(np.uint8).reshape(-1, 4)
    packed = pairs[:, 0] | pairs[:, 1] << 2 | pairs[:, 2] << 4 | pairs[:, 3] << 6
    scale = np.repeat(np.ascontiguousarray(scales).view(np.float16).reshape(-1), 256 // GROUP)
    return packed, scale, _multiplied(scale, -1)


@dataclass(frozen=True, slots=True)
class BlockFormat:
    """How the blocks of one type are converted."""

    bits: int
    block: int  # bytes
    groups: Callable[[np.ndarray], Groups]  # of blocks, uint8 [blocks, bytes]


EXACT = {
    "Q4_0": BlockFormat(4, 18, _q4_0),
    "Q4_1": BlockFormat(4, 20, _q4_1),
    "Q5_0": BlockFormat(5, 22, _q5_0),
    "Q5_1": BlockFormat(5, 24, _q5_1),
    "Q8_0": BlockFormat(8, 34, _q8_0),
    "TQ1_0": BlockFormat(2, 54, _tq1_0),
    "TQ2_0": BlockFormat(2, 66, _tq2_0),
}
ROUNDED = {"Q4_K": BlockFormat(4, 144, _q4_k), "Q5_K": BlockFormat(5, 176, _q5_k)}
KINDS = {**EXACT, **ROUNDED}


def pack(rows: np.ndarray, type: str) -> Packed:
    """Convert rows as they are stored, uint8 [rows, bytes]. `type`: a key of KINDS."""
    kind = KINDS[type]
    with np.errstate(over="ignore"):  # `is_finite` finds infinite scales afterwards
        words, scales, biases = kind.groups(rows.reshape(-1, kind.block))
        halves = [part.astype(np.float16, copy=False).reshape(len(rows), -1) for part in (scales, biases)]
    return Packed(words.reshape(-1).view(np.uint32).reshape(len(rows), -1), *halves)


def is_finite(halves: np.ndarray) -> bool:
    """Is every float16 finite? Several times as fast as NumPy's."""
    return bool(((halves.view(np.uint16) & 0x7C00) != 0x7C00).all())


def _field(blocks: np.ndarray, layout: np.dtype, name: str) -> np.ndarray:
    """One field of every block."""
    return np.ascontiguousarray(blocks.view(layout)[:, 0][name])


@cache
def _products(factor: int) -> np.ndarray:
    """Every float16 times the factor, indexed by its bits, since NumPy is slow in float16."""
    with np.errstate(all="ignore"):
        products: np.ndarray = np.arange(1 << 16, dtype=np.uint16).view(np.float16) * np.float16(factor)
    return products


def _multiplied(scale: np.ndarray, factor: int) -> np.ndarray:
    return _products(factor)[scale.view(np.uint16)]


def _packed_nibbles(runs: np.ndarray) -> np.ndarray:
    """16 bytes, whose low halves are 16 integers and whose high halves are the next 16, as pairs of neighbours."""
    pairs = runs.view(np.uint16)
    packed = np.empty((len(runs), 2), np.uint64)
    packed[:, 0] = _joined(pairs & 0x0F0F).view(np.uint64)
    packed[:, 1] = _joined(pairs >> 4 & 0x0F0F).view(np.uint64)
    return packed


def _joined(pairs: np.ndarray) -> np.ndarray:
    """Two bytes below 16 as one byte."""
    pairs |= pairs >> 4
    return pairs.astype(np.uint8)


def _packed_fives(blocks: np.ndarray, layout: np.dtype) -> np.ndarray:
    runs = _field(blocks, layout, "nibbles").view(np.uint8).reshape(-1, 16)
    bits = _field(blocks, layout, "fifths").view(np.uint8).reshape(-1, 4)
    fifths = np.unpackbits(bits, axis=1, bitorder="little") << 4  # bit i of 32 belongs to weight i
    return _pack_5(np.concatenate((runs & 0x0F, runs >> 4), axis=1) | fifths)


def _pairs_of_nibbles(bytes: np.ndarray) -> np.ndarray:
    """For every 32 bytes the low halves, then the high ones: uint8 [groups, 32]."""
    parts = bytes.reshape(-1, 1, 32)
    return np.concatenate((parts & 0x0F, parts >> 4), axis=1).reshape(-1, GROUP)


def _factored(blocks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Scales and biases of a K-quant's 8 groups: a float16 each, times factors of 6 bits.

    The first four factors of both are the low bits of bytes 0 to 3 and 4 to 7. The others have their low bits in bytes
    8 to 11, and their high bits in bytes 0 to 7.
    """
    factors = blocks[:, 4:16]
    first, second, third = factors[:, :4], factors[:, 4:8], factors[:, 8:]
    of_scale = np.concatenate((first & 0x3F, third & 0x0F | first >> 6 << 4), axis=1)
    of_minimum = np.concatenate((second & 0x3F, third >> 4 | second >> 6 << 4), axis=1)
    scale, minimum = np.ascontiguousarray(blocks[:, :4]).view(np.float16).astype(np.float32).T
    scales, biases = scale[:, None] * of_scale, -minimum[:, None] * of_minimum
    return scales.reshape(-1), biases.reshape(-1)


def _pack_4(integers: np.ndarray) -> np.ndarray:
    return _joined(np.ascontiguousarray(integers).view(np.uint16))


def _pack_5(integers: np.ndarray) -> np.ndarray:
    """Packs eight integers into 40 bits."""
    words = integers.reshape(-1, 8).astype(np.uint64)
    joined = words[:, 0].copy()
    for i in range(1, 8):
        joined |= words[:, i] << np.uint64(5 * i)
    return np.ascontiguousarray(joined[:, None].view(np.uint8)[:, :5]).reshape(-1)
