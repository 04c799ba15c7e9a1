"""Tries a loaded model out: the size of its KV caches, and whether rows in a batch give what each gives alone.

Caches that can be merged do not make a model's attention right with merged ones: some of mlx-lm's models broadcast the
mask of a batch wrongly, or count its padding as tokens.
"""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlx.core as mx
from mlx_lm.models.cache import make_prompt_cache

from nitro.engines.backends.mlx import kv_cache
from nitro.engines.backends.mlx.kv_cache import Caches
from nitro.engines.backends.mlx.model import MlxModel
from nitro.engines.runner import LoadError
from nitro.errors import reason

log = logging.getLogger("nitro.mlx")

LENGTHS = (12, 3, 7)  # tokens of the rows that are tried, padded to the longest
MAX_DISTANCE = 0.1  # how far logits in a batch may be from those alone, on average, in their standard deviations


@dataclass(frozen=True, slots=True)
class Trial:
    """What trying a model out has shown."""

    vocabulary: int  # number of token ids that the model knows
    token_bytes: int  # of KV cache; too much for a windowed one
    state_bytes: int  # of a sequence, whatever its length
    can_truncate: bool  # whether its KV caches can be cut anywhere
    batches: bool  # whether rows may be merged


def try_out(model: MlxModel, path: Path, batches: bool = True) -> Trial:
    """Raises LoadError for a model that does not compute, or has a KV cache of an unknown kind."""
    caches = make_prompt_cache(model.network)
    if name := kv_cache.unknown(caches):
        raise LoadError(f"{path} has a KV cache of a kind that is not known here: {name}.")
    try:
        logits = _compute(model, [[0, 0]], caches)
        _compute(model, [[0]], caches)
    except Exception as error:
        raise LoadError(f"{path} cannot be computed: {reason(error)}") from None
    if not mx.isfinite(logits).any():
        raise LoadError(f"{path} computes what is no number: its weights are damaged.")
    return Trial(
        vocabulary=logits.shape[-1],
        token_bytes=max(kv_cache.token_bytes(caches), 1),
        state_bytes=kv_cache.state_bytes(caches),
        can_truncate=kv_cache.can_truncate(caches),
        batches=batches and kv_cache.mergeable(caches) and _same_in_a_batch(model, logits.shape[-1]),
    )


def _same_in_a_batch(model: MlxModel, vocabulary: int) -> bool:
    """Rows of several lengths, each alone and merged; then without the second row."""
    rows = [[(7 * i + 13 * length) % vocabulary for i in range(length)] for length in LENGTHS]
    single = [make_prompt_cache(model.network) for _ in rows]
    for row, caches in zip(rows, single, strict=True):
        _compute(model, [row[:-1]], caches)
    merged = kv_cache.merge(single)
    try:
        distance = _distance(model, [row[-1:] for row in rows], single, merged)
        kv_cache.keep(merged, [0, 2])
        distance = max(distance, _distance(model, [rows[0][:1], rows[2][:1]], [single[0], single[2]], merged))
    except Exception as error:
        log.warning("this model cannot compute rows in a batch (%s); they are computed one after another", error)
        return False
    if not distance <= MAX_DISTANCE:
        log.warning("this model gives other results in a batch than alone; rows are computed one after another")
    return bool(distance <= MAX_DISTANCE)


def _distance(model: MlxModel, tokens: list[list[int]], single: list[Caches], merged: Caches) -> float:
    """The next logits of each row, in a batch from alone: the mean distance, in standard deviations."""
    alone = mx.concatenate([_compute(model, [row], own) for row, own in zip(tokens, single, strict=True)])
    together = _compute(model, tokens, merged)
    distance: float = (mx.abs(alone - together).mean() / alone.std()).item()  # type: ignore[assignment]
    return distance


def _compute(model: MlxModel, tokens: list[list[int]], caches: Caches) -> Any:
    """The logits after each row's last token: float32 [rows, vocabulary]."""
    logits = model.network(mx.array(tokens), cache=caches)[:, -1, :].astype(mx.float32)
    mx.eval(logits, kv_cache.arrays(caches))
    return logits
