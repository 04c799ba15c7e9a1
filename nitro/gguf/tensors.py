"""A tensor of a GGUF as the arrays of an MLX model, chunk by chunk, which takes little memory.

Rows keep the order of the original model: they are moved as they are stored, packed or not, and never unpacked for it.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import prod

import numpy as np

from nitro.gguf import architectures, packing, weights
from nitro.gguf.header import Header, Tensor, UnreadableGGUF
from nitro.gguf.packing import GROUP, Packed

CHUNK_SIZE = 1 << 18  # bytes of the file at a time, which stay in the processor's cache
WINDOW = 1 << 25  # bytes of the file that are mapped at a time: what is mapped counts as memory of the process
TERNARY = ("TQ1_0", "TQ2_0")
BLOCKS = "U8"  # the type of weights that stay as the file has them, in ggml's blocks


@dataclass(frozen=True, slots=True)
class ArraySpec:
    """Name, type and shape of one array of the model."""

    name: str
    type: str  # as in safetensors: "F32", "F16", "BF16", "U32", "U8"
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


def block_type(type: str) -> str:
    """The type of the blocks that a tensor of this type stays in: its own, but for the ternary ones, which mlx-kquant
    does not have and which Q2_K holds exactly."""
    return "Q2_K" if type in TERNARY else type


def in_blocks(header: Header, name: str) -> ArraySpec:
    """The array of a tensor that stays in ggml's blocks: its last axis counts bytes."""
    *rows, columns = architectures.model_shape(header, name)
    shape = (*rows, weights.row_bytes(Tensor(block_type(header.tensors[name].type), (1, columns))))
    return ArraySpec(architectures.model_name(header, name), BLOCKS, shape)


def chunks(
    header: Header, name: str, pack: Callable[[np.ndarray, str], Packed] = packing.pack
) -> Iterator[TensorChunk]:
    """The arrays of a tensor, some rows at a time. `pack`: packs rows as stored, where the type is not in
    weights.PLAIN. Raises UnreadableGGUF where a scale does not fit float16."""
    type = header.tensors[name].type
    for piece in _rows(header, name):
        if type in weights.PLAIN:
            yield TensorChunk((_plain(header, name, piece),), piece.size)
            continue
        packed = pack(piece, type)
        if not (packing.is_finite(packed.scales) and packing.is_finite(packed.biases)):
            raise UnreadableGGUF(f"{header.path}: tensor {name} has a scale that float16 cannot hold.")
        yield TensorChunk((packed.words, packed.scales, packed.biases), piece.size)


def block_chunks(header: Header, name: str) -> Iterator[TensorChunk]:
    """As `chunks`, of a tensor that stays in ggml's blocks; as large as what is mapped at a time."""
    type = header.tensors[name].type
    for window in _windows(header, name):
        rows = packing.ternary_as_q2_k(window, type) if type in TERNARY else window
        yield TensorChunk((rows,), window.size)


def _windows(header: Header, name: str) -> Iterator[np.ndarray]:
    """The rows as they are stored, uint8 [some rows, bytes of a row], in the order of the original model."""
    tensor = header.tensors[name]
    if architectures.is_reordered(header, name):  # small, and mapped whole: its rows come from everywhere
        return iter([architectures.in_model_order(header, name, weights.stored(tensor))])
    return weights.windows(tensor, WINDOW)


def _rows(header: Header, name: str) -> Iterator[np.ndarray]:
    """As `_windows`, in pieces that stay in the processor's cache."""
    step = max(1, CHUNK_SIZE // max(weights.row_bytes(header.tensors[name]), 1))
    for window in _windows(header, name):
        for start in range(0, len(window), step):
            yield np.ascontiguousarray(window[start : start + step])


def bytes_of(part: ArraySpec) -> int:
    """The size of an array in bytes."""
    return prod(part.shape) * {"F32": 4, "U32": 4, "F16": 2, "BF16": 2, "U8": 1}[part.type]


def _plain(header: Header, name: str, rows: np.ndarray) -> np.ndarray:
    tensor = header.tensors[name]
    values: np.ndarray = rows.view(weights.PLAIN[tensor.type])
    if not architectures.changes_values(header, name):
        return values
    if tensor.type != "F32":
        raise UnreadableGGUF(f"{header.path}: tensor {name} is {tensor.type}; supported is F32.")
    return architectures.in_model_values(header, name, values)
