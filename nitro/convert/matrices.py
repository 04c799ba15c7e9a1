"""Compares the matrices of two models directly, some rows of each. In logits, the noise of quantisation can hide a
swapped tensor or rows in a wrong order; here nothing can, since such rows have nothing in common.

Only for models whose names and order of rows are known in every kind of file: those of gguf/architectures.py.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import prod

import numpy as np
from gguf.constants import GGMLQuantizationType
from gguf.quants import dequantize

from nitro.checkpoints import block_packing, mlx_packing
from nitro.convert.checkpoint import Checkpoint, StoredWeight
from nitro.gguf import architectures, weights
from nitro.gguf.header import Header, UnreadableGGUF

ROWS = 32  # compared of each matrix, from the first to the last
STORAGE_TYPES = {"F32": np.float32, "F16": np.float16, "BF16": np.uint16, "U32": np.uint32, "U8": np.uint8}
INTEGERS = ("U32", "U8")

ReadRows = Callable[[np.ndarray], np.ndarray]  # row numbers → their values, float32 [rows, columns]


@dataclass(frozen=True, slots=True)
class Matrix:
    """A weight with two dimensions. `type`: of the stored weights, as "Q4_1" or "4bit"."""

    type: str
    rows: int
    columns: int
    read: ReadRows


def of(model: Checkpoint) -> dict[str, Matrix]:
    """The model's matrices by transformers' names; empty where the architecture is not known here."""
    if not architectures.is_known(model.architecture, model.kind == "gguf"):
        return {}
    try:
        stacks = dict(_of_gguf(architectures.read(model.path)) if model.kind == "gguf" else _of_folder(model))
    except UnreadableGGUF:
        return {}
    return dict(
        part
        for name, (matrix, count) in stacks.items()
        if "conv" not in name  # convolutions have other axes in every kind of file
        for part in _experts(name, matrix, count)
    )


def relative_error(reference: Matrix, matrix: Matrix) -> float:
    """The norm of the difference, relative to the reference's; about 1.4 where they have nothing in common."""
    if reference.columns != matrix.columns:
        return float("inf")
    row_count = min(reference.rows, matrix.rows)  # an embedding may be padded
    rows = np.unique(np.linspace(0, row_count - 1, ROWS).astype(np.int64))
    expected = reference.read(rows).astype(np.float64)
    difference = np.square(matrix.read(rows) - expected).sum()
    size = np.square(expected).sum()
    return float(np.sqrt(difference / size)) if size else float(difference)


def _experts(name: str, matrix: Matrix, count: int) -> Iterator[tuple[str, Matrix]]:
    """A stack of experts as single matrices, which is how transformers stores them."""
    if not mlx_packing.is_expert_stack(name):
        yield name, matrix
        return
    rows = matrix.rows // count
    for number in range(count):
        read = _shifted(matrix.read, number * rows)
        yield mlx_packing.expert_name(name, number), Matrix(matrix.type, rows, matrix.columns, read)


def _shifted(read: ReadRows, offset: int) -> ReadRows:
    return lambda rows: read(rows + offset)


def _of_gguf(head: Header) -> Iterator[tuple[str, tuple[Matrix, int]]]:
    """Matrices by name, with the size of their first dimension."""
    for name, model_name in architectures.model_names(head).items():
        tensor = head.tensors[name]
        if len(tensor.shape) > 1 and weights.is_readable(tensor.type):
            *_, columns = tensor.shape
            count, *_ = shape = architectures.model_shape(head, name)
            read = _from_gguf(head, name, prod(tensor.shape[:-1]))
            yield model_name, (Matrix(tensor.type, prod(shape) // columns, columns, read), count)


def _from_gguf(head: Header, name: str, count: int) -> ReadRows:
    type = GGMLQuantizationType[head.tensors[name].type]

    def read(rows: np.ndarray) -> np.ndarray:
        order = architectures.in_model_order(head, name, np.arange(count)[:, None])[:, 0]
        values: np.ndarray = dequantize(weights.stored(head.tensors[name])[order[rows]], type)
        return values

    return read


def _of_folder(model: Checkpoint) -> Iterator[tuple[str, tuple[Matrix, int]]]:
    for name, weight in model.weights.items():
        if len(weight.shape) < 2 or not name.endswith(".weight"):
            continue
        matrix = _packed(model, name) if weight.type == "U32" else None
        if name in model.blocks:
            matrix = _in_blocks(weight, model.blocks[name])
        if weight.type in weights.PLAIN:
            matrix = Matrix(weight.type, prod(weight.shape[:-1]), weight.shape[-1], _plain(weight))
        if matrix:
            yield name, (matrix, weight.shape[0])


def _plain(weight: StoredWeight) -> ReadRows:
    """Reads values as they are stored, with floats as float32. A vector has rows of one."""
    columns = weight.shape[-1] if len(weight.shape) > 1 else 1

    def read(rows: np.ndarray) -> np.ndarray:
        shape = (weight.count // max(columns, 1), columns)
        values = np.memmap(weight.file, STORAGE_TYPES[weight.type], "r", weight.offset, shape)[rows]
        if weight.type == "BF16":
            return np.array(values.astype(np.uint32) << 16).view(np.float32)
        return np.array(values, STORAGE_TYPES[weight.type] if weight.type in INTEGERS else np.float32)

    return read


def _in_blocks(weight: StoredWeight, type: str) -> Matrix:
    stored = _plain(weight)
    columns = block_packing.columns(weight.shape[-1], type)
    return Matrix(type, prod(weight.shape[:-1]), columns, lambda rows: block_packing.unpack(stored(rows), type))


def _packed(model: Checkpoint, name: str) -> Matrix | None:
    """The matrix of a packed weight; None where its scales or biases are missing."""
    packing = model.packings.get(name)
    if packing is None:
        return None
    layer = name.removesuffix(".weight")
    parts = {part: model.weights.get(f"{layer}.{part}") for part in mlx_packing.PARTS}
    if packing.mode == mlx_packing.AFFINE and not parts["biases"]:
        return None
    readers = {part: _plain(weight) for part, weight in parts.items() if weight}
    weight = model.weights[name]
    row_count = prod(weight.shape[:-1])

    def read(rows: np.ndarray) -> np.ndarray:
        words, scales = readers["weight"](rows), readers["scales"](rows)
        biases = readers["biases"](rows) if packing.mode == mlx_packing.AFFINE else None
        of_experts = None
        if "global_scale" in readers:
            of_experts = readers["global_scale"](rows // (row_count // weight.shape[0]))[:, 0]
        return mlx_packing.unpack(words, scales, biases, packing, of_experts)

    return Matrix(packing.type, row_count, mlx_packing.columns(weight.shape[-1], packing.bits), read)
