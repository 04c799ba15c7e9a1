"""Quantised weights of a GGUF in MLX's affine layout: groups of 32, value = scale × integer + bias.

MLX packs the integers of a row one after another, lowest bits first, into words of 32 bits (mlx.core.quantize). The
blocks are ggml's (ggml/src/ggml-common.h, and ggml-quants.c for how they are read). The integers here are the file's,
and so are the scales and biases, but for those types in ROUNDED: there they are products, rounded to float16.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

GROUP = 32  # weights that share a scale


@dataclass(frozen=True, slots=True)
class Packed:
    words: np.ndarray  # uint32 [rows, columns × bits / 32]
    scales: np.ndarray  # float16 [rows, columns / GROUP]
    biases: np.ndarray


Groups = tuple[np.ndarray, np.ndarray, np.ndarray]  # integers uint8 [groups, 32], scales and biases [groups]


def _q4_0(blocks: np.ndarray) -> Groups:
    scale = _half(blocks[:, :2])
    return _nibbles(blocks[:, 2:]), scale, scale * np.float16(-8)


def _q4_1(blocks: np.ndarray) -> Groups:
    return _nibbles(blocks[:, 4:]), _half(blocks[:, :2]), _half(blocks[:, 2:4])


def _q5_0(blocks: np.ndarray) -> Groups:
    scale = _half(blocks[:, :2])
    return _nibbles(blocks[:, 6:]) | _fifth_bits(blocks[:, 2:6]), scale, scale * np.float16(-16)


def _q5_1(blocks: np.ndarray) -> Groups:
    return _nibbles(blocks[:, 8:]) | _fifth_bits(blocks[:, 4:8]), _half(blocks[:, :2]), _half(blocks[:, 2:4])


def _q8_0(blocks: np.ndarray) -> Groups:
    scale = _half(blocks[:, :2])
    return blocks[:, 2:] ^ 0x80, scale, scale * np.float16(-128)  # signed bytes, moved up by 128


def _q4_k(blocks: np.ndarray) -> Groups:
    """256 weights: scale, least, 12 bytes of 6-bit factors to both, and per 64 weights 32 bytes of two nibbles."""
    return _pairs_of_nibbles(blocks[:, 16:]), *_factored(blocks)


def _q5_k(blocks: np.ndarray) -> Groups:
    """As Q4_K, with 32 bytes of fifth bits before the nibbles: bit i of byte j is of weight j in group i."""
    fifth = (blocks[:, None, 16:48] >> np.arange(8, dtype=np.uint8)[None, :, None] & 1) << 4
    return _pairs_of_nibbles(blocks[:, 48:]) | fifth.reshape(-1, GROUP), *_factored(blocks)


@dataclass(frozen=True, slots=True)
class Kind:
    bits: int
    block: int  # bytes
    groups: Callable[[np.ndarray], Groups]  # of blocks, uint8 [blocks, bytes]


EXACT = {
    "Q4_0": Kind(4, 18, _q4_0),
    "Q4_1": Kind(4, 20, _q4_1),
    "Q5_0": Kind(5, 22, _q5_0),
    "Q5_1": Kind(5, 24, _q5_1),
    "Q8_0": Kind(8, 34, _q8_0),
}
ROUNDED = {"Q4_K": Kind(4, 144, _q4_k), "Q5_K": Kind(5, 176, _q5_k)}
KINDS = {**EXACT, **ROUNDED}


def pack(rows: np.ndarray, type: str) -> Packed:
    """`rows`: as stored, uint8 [rows, bytes]."""
    kind = KINDS[type]
    with np.errstate(over="ignore"):  # an infinite scale shows where the result is looked at
        integers, scales, biases = kind.groups(rows.reshape(-1, kind.block))
        halves = [part.astype(np.float16).reshape(len(rows), -1) for part in (scales, biases)]
    return Packed(_PACKERS[kind.bits](integers).view(np.uint32).reshape(len(rows), -1), *halves)


def _half(bytes: np.ndarray) -> np.ndarray:
    """float16 [blocks], of uint8 [blocks, 2]."""
    return np.ascontiguousarray(bytes).view(np.float16)[:, 0]


def _nibbles(bytes: np.ndarray) -> np.ndarray:
    """The low halves of 16 bytes, then the high ones: uint8 [blocks, 32]."""
    integers = np.empty((len(bytes), GROUP), np.uint8)
    np.bitwise_and(bytes, 0x0F, out=integers[:, :16])
    np.right_shift(bytes, 4, out=integers[:, 16:])
    return integers


def _fifth_bits(bytes: np.ndarray) -> np.ndarray:
    """Bit i of 32 as bit 4 of weight i."""
    return np.unpackbits(np.ascontiguousarray(bytes), axis=1, bitorder="little") << 4


def _pairs_of_nibbles(bytes: np.ndarray) -> np.ndarray:
    """Of every 32 bytes the low halves, then the high ones: uint8 [groups, 32]."""
    parts = bytes.reshape(-1, 1, 32)
    return np.concatenate((parts & 0x0F, parts >> 4), axis=1).reshape(-1, GROUP)


def _factored(blocks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Scales and biases of a K-quant's 8 groups: a float16 each, times factors of 6 bits. The first four of both
    kinds are low bits of bytes 0 to 3 and 4 to 7; the others are bytes 8 to 11, with their high bits in those."""
    factors = blocks[:, 4:16]
    first, second, third = factors[:, :4], factors[:, 4:8], factors[:, 8:]
    of_scale = np.concatenate((first & 0x3F, third & 0x0F | first >> 6 << 4), axis=1)
    of_least = np.concatenate((second & 0x3F, third >> 4 | second >> 6 << 4), axis=1)
    scales = _half(blocks[:, :2]).astype(np.float32)[:, None] * of_scale
    biases = -_half(blocks[:, 2:4]).astype(np.float32)[:, None] * of_least
    return scales.reshape(-1), biases.reshape(-1)


def _pack_4(integers: np.ndarray) -> np.ndarray:
    pairs = np.ascontiguousarray(integers).view(np.uint16)
    return (pairs | pairs >> 4).astype(np.uint8)


def _pack_5(integers: np.ndarray) -> np.ndarray:
    """Eight integers into 40 bits."""
    words = integers.reshape(-1, 8).astype(np.uint64)
    joined = words[:, 0].copy()
    for i in range(1, 8):
        joined |= words[:, i] << np.uint64(5 * i)
    return np.ascontiguousarray(joined[:, None].view(np.uint8)[:, :5]).reshape(-1)


_PACKERS: dict[int, Callable[[np.ndarray], np.ndarray]] = {4: _pack_4, 5: _pack_5, 8: np.ascontiguousarray}
