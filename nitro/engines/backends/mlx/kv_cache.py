"""The KV caches of mlx-lm, as slots need them: copied, cut, and merged into the cache of a batch and taken out again.

A model has one cache object per layer, of one of these classes. What can be done with each stands here; nothing else
looks at their class. Merging, extending, filtering and extracting are mlx-lm's own.
"""

import copy
from typing import Any, TypeVar

import mlx.core as mx
from mlx_lm.models.cache import (
    ArraysCache,
    BatchKVCache,
    BatchRotatingKVCache,
    CacheList,
    ChunkedKVCache,
    ConcatenateKVCache,
    KVCache,
    QuantizedKVCache,
    RotatingKVCache,
    _BaseCache,
)

from nitro.engines.memory_faults import is_shortage

Caches = list[Any]  # one per layer
T = TypeVar("T")

KNOWN = {KVCache, QuantizedKVCache, ConcatenateKVCache, RotatingKVCache, ChunkedKVCache, ArraysCache, CacheList}
SLACK = 256  # tokens of room that a cut cache may keep


def unknown(caches: Caches) -> str | None:
    """The name of a class that nothing is known of; None where all are known."""
    for cache in _flat(caches):
        if type(cache) not in KNOWN:
            return type(cache).__name__
    return None


def mergeable(caches: Caches) -> bool:
    """Whether several rows' caches can be merged into one batch's. A rotating cache with `keep` would lose that."""
    return all(hasattr(cache, "merge") and not getattr(cache, "keep", 0) for cache in _flat(caches))


def can_truncate(caches: Caches) -> bool:
    """Whether all of them can be cut anywhere, whatever they hold."""
    return all(isinstance(cache, KVCache | QuantizedKVCache) for cache in _flat(caches))


def merge(rows: list[Caches]) -> Caches:
    """The caches of a batch of these rows, which stay as they are."""
    return [layer[0].merge(list(layer)) for layer in zip(*rows, strict=True)]


def extend(batch: Caches, other: Caches) -> None:
    """Add the other batch's rows."""
    for layer, other_layer in zip(batch, other, strict=True):
        layer.extend(other_layer)


def extract(batch: Caches, row: int) -> Caches:
    """One row's own caches, and None for None. The batch stays as it is."""
    return [cache and cache.extract(row) for cache in batch]


def keep(batch: Caches, rows: list[int]) -> None:
    """Drop all other rows."""
    for cache in filter(None, batch):
        cache.filter(mx.array(rows))


def snapshot(cache: T) -> T:
    """A copy of a cache, or of a list of them, that nothing done to the original changes.

    Arrays are shared until one side is written to: item assignment replaces what a Python `mx.array` holds, so each
    side needs an object of its own.
    """
    if isinstance(cache, mx.array):
        return mx.array(cache)  # type: ignore[return-value]
    if isinstance(cache, list | tuple):
        return type(cache)(snapshot(part) for part in cache)
    if not isinstance(cache, _BaseCache):  # a number, None
        return cache
    other = copy.copy(cache)
    for name, value in vars(cache).items():
        setattr(other, name, snapshot(value))
    return other


def cut(caches: Caches, count: int) -> bool:
    """Remove a row's last `count` tokens. False where that cannot be done; nothing is changed then."""
    if count == 0:
        return True
    if not all(_can_be_cut(cache) for cache in _flat(caches)):
        return False
    for cache in _flat(caches):
        removed = cache.trim(count)
        assert removed == count
        _give_back_room(cache)
    return True


def before(caches: Caches) -> list[Any]:
    """What `step_back` needs of the present state, if one token more is computed in each row: a copy of the caches that
    cannot be cut, and None for the others."""
    return [None if _can_be_cut(cache, more=1) else snapshot(cache) for cache in _flat(caches)]


def step_back(caches: Caches, before: list[Any]) -> None:
    """Remove a row's last token. `before` is that row's part of what `before` gave when it was computed."""
    for cache, old in zip(_flat(caches), before, strict=True):
        if old is not None:
            cache.state = old.state
        else:
            removed = cache.trim(1)
            assert removed == 1


def token_bytes(caches: Caches) -> int:
    """Bytes a token takes in caches that hold one at least; too much for those with a window, once it is full."""
    return sum(int(cache.nbytes) // _room(cache) for cache in _flat(caches) if _grows(cache))


def state_bytes(caches: Caches) -> int:
    """Bytes of what does not grow with the tokens."""
    return sum(cache.nbytes for cache in _flat(caches) if not _grows(cache) and not cache.empty())


def arrays(caches: Caches) -> list[Any]:
    """What must be evaluated for the caches to hold what was computed."""
    return [cache.state for cache in _flat(caches)]


def settle(caches: Caches) -> bool:
    """Begin to compute what they hold. False where there is no memory for it."""
    try:
        mx.async_eval(arrays(caches))
    except Exception as error:
        if is_shortage(error):
            return False
        raise
    return True


def _flat(caches: Caches) -> list[Any]:
    """All of them, those in lists too."""
    return [part for cache in caches for part in (cache.caches if isinstance(cache, CacheList) else [cache])]


def _can_be_cut(cache: Any, more: int = 0) -> bool:
    """Whether the last tokens can be removed, after `more` of them came: only where none before them was dropped."""
    match cache:
        case KVCache() | QuantizedKVCache() | BatchKVCache():
            return True
        case RotatingKVCache():
            return bool(cache.offset + more < cache.max_size)
        case BatchRotatingKVCache():
            return bool(cache._offset + more < cache.max_size)
        case ChunkedKVCache():
            return bool(cache.offset + more <= cache.chunk_size)
    return False  # a recurrent state; and ConcatenateKVCache, whose trim leaves its arrays as they are


def _grows(cache: Any) -> bool:
    """Whether it holds something for each token. Some models leave a cache empty."""
    return hasattr(cache, "keys") and not cache.empty()


def _room(cache: Any) -> int:
    """Tokens for which the cache has room."""
    keys = cache.keys[0] if isinstance(cache.keys, tuple | list) else cache.keys
    return int(keys.shape[2])


def _give_back_room(cache: Any) -> None:
    """A cache that was long keeps its arrays when it is cut; they would be memory that no one counts."""
    if isinstance(cache, KVCache) and _grows(cache) and _room(cache) - cache.offset > SLACK:
        cache.keys = mx.contiguous(cache.keys[..., : cache.offset, :])
        cache.values = mx.contiguous(cache.values[..., : cache.offset, :])
        mx.eval(cache.keys, cache.values)
