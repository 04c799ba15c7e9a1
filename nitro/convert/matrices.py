"""The matrices of two models side by side, some rows of each. Quantisation hides a tensor in a wrong place, or rows in
a wrong order, from logits; it hides nothing here, where the one has nothing to do with the other.

Only of models whose names and order of rows are known in every kind of file: those of gguf/architectures.py.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import prod

import numpy as np
from gguf.constants import GGMLQuantizationType
from gguf.quants import dequantize

from nitro.convert.checkpoint import Checkpoint, Weight
from nitro.gguf import architectures, header, weights
from nitro.gguf.header import Header, UnreadableGGUF

ROWS = 32  # of a matrix, from its first to its last
STORED = {"F32": np.float32, "F16": np.float16, "BF16": np.uint16, "U32": np.uint32}
STACK = re.compile(r"\.switch_mlp\.(?=\w+_proj\.)")  # all experts of a layer: [experts, rows, columns]

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
    if not STACK.search(name):
        yield name, matrix
        return
    rows = matrix.rows // count
    for number in range(count):
        read = _shifted(matrix.read, number * rows)
        yield STACK.sub(f".experts.{number}.", name), Matrix(matrix.type, rows, matrix.columns, read)


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
        rows, packing = prod(weight.shape[:-1]), _packing(model, name)
        if weight.type == "U32" and packing:
            yield name, (Matrix(f"{packing.bits}bit", rows, packing.columns, packing.read), weight.shape[0])
        elif weight.type in weights.PLAIN:
            yield name, (Matrix(weight.type, rows, weight.shape[-1], _plain(weight)), weight.shape[0])


def _plain(weight: Weight) -> Read:
    """As they are stored, with bfloat16 made float32."""

    def read(rows: np.ndarray) -> np.ndarray:
        shape = (prod(weight.shape[:-1]), weight.shape[-1])
        values = np.memmap(weight.file, STORED[weight.type], "r", weight.offset, shape)[rows]
        if weight.type == "BF16":
            return np.array(values.astype(np.uint32) << 16).view(np.float32)
        return np.array(values, np.uint32 if weight.type == "U32" else np.float32)

    return read


@dataclass(frozen=True, slots=True)
class _Packing:
    """MLX's: the integers of a row one after another, lowest bits first; value = scale × integer + bias."""

    bits: int
    columns: int
    read: Read


def _packing(model: Checkpoint, name: str) -> _Packing | None:
    stem, settings = name.removesuffix(".weight"), model.quantization or {}
    own = settings.get(stem)
    size = (own if isinstance(own, dict) else settings).get("group_size")
    scales, biases = (model.weights.get(f"{stem}.{kind}") for kind in ("scales", "biases"))
    if not scales or not biases or not size:
        return None
    columns = scales.shape[-1] * size
    bits = model.weights[name].shape[-1] * 32 // columns

    def read(rows: np.ndarray) -> np.ndarray:
        words, scale, bias = (_plain(part)(rows) for part in (model.weights[name], scales, biases))
        each = np.unpackbits(words.view(np.uint8), axis=1, bitorder="little").reshape(len(rows), -1, size, bits)
        values: np.ndarray = each @ (1 << np.arange(bits)).astype(np.float32) * scale[..., None] + bias[..., None]
        return values.reshape(len(rows), columns)

    return _Packing(bits, columns, read)
