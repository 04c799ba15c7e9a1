"""An mlx-lm model as what gives vectors: its last layer's, behind the last norm, which its head reads.

It sees to one side, so padding behind a sequence changes nothing. A sequence that is long is computed in parts, with a
KV cache that lives no longer than that.
"""

from collections.abc import Callable
from typing import Any

import mlx.core as mx
from mlx_lm.models.cache import make_prompt_cache

from nitro.engines.backends.mlx import library

PARTS = ("model", "backbone", "transformer")  # what mlx-lm calls a model without its head
SEEING = "hidden_rows"  # of a model that sees (vision/network.py)
GPU_PART, CPU_PART = 512, 64  # tokens of a part, which lasts tenths of a second


class Decoder:
    """Tokens → the last layer's vectors."""

    def __init__(self, network: Any):
        """Raises ValueError where it is not known what the head of this model reads."""
        self._network = network
        self.part_tokens = GPU_PART if library.gpu_kind() else CPU_PART
        inner = getattr(network, "language_model", network)
        places = [(network, SEEING), *((inner, part) for part in PARTS)]
        found = [getattr(module, part) for module, part in places if callable(getattr(module, part, None))]
        if not found:
            raise ValueError(f"it is not known where mlx-lm's {type(network).__module__} has the vectors of tokens")
        self._body = found[0]
        hidden = self(mx.array([[0, 0]]), mx.array([2]))
        if not isinstance(hidden, mx.array) or hidden.ndim != 3 or hidden.shape[:2] != (1, 2):
            raise ValueError(f"mlx-lm's {type(network).__module__} gives no vector for each token")
        self.width: int = hidden.shape[2]

    def __call__(
        self,
        tokens: mx.array,
        lengths: mx.array,
        types: mx.array | None = None,
        meanwhile: Callable[[], None] = lambda: None,
    ) -> mx.array:
        """As Encoder's: [rows, length], padded behind their `lengths` → [rows, length, width]. `types` mean nothing.
        `meanwhile` is called between the parts of a long sequence."""
        length = tokens.shape[1]
        if length <= self.part_tokens or len(tokens) > 1:
            hidden: mx.array = self._body(tokens)
            return hidden
        caches = make_prompt_cache(self._network)
        parts = []
        for start in range(0, length, self.part_tokens):
            if start:
                meanwhile()
            parts.append(self._body(tokens[:, start : start + self.part_tokens], cache=caches))
            mx.eval(parts[-1], [cache.state for cache in caches])
        return mx.concatenate(parts, axis=1)
