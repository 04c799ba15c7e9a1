"""The header of a GGUF file: its metadata, and the names, types and shapes of its tensors. Reads no weights.

The format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md. The `gguf` package parses it.
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gguf import GGUFReader

SUPPRESSED = "GGUF."  # what the reader adds itself: version and counts


class UnreadableGGUF(Exception):
    """The file is no GGUF, damaged, or holds what is not supported here. The message is one sentence that names it."""


@dataclass(frozen=True, slots=True)
class Tensor:
    type: str  # as in ggml: "F32", "Q4_1", …
    shape: tuple[int, ...]  # rows first, as NumPy and MLX have it; GGUF stores it the other way round


@dataclass(frozen=True, slots=True)
class Header:
    path: Path
    metadata: dict[str, Any]  # strings, numbers, booleans, and lists of them
    tensors: dict[str, Tensor]  # by name

    @property
    def architecture(self) -> str:
        return str(self.get("general.architecture", ""))

    def get(self, key: str, default: Any = None) -> Any:
        """A value of the metadata; "{arch}" in `key` stands for the architecture's name."""
        if "{arch}" in key:
            key = key.replace("{arch}", self.architecture)
        return self.metadata.get(key, default)

    def need(self, key: str) -> Any:
        """As `get`. Raises UnreadableGGUF where it is missing."""
        value = self.get(key)
        if value is None:
            raise UnreadableGGUF(f"{self.path} has no {key.replace('{arch}', self.architecture)} in its metadata.")
        return value


def read(path: Path) -> Header:
    """Raises UnreadableGGUF, OSError."""
    try:
        reader = GGUFReader(path)
        metadata = {name: field.contents() for name, field in reader.fields.items() if not name.startswith(SUPPRESSED)}
        tensors = {
            tensor.name: Tensor(tensor.tensor_type.name, tuple(int(n) for n in reversed(tensor.shape)))
            for tensor in reader.tensors
        }
    except OSError:
        raise
    except Exception as error:  # the reader meets damage as whatever it stumbles over
        raise UnreadableGGUF(f"{path} is no GGUF file, or a damaged one ({error}).") from None
    return Header(path, metadata, tensors)


# general.sampling.* (gguf.Keys), by the names of engines.types.Sampling
SAMPLING_KEYS = {
    "temperature": "general.sampling.temp",
    "top_k": "general.sampling.top_k",
    "top_p": "general.sampling.top_p",
    "min_p": "general.sampling.min_p",
    "repeat_last_n": "general.sampling.penalty_last_n",
    "repetition_penalty": "general.sampling.penalty_repeat",
}


def sampling(header: Header) -> dict[str, float]:
    """The sampling defaults that the file recommends."""
    found = {name: header.get(key) for name, key in SAMPLING_KEYS.items()}
    return {name: value for name, value in found.items() if isinstance(value, int | float) and math.isfinite(value)}
