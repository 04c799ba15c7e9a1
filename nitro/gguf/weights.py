"""The weights of a GGUF as they are stored, mapped from the file, so that only what is read takes memory."""

from collections.abc import Iterator

import numpy as np
from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType
from gguf.quants import dequantize

from nitro.gguf.header import Header, Tensor

PLAIN = {"F32": np.float32, "F16": np.float16, "BF16": np.uint16}  # NumPy has no bfloat16


def stored(tensor: Tensor, start: int = 0, stop: int | None = None) -> np.ndarray:
    """The bytes of a tensor: uint8 [rows, bytes of a row]. A vector of n has n rows, a stack of experts the rows of
    all. `start`, `stop`: of the rows."""
    width = row_bytes(tensor)
    stop = tensor.size // width if stop is None and width else stop
    if tensor.size == 0 or start == stop:
        return np.empty((0, width), np.uint8)
    assert stop is not None
    return np.memmap(tensor.file, np.uint8, "r", tensor.offset + start * width, (stop - start, width))


def windows(tensor: Tensor, size: int) -> Iterator[np.ndarray]:
    """As `stored`, piece by piece. `size`: bytes of the file that are mapped at a time."""
    width = row_bytes(tensor)
    rows = tensor.size // width if width else 0
    step = max(1, size // max(width, 1))
    for start in range(0, rows, step):
        yield stored(tensor, start, min(start + step, rows))


def row_bytes(tensor: Tensor) -> int:
    """Bytes of a row."""
    block, size = GGML_QUANT_SIZES[GGMLQuantizationType[tensor.type]]
    columns = tensor.shape[-1] if len(tensor.shape) > 1 else 1
    return columns // block * size


def is_readable(type: str) -> bool:
    """Can the gguf package dequantise this type?"""
    try:
        kind = GGMLQuantizationType[type]
        dequantize(np.zeros((1, GGML_QUANT_SIZES[kind][1]), np.uint8), kind)
    except NotImplementedError:
        return False
    return True


def numbers(header: Header, name: str) -> list[float]:
    """The values of a small float32 tensor."""
    return [float(value) for value in stored(header.tensors[name]).reshape(-1).view(np.float32)]
