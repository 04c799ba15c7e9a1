"""Layers with LoRA adapters beside their weights, another for each row of a batch.

    y = W x + Σ scale · b (a x)        over the adapters of the row

The products of all adapters in a batch are one: their a's lie beside each other, [in, ranks], and their b's one below
the other, [ranks, out]. Between both, each row keeps what its own adapters gave, and nothing of the others. So W may be
of any type and layout, and a row without adapters costs nothing where no other has any.
"""

from collections.abc import Sequence
from typing import Any

import mlx.core as mx
from mlx import nn
from mlx.utils import tree_unflatten

from nitro.engines.adapters import AdapterSet

MOST_STACKED = 4  # combinations of adapters whose matrices a layer keeps joined


class Applied:
    """Which adapters the rows of a pass apply, and at which scales."""

    def __init__(self, sets: Sequence[AdapterSet]):
        self.ids = tuple(sorted({id for adapters in sets for id, _ in adapters}))
        self.rows = len(sets)
        self._scales = [[dict(adapters).get(id, 0.0) for id in self.ids] for adapters in sets]
        self._masks: dict[tuple[int, ...], mx.array] = {}  # by the ranks of the adapters

    def mask(self, ranks: tuple[int, ...]) -> mx.array:
        """The scale of each column of the joined a's in each row, [rows, sum of ranks], float32."""
        if ranks not in self._masks:
            wide = [
                [scale for scale, rank in zip(row, ranks, strict=True) for _ in range(rank)] for row in self._scales
            ]
            self._masks[ranks] = mx.array(wide, mx.float32)
        return self._masks[ranks]


class Rows:
    """What all layers of a network look at while a pass is built. None: no row has adapters."""

    def __init__(self) -> None:
        self.applied: Applied | None = None


class AdaptedLinear(nn.Module):  # type: ignore[misc]
    """Does what `inner` does, a layer from [..., in] to [..., out], and applies the adapters of each row."""

    def __init__(self, inner: Any, rows: Rows):
        super().__init__()
        self.inner = inner
        self._state = _State(rows)

    def __getattr__(self, name: str) -> Any:
        """What models look at of a layer, such as `weight`."""
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("inner"), name)

    def have(self, adapter: int, a: mx.array, b: mx.array) -> None:
        """`a`: [in, rank], `b`: [rank, out], with the adapter's own scale."""
        self._state.parts[adapter] = a, b

    def drop(self, adapter: int) -> bool:
        """Whether any is left."""
        self._state.parts.pop(adapter, None)
        self._state.joined.clear()
        return bool(self._state.parts)

    def __call__(self, x: mx.array) -> mx.array:
        """[rows, …, in] → [rows, …, out]."""
        y: mx.array = self.inner(x)
        state = self._state
        applied = state.rows.applied
        if applied is None:
            return y
        joined = state.join(applied.ids, x.dtype)
        if joined is None:
            return y
        a, b, ranks = joined
        if len(x) != applied.rows:
            raise ValueError(f"a layer got {len(x)} rows, and the batch has {applied.rows}")
        mask = applied.mask(ranks).astype(x.dtype)
        mask = mask.reshape(len(mask), *[1] * (x.ndim - 2), -1)
        thin = mx.where(mask != 0, (x @ a) * mask, 0)  # a product alone would spread what is no number
        return y + (thin @ b).astype(y.dtype)


class _State:
    """What nn.Module is not to take for parameters."""

    def __init__(self, rows: Rows):
        self.rows = rows
        self.parts: dict[int, tuple[mx.array, mx.array]] = {}  # by adapter
        self.joined: dict[Any, tuple[mx.array, mx.array, tuple[int, ...]] | None] = {}  # the newest last

    def join(self, ids: tuple[int, ...], dtype: mx.Dtype) -> tuple[mx.array, mx.array, tuple[int, ...]] | None:
        """The matrices of these adapters, joined, and their ranks, 0 for one that does not change this layer. None:
        none of them does."""
        key = ids, dtype
        if key not in self.joined:
            while len(self.joined) >= MOST_STACKED:
                del self.joined[next(iter(self.joined))]
            self.joined[key] = self._join(ids, dtype)
        return self.joined[key]

    def _join(self, ids: tuple[int, ...], dtype: mx.Dtype) -> tuple[mx.array, mx.array, tuple[int, ...]] | None:
        found = [self.parts[id] for id in ids if id in self.parts]
        if not found:
            return None
        a = mx.concatenate([a for a, _ in found], axis=1).astype(dtype)
        b = mx.concatenate([b for _, b in found]).astype(dtype)
        ranks = tuple(len(self.parts[id][1]) if id in self.parts else 0 for id in ids)
        return mx.contiguous(a), mx.contiguous(b), ranks


def adapt(network: Any, name: str, rows: Rows) -> AdaptedLinear:
    """The layer of this name, which takes adapters from now on."""
    module = dict(network.named_modules())[name]
    if isinstance(module, AdaptedLinear):
        return module
    adapted = AdaptedLinear(module, rows)
    network.update_modules(tree_unflatten([(name, adapted)]))
    return adapted
