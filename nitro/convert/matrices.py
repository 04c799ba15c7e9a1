"""The matrices of two models side by side, some rows of each. Quantisation hides a tensor in a wrong place, or rows in
a wrong order, from logits; it hides nothing here, where the one has nothing to do with the other.

Only of models whose names and order of rows are known in every kind of file: those of gguf/architectures.py.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import prod

import numpy as np
from gguf.constants import GGMLQuantizationType
from gguf.quants import dequantize

from nitro.checkpoints import mlx_packing
from nitro.convert.checkpoint import Checkpoint, Weight
from nitro.gguf import architectures, header, weights
from nitro.gguf.header import Header, UnreadableGGUF

ROWS = 32  # of a matrix, from its first to its last
STORED = {"F32": np.float32, "F16": np.float16, "BF16": np.uint16, "U32": np.uint32}

Read = Callable[[np.ndarray], np.ndarray]  # rows by number → their values, float32


@dataclass(frozen=True, slots=True)
class Matrix:
    type: str
    rows: int
    columns: int
    read: Read


def of(model: Checkpoint) -> dict[str, Matrix]:
    """By transformers' name; empty where that, or how a type is read, is not known."""
    if not architectures.is_known(model.architecture, model.kind == "gguf"):
        return {}
    try:
        whole = dict(_of_gguf(header.read_all(model.path)) if model.kind == "gguf" else _of_folder(model))
    except UnreadableGGUF:
        return {}
    return dict(part for name, (matrix, count) in whole.items() for part in _experts(name, matrix, count))


def error(one: Matrix, other: Matrix) -> float:
    """How far the other is from the one, relative to that: 1.4 where they have nothing in common."""
    if one.columns != other.columns:
        return float("inf")
    rows = min(one.rows, other.rows)  # an embedding may be padded
    some = np.unique(np.linspace(0, rows - 1, ROWS).astype(np.int64))
    reference = one.read(some).astype(np.float64)
    off, size = np.square(other.read(some) - reference).sum(), np.square(reference).sum()
    return float(np.sqrt(off / size)) if size else float(off)


def _experts(name: str, matrix: Matrix, count: int) -> Iterator[tuple[str, Matrix]]:
    """A stack of so many is as many matrices, as transformers has them."""
    if not mlx_packing.is_expert_stack(name):
        yield name, matrix
        return
    rows = matrix.rows // count
    for number in range(count):
        read = _shifted(matrix.read, number * rows)
        yield mlx_packing.expert_name(name, number), Matrix(matrix.type, rows, matrix.columns, read)


def _shifted(read: Read, by: int) -> Read:
    return lambda rows: read(rows + by)


def _of_gguf(head: Header) -> Iterator[tuple[str, tuple[Matrix, int]]]:
    for name, goal in architectures.model_names(head).items():
        tensor = head.tensors[name]
        if len(tensor.shape) > 1 and weights.is_readable(tensor.type):
            rows = prod(tensor.shape[:-1])
            yield goal, (Matrix(tensor.type, rows, tensor.shape[-1], _from_gguf(head, name, rows)), tensor.shape[0])


def _from_gguf(head: Header, name: str, count: int) -> Read:
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
        if weight.type in weights.PLAIN:
            matrix = Matrix(weight.type, prod(weight.shape[:-1]), weight.shape[-1], _plain(weight))
        if matrix:
            yield name, (matrix, weight.shape[0])


def _plain(weight: Weight) -> Read:
    """As they are stored, with bfloat16 made float32."""

    def read(rows: np.ndarray) -> np.ndarray:
        shape = (prod(weight.shape[:-1]), weight.shape[-1])
        values = np.memmap(weight.file, STORED[weight.type], "r", weight.offset, shape)[rows]
        if weight.type == "BF16":
            return np.array(values.astype(np.uint32) << 16).view(np.float32)
        return np.array(values, np.uint32 if weight.type == "U32" else np.float32)

    return read


def _packed(model: Checkpoint, name: str) -> Matrix | None:
    """The matrix of a packed weight; None where its scales, its biases or its group size are missing."""
    layer = name.removesuffix(".weight")
    weight = model.weights[name]
    scales = model.weights.get(f"{layer}.scales")
    biases = model.weights.get(f"{layer}.biases")
    group_size = mlx_packing.of_layer(model.quantization, layer).group_size
    if not scales or not biases or not group_size:
        return None
    bits = mlx_packing.bits(weight.shape[-1], scales.shape[-1], group_size)
    readers = [_plain(part) for part in (weight, scales, biases)]

    def read(rows: np.ndarray) -> np.ndarray:
        words, scale, bias = (reader(rows) for reader in readers)
        return mlx_packing.unpack(words, scale, bias, bits)

    return Matrix(f"{bits}bit", prod(weight.shape[:-1]), scales.shape[-1] * group_size, read)
