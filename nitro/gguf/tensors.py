"""A tensor of a GGUF as the arrays that the model has for it, chunk by chunk, so that none needs much memory."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import prod

import numpy as np

from nitro.gguf import architectures, packing, weights
from nitro.gguf.header import Header, UnreadableGGUF
from nitro.gguf.packing import GROUP, Packed

CHUNK = 1 << 18  # bytes of the file at a time: they stay in the processor's cache


@dataclass(frozen=True, slots=True)
class Part:
    """One array of the model."""

    name: str
    type: str  # as safetensors call it: "F32", "F16", "BF16", "U32"
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Chunk:
    """Some rows of a tensor: one array for each of its parts; BF16 as uint16."""

    arrays: tuple[np.ndarray, ...]
    size: int  # bytes of the file


def parts(header: Header, name: str, bits: int | None = None) -> list[Part]:
    """`bits`: of a tensor that is packed; None where its type says it."""
    tensor, goal = header.tensors[name], architectures.model_name(header, name)
    if tensor.type in weights.PLAIN:
        return [Part(goal, tensor.type, tensor.shape)]
    bits = packing.KINDS[tensor.type].bits if bits is None else bits
    *rows, columns = tensor.shape
    stem, groups = goal.removesuffix(".weight"), (*rows, columns // GROUP)
    return [
        Part(goal, "U32", (*rows, columns * bits // 32)),
        Part(f"{stem}.scales", "F16", groups),
        Part(f"{stem}.biases", "F16", groups),
    ]


def chunks(header: Header, name: str, pack: Callable[[np.ndarray, str], Packed] = packing.pack) -> Iterator[Chunk]:
    """`pack`: what makes groups of rows as stored, for a type that is not plain. Raises UnreadableGGUF."""
    tensor = header.tensors[name]
    rows = architectures.in_model_order(header, name, weights.stored(tensor))
    step = max(1, CHUNK // rows.shape[1])
    for start in range(0, len(rows), step):
        some = np.ascontiguousarray(rows[start : start + step])
        if tensor.type in weights.PLAIN:
            yield Chunk((_plain(header, name, some),), some.size)
            continue
        packed = pack(some, tensor.type)
        if not (packing.is_finite(packed.scales) and packing.is_finite(packed.biases)):
            raise UnreadableGGUF(f"{header.path}: tensor {name} has a scale that float16 cannot hold.")
        yield Chunk((packed.words, packed.scales, packed.biases), some.size)


def whole(header: Header, name: str) -> list[tuple[Part, np.ndarray]]:
    """All of a tensor that MLX's layout holds as it is."""
    columns = zip(*(chunk.arrays for chunk in chunks(header, name)), strict=True)
    return [
        (part, np.concatenate(arrays).reshape(part.shape))
        for part, arrays in zip(parts(header, name), columns, strict=True)
    ]


def bytes_of(part: Part) -> int:
    return prod(part.shape) * {"F32": 4, "U32": 4, "F16": 2, "BF16": 2}[part.type]


def _plain(header: Header, name: str, rows: np.ndarray) -> np.ndarray:
    tensor = header.tensors[name]
    values: np.ndarray = rows.view(weights.PLAIN[tensor.type])
    if not architectures.is_plus_one(header, name):
        return values
    if tensor.type != "F32":
        raise UnreadableGGUF(f"{header.path}: tensor {name} is {tensor.type}; supported is F32.")
    shifted: np.ndarray = values - np.float32(1)
    return shifted
