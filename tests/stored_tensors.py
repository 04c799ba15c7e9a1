"""The tensors of a GGUF as they lie in the file, for gguf-py to unpack. Its own reader takes ten seconds for a large
vocabulary."""

import math
from pathlib import Path

import numpy as np
from gguf import GGMLQuantizationType as Type

from nitro.gguf import header


def types(file: Path) -> dict[str, Type]:
    """By the tensor's name."""
    return {name: Type[tensor.type] for name, tensor in header.read(file).tensors.items()}


def packed(file: Path, mode: str = "r") -> dict[str, np.ndarray]:
    """The bytes of each, in the file: uint8 [..., rows, bytes of a row]. `mode`: of numpy.memmap."""
    tensors = header.read(file).tensors
    shapes = {name: (*t.shape[:-1], t.size // math.prod(t.shape[:-1])) for name, t in tensors.items()}
    return {name: np.memmap(t.file, np.uint8, mode, t.offset, shapes[name]) for name, t in tensors.items()}
