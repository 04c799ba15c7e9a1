"""An MlxRunner that shows the logits of every token: see same_answer.py."""

from pathlib import Path

import mlx.core as mx
import numpy as np
from mlx_lm.models.cache import make_prompt_cache

from nitro.engines.mlx import MlxRunner
from nitro.engines.types import EngineSpec


class MlxScorer(MlxRunner):
    """`banned` tokens are as unlikely as can be."""

    def __init__(self, model: Path, context: int | None = None, parallel: int = 1, banned: list[int] | None = None):
        super().__init__(EngineSpec("mlx", str(model), context=context, parallel=parallel))
        self._banned = banned or []

    def logits(self, tokens: list[int], steps: list[int]) -> np.ndarray:
        assert sum(steps) == len(tokens)
        caches = make_prompt_cache(self._model.network)
        start, rows = 0, []
        for count in steps:
            logits = self._model.network(mx.array(tokens[start : start + count])[None], cache=caches)[0]
            rows.append(np.array((logits if start else logits[-1:]).astype(mx.float32)))
            start += count
        scores = np.concatenate(rows)
        scores[:, self._banned] = -1e9
        return scores
