"""A tensor of a GGUF as the arrays of an MLX model, chunk by chunk, which takes little memory."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import prod

import numpy as np

from nitro.gguf import architectures, packing, weights
from nitro.gguf.header import Header, UnreadableGGUF
from nitro.gguf.packing import GROUP, Packed

CHUNK_SIZE = 1 << 18  # bytes of the file at a time, which stay in the processor's cache


@dataclass(frozen=True, slots=True)
class ArraySpec:
    """Name, type and shape of one array of the model."""

    name: str
    type: str  # as in safetensors: "F32", "F16", "BF16", "U32"
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class TensorChunk:
    """Some rows of a tensor: one array for each of its arrays, BF16 as uint16."""

    arrays: tuple[np.ndarray, ...]
    size: int  # bytes of the file


def parts(header: Header, name: str, bits: int | None = None) -> list[ArraySpec]:
    """The arrays that a tensor becomes. `bits`: of one that is packed; None where its type determines them."""
    tensor = header.tensors[name]
    model_name, shape = architectures.model_name(header, name), architectures.model_shape(header, name)
    if tensor.type in weights.PLAIN:
        return [ArraySpec(model_name, tensor.type, shape)]
    bits = packing.KINDS[tensor.type].bits if bits is None else bits
    *rows, columns = shape
    stem = model_name.removesuffix(".weight")
    groups = (*rows, columns // GROUP)
    return [
        ArraySpec(model_name, "U32", (*rows, columns * bits // 32)),
        ArraySpec(f"{stem}.scales", "F16", groups),
        ArraySpec(f"{stem}.biases", "F16", groups),
    ]


def chunks(
    header: Header, name: str, pack: Callable[[np.ndarray, str], Packed] = packing.pack
) -> Iterator[TensorChunk]:
    """The arrays of a tensor, some rows at a time. `pack`: packs rows as stored, where the type is not in
    weights.PLAIN. Raises UnreadableGGUF where a scale does not fit float16."""
    tensor = header.tensors[name]
    rows = architectures.in_model_order(header, name, weights.stored(tensor))
    step = max(1, CHUNK_SIZE // rows.shape[1])
    for start in range(0, len(rows), step):
        piece = np.ascontiguousarray(rows[start : start + step])
        if tensor.type in weights.PLAIN:
            yield TensorChunk((_plain(header, name, piece),), piece.size)
            continue
        packed = pack(piece, tensor.type)
        if not (packing.is_finite(packed.scales) and packing.is_finite(packed.biases)):
            raise UnreadableGGUF(f"{header.path}: tensor {name} has a scale that float16 cannot hold.")
        yield TensorChunk((packed.words, packed.scales, packed.biases), piece.size)


def whole(header: Header, name: str) -> list[tuple[ArraySpec, np.ndarray]]:
    """A whole tensor whose type MLX's layout can hold. Raises UnreadableGGUF."""
    columns = zip(*(chunk.arrays for chunk in chunks(header, name)), strict=True)
    return [
        (part, np.concatenate(arrays).reshape(part.shape))
        for part, arrays in zip(parts(header, name), columns, strict=True)
    ]


def bytes_of(part: ArraySpec) -> int:
    """The size of an array in bytes."""
    return prod(part.shape) * {"F32": 4, "U32": 4, "F16": 2, "BF16": 2}[part.type]


def _plain(header: Header, name: str, rows: np.ndarray) -> np.ndarray:
    tensor = header.tensors[name]
    values: np.ndarray = rows.view(weights.PLAIN[tensor.type])
    if not architectures.changes_values(header, name):
        return values
    if tensor.type != "F32":
        raise UnreadableGGUF(f"{header.path}: tensor {name} is {tensor.type}; supported is F32.")
    return architectures.in_model_values(header, name, values)
