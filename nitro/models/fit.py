"""Whether a model will run here, and with which context: an estimate from headers. No weights are read.

What is counted: the weights, those of a projector too; the KV cache, at `token_bytes` for each token in it; and what
the engine's process takes beside those. The plan is the engine's own (engines/kv_plan.py), so the context is what it
will give. On the CPU the KV cache of llama.cpp begins small and grows with use (docs/decisions.md): `at_start` is what
an engine takes when it is loaded, `bytes` what it may grow to, `needed` what it takes with a given use.
"""

from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace

from nitro.engines import kv_plan
from nitro.engines.kv_plan import MIB, DoesNotFit, Footprint, KVPlan
from nitro.engines.options import EngineOptions
from nitro.models import fact_cache, projectors
from nitro.models.facts import Facts
from nitro.models.stored_model import StoredModel

# Bytes of an engine's process beside weights and KV cache: Python and the library; and for each token that there is,
# which the tokenizer and logits take. Measured as PSS, with SmolLM2 (49,152 tokens) and Gemma 3 270M (262,144).
PROCESSES = {"llama": 37 * MIB, "mlx": 97 * MIB}
WORDS = {"llama": 260, "mlx": 480}
FIRST_TOKENS = 512  # that llama.cpp has cells for at the start, in each sequence's stream (context.py)
FIRST_OF_POOL = 2048  # the same where all share a pool
STEP = 512  # tokens of a step beside a window
LOGIT = 4  # bytes
ROW = 96  # bytes for each number of a token's vector that is computed: a few layers' results at a time
FEW = 2048  # tokens; a model with less context than that, or than it was trained for, does not fit


class Fit(Struct, frozen=True, kw_only=True):
    """Bytes, and tokens."""

    weights: int
    token_bytes: int  # of the KV cache, for each token
    overhead: int  # the engine's process, and the states of recurrent layers
    windows: int = 0  # the KV cache of layers that keep a window, when all sequences have filled it
    context: int  # of each request, as the engine will have it; 0: the model does not fit
    pool: int = 0  # tokens that the engine lets all requests have together
    first_tokens: int = 0  # those that its cache has room for when it is loaded

    @property
    def at_start(self) -> int:
        """What the engine takes when it is loaded."""
        return self.weights + self.overhead + self.token_bytes * min(self.first_tokens, self.pool)

    @property
    def bytes(self) -> int:
        """What the engine may grow to, with its whole pool in use."""
        return self.weights + self.overhead + self.windows + self.token_bytes * self.pool

    def needed(self, context: int, parallel: int = 1) -> int:
        """What the engine takes when `parallel` sequences of `context` tokens are in its cache."""
        return self.weights + self.overhead + self.windows + self.token_bytes * context * parallel


def estimate(model: StoredModel, options: EngineOptions, free: int) -> Fit:
    """What a model needs, and the context that fits into `free` bytes: of main memory, or of the GPU where it computes
    on one. Reads headers, unless they are known."""
    about = fact_cache.shared().get(Path(model.path), model.format)
    sees = not (about.embeds or about.ranks)
    return of(about, options, free, projectors.size(options, model.projector) if sees else 0)


def of(about: Facts, options: EngineOptions, free: int, projector: int = 0) -> Fit:
    """The same, from what the files say. `projector`: bytes that it takes. Pure."""
    about = replace(about, weights=about.weights + projector)
    if about.embeds or about.ranks:
        return _of_embedding(about, options, free)
    engine = _engine(about, options)
    types = (options.cache_type_k, options.cache_type_v) if engine == "llama" else ()
    needs = Footprint(max(about.kv.token_bytes(*types), 1), about.kv.window_bytes(*types), about.kv.state_bytes)
    sequences = options.parallel + kv_plan.SPARE_SLOTS
    window_tokens = about.kv.window * sequences + STEP
    overhead = PROCESSES[engine] + WORDS[engine] * about.vocabulary + needs.state * sequences
    try:
        room = free - about.weights - overhead + needs.state * sequences
        plan = kv_plan.plan_windows(
            needs, window_tokens, room, options.context, options.parallel, about.trained_context or kv_plan.MIN_CONTEXT
        )
    except DoesNotFit:
        plan = KVPlan(0, 0)
    whole = plan.full_windows and engine == "llama"
    return Fit(
        weights=about.weights,
        token_bytes=needs.token + (needs.window_token if whole else 0),
        overhead=overhead,
        windows=0 if whole else needs.window_token * window_tokens,
        context=plan.context,
        pool=plan.pool,
        first_tokens=_first_tokens(about, options) if engine == "llama" else 0,
    )


def _of_embedding(about: Facts, options: EngineOptions, free: int) -> Fit:
    """Of a model that makes vectors: it holds one input at a time, or several that are no longer together, with their
    KV if it has any. On llama.cpp each token has a row of logits, which nobody wants (llama/encoder_context.py)."""
    engine = _engine(about, options)
    types = (options.cache_type_k, options.cache_type_v) if engine == "llama" else ()
    logits = LOGIT * about.vocabulary if engine == "llama" else 0
    token = about.kv.token_bytes(*types) + logits + ROW * about.width
    overhead = PROCESSES[engine] + WORDS[engine] * about.vocabulary
    if engine == "llama" and not about.kv.token_bytes():
        overhead += FIRST_TOKENS * token  # an encoder's second lane (backends/llama/encoder.py)
    room = max(free - about.weights - overhead, 0) // token
    longest = min(options.context or about.trained_context, about.trained_context)
    context = min(longest, room)
    enough = room >= min(longest, FIRST_TOKENS)
    return Fit(
        weights=about.weights,
        token_bytes=token,
        overhead=overhead,
        context=context if enough else 0,
        pool=context if enough else 0,
        first_tokens=FIRST_TOKENS,
    )


def _engine(about: Facts, options: EngineOptions) -> str:
    return options.engine if options.engine in PROCESSES else "mlx" if about.format != "gguf" else "llama"


def fits(model: StoredModel, free: int) -> bool:
    """Whether it runs in `free` bytes with a context that is of use."""
    found = estimate(model, EngineOptions(), free)
    return found.context >= min(FEW, model.trained_context or FEW)


def _first_tokens(about: Facts, options: EngineOptions) -> int:
    return FIRST_OF_POOL if about.kv.window else FIRST_TOKENS * options.parallel
