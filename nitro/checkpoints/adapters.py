"""A LoRA: for each layer that it changes, two thin matrices whose product is added to the layer's weight, whoever wrote
them. Knows no model: whether there are such layers is said by `on`.

    W  becomes  W + scale · b @ a        W [out, in], b [out, rank], a [rank, in]

That is of the weight as it is stored, so that of an embedding "out" counts tokens, and "in" is the width.
"""

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from math import log2
from pathlib import Path
from typing import Literal

import numpy as np

from nitro.checkpoints.adapter_kinds import Kind
from nitro.errors import AdapterError

# the last part of an embedding's name, in transformers' models
EMBEDDINGS = ("embed_tokens", "wte", "word_embeddings", "embed_in", "tok_embeddings", "embeddings")
AdapterType = Literal["F32", "F16"]  # of the numbers in a file
IN_A_LAYER = re.compile(r"(?:^|\.)(layers\.\d+\..+)$")


@dataclass(frozen=True, slots=True)
class LowRank:
    """What is added to one weight. Of a stack of experts, all three shapes begin with their number."""

    a: np.ndarray  # float32 [rank, in]
    b: np.ndarray  # float32 [out, rank]
    scale: float

    @property
    def rank(self) -> int:
        """The rank of the product."""
        return int(self.b.shape[-1])

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the weight that it is added to."""
        return (*self.b.shape[:-1], int(self.a.shape[-1]))

    def product(self) -> np.ndarray:
        """What is added, float32, as large as the weight."""
        return np.asarray(np.float32(self.scale) * (self.b @ self.a))


@dataclass(frozen=True, slots=True)
class Adapter:
    """`layers`: by the layer's name in transformers, as "model.layers.0.self_attn.q_proj"."""

    path: Path
    kind: Kind
    layers: dict[str, LowRank]

    def on(self, layers: Iterable[str]) -> "Adapter":
        """The same adapter with the names of a model's layers. `layers`: all names that the model has, such as those
        of its modules.

        What is before "layers." may differ, since wrappers of a model have their own. Raises AdapterError for a layer
        that the model does not have.
        """
        exact = set(layers)
        by_end: dict[str, list[str]] = {}
        for name in exact:
            by_end.setdefault(_end(name), []).append(name)
        found: dict[str, LowRank] = {}
        for name, change in self.layers.items():
            fitting = [name] if name in exact else by_end.get(_end(name), [])
            if len(fitting) != 1 or fitting[0] in found:
                why = "has several such layers" if fitting else "has no such layer"
                raise AdapterError(f"{self.path} changes {name}, and the model {why}.")
            found[fitting[0]] = change
        return Adapter(self.path, self.kind, found)


def in_type(a: np.ndarray, b: np.ndarray, type: AdapterType) -> tuple[np.ndarray, np.ndarray]:
    """Both parts as they are to be written. For F16 a power of two goes from the larger to the smaller one first: what
    is very small there loses digits, and the product stays the same."""
    if type == "F32":
        return np.asarray(a, np.float32), np.asarray(b, np.float32)
    sizes = [float(np.abs(part).max(initial=0.0)) for part in (a, b)]
    factor = 2.0 ** round(log2(sizes[1] / sizes[0]) / 2) if all(sizes) else 1.0
    with np.errstate(over="ignore"):  # what is too large even so is infinite, which a proof finds
        return (a * np.float32(factor)).astype(np.float16), (b / np.float32(factor)).astype(np.float16)


def is_embedding(name: str) -> bool:
    """Is the layer an embedding, by its name?"""
    return name.rpartition(".")[2] in EMBEDDINGS


def checked(path: Path, name: str, change: LowRank) -> LowRank:
    """The change, if its shapes fit each other and its numbers are finite. Raises AdapterError."""
    a, b = change.a, change.b
    if a.ndim not in (2, 3) or a.ndim != b.ndim:
        raise AdapterError(f"{path}: the parts of {name} have {a.ndim} and {b.ndim} dimensions; supported are two.")
    if a.shape[:-2] != b.shape[:-2] or a.shape[-2] != b.shape[-1] or 0 in (*a.shape, *b.shape):
        raise AdapterError(f"{path}: the parts of {name} do not fit each other: {list(a.shape)} and {list(b.shape)}.")
    if not (np.isfinite(a).all() and np.isfinite(b).all() and np.isfinite(change.scale)):
        raise AdapterError(f"{path}: {name} has numbers that are not finite, so the adapter is damaged.")
    return change


def common_factor(factors: Iterable[float]) -> float:
    """What most layers are multiplied by, as float32; never 0, which means something else where it is written."""
    count = Counter(float(np.float32(factor)) for factor in factors)
    del count[0.0]
    return count.most_common(1)[0][0] if count else 1.0


def _end(name: str) -> str:
    """The part of a layer's name that wrappers of the model do not change."""
    match = IN_A_LAYER.search(name)
    return match[1] if match else name.rpartition(".")[2]
