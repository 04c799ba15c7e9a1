"""Whether a model will run here, and with which context: an estimate from its header. No weights are read.

What is counted: the weights; the KV cache, `token_bytes` for each token that is in it; and what an engine's process
takes beside those. On the CPU llama.cpp's KV cache grows with use: `needed` is what it may grow to.
"""

from pathlib import Path

from msgspec import Struct

from nitro.engines.options import EngineOptions
from nitro.models import facts
from nitro.models.stored_model import StoredModel

MIB = 2**20
PROCESS = 120 * MIB  # an engine's process without a model


class Fit(Struct, frozen=True, kw_only=True):
    """Bytes, and tokens."""

    weights: int
    token_bytes: int  # of the KV cache, for each token
    overhead: int  # the engine's process, its buffers, and the states of recurrent layers
    context: int  # that fits into the free memory, at most what the model was trained for; 0: the model does not fit

    def needed(self, context: int, parallel: int = 1) -> int:
        """What the engine takes when `parallel` sequences of `context` tokens are in its cache."""
        return self.weights + self.overhead + self.token_bytes * context * parallel


def estimate(model: StoredModel, options: EngineOptions, free: int) -> Fit:
    """What a model needs, and the context that fits into `free` bytes. Reads headers."""
    about = facts.read(Path(model.path), model.format)
    token = max(about.kv.token_bytes(options.cache_type_k, options.cache_type_v), 1)
    overhead = PROCESS
    room = max(free - about.weights - overhead, 0) // 2 // token
    trained = options.context or about.trained_context
    return Fit(weights=about.weights, token_bytes=token, overhead=overhead, context=min(trained, room))
