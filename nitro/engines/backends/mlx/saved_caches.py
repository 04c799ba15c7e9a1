"""What the caches of a slot hold as bytes, and caches from bytes.

    length of the list, 4, little endian │ the list, msgpack │ the arrays, row-major, one behind the other

The list has, for each cache, its class and its state as mlx-lm has it, where an array is a Block. Only classes that are
known (`kv_cache.KNOWN`) are written; tests prove of each that what comes back goes on as before.
"""

import math
from typing import Any

import mlx.core as mx
import msgspec
import numpy as np
from mlx_lm.models.cache import KVCache, make_prompt_cache
from msgspec import Struct

from nitro.engines.backends.mlx import kv_cache
from nitro.engines.backends.mlx.kv_cache import Caches
from nitro.engines.backends.mlx.model import MlxModel
from nitro.engines.runner import Saving
from nitro.engines.types import ModelInfo

_LENGTH = 4  # bytes
_NUMBERS = {1: mx.uint8, 2: mx.uint16, 4: mx.uint32, 8: mx.uint64}  # by size: numpy knows no bfloat16
_SIGNED = (mx.int8, mx.int16, mx.int32, mx.int64)
_DTYPES = {str(dtype): dtype for dtype in (mx.float32, mx.float16, mx.bfloat16, mx.bool_, *_SIGNED, *_NUMBERS.values())}


class Block(Struct, frozen=True, tag=True):
    """An array."""

    dtype: str
    shape: list[int]


class Saved(Struct, frozen=True):
    """One cache."""

    kind: str
    state: Any


def saving(info: ModelInfo, model: MlxModel, entire: bool) -> Saving:
    """Of a runner."""
    return Saving([info.engine, info.device, info.layers, str(model.dtype)], entire)


def pack(caches: Caches) -> list[memoryview]:
    """The pieces, which refer to the caches' arrays, and are of use as long as they are."""
    pieces: list[memoryview] = []
    saved = [Saved(type(cache).__name__, _listed(_state(cache), pieces)) for cache in kv_cache.flat(caches)]
    raw = msgspec.msgpack.encode(saved)
    return [memoryview(len(raw).to_bytes(_LENGTH, "little") + raw), *pieces]


def unpack(network: Any, state: memoryview, length: int) -> Caches | None:
    """Caches of this network that hold so many tokens; None where the state is of others."""
    caches: Caches = make_prompt_cache(network)
    end = _LENGTH + int.from_bytes(state[:_LENGTH], "little")
    saved = msgspec.msgpack.decode(state[_LENGTH:end], type=list[Saved])
    into = kv_cache.flat(caches)
    if [each.kind for each in saved] != [type(cache).__name__ for cache in into]:
        return None
    reader = _Reader(state[end:])
    for cache, each in zip(into, saved, strict=True):
        cache.state = reader.tree(each.state)
    mx.eval(kv_cache.arrays(caches))
    offsets = [cache.offset for cache in into if hasattr(cache, "offset") and not cache.empty()]
    return caches if reader.is_done and all(offset == length for offset in offsets) else None


class _Reader:
    def __init__(self, data: memoryview):
        self._data, self._place = data, 0

    @property
    def is_done(self) -> bool:
        """Whether all was read."""
        return self._place == len(self._data)

    def tree(self, value: Any) -> Any:
        """A state, with its arrays."""
        if isinstance(value, list):
            return [self.tree(part) for part in value]
        if not isinstance(value, dict):
            return value
        block = msgspec.convert(value, Block)
        dtype = _DTYPES[block.dtype]
        count = math.prod(block.shape) * dtype.size
        if not count:
            return mx.zeros(block.shape, dtype)
        part = np.frombuffer(self._data[self._place : self._place + count], f"u{dtype.size}")
        self._place += count
        return mx.array(part.reshape(block.shape)).view(dtype)


def _state(cache: Any) -> Any:
    """Without the room for more that a cache has."""
    if isinstance(cache, KVCache) and not cache.empty():
        keys, values, offset = cache.state
        return _Rows(keys, offset), _Rows(values, offset), offset
    return cache.state


class _Rows:
    """The first tokens of an array [1, heads, tokens, numbers]."""

    def __init__(self, array: mx.array, tokens: int):
        self.array, self.tokens = array, tokens


def _listed(value: Any, pieces: list[memoryview]) -> Any:
    """A state with Blocks for its arrays, which become pieces."""
    if isinstance(value, list | tuple):
        return [_listed(part, pieces) for part in value]
    if isinstance(value, _Rows):
        numbers = _numbers(value.array)[:, :, : value.tokens]
        pieces += [_bytes(head) for row in numbers for head in row]
        return Block(str(value.array.dtype), list(numbers.shape))
    if isinstance(value, mx.array):
        pieces.append(_bytes(_numbers(value)))
        return Block(str(value.dtype), list(value.shape))
    return value


def _numbers(array: mx.array) -> Any:
    """As numpy has them, with no copy."""
    return np.asarray(array.view(_NUMBERS[array.dtype.size]))


def _bytes(numbers: Any) -> memoryview:
    whole: memoryview = np.ascontiguousarray(numbers).data
    return whole.cast("B") if numbers.size else memoryview(b"")
