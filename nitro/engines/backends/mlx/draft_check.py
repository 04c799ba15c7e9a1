"""A slot at rest that has guessed tokens checked: one pass through the weights for its last token and all guesses.

Guesses that do not come true are cut off the slot's caches again. What is drawn at each place depends on logits, seed
and length alone, so that no answer is changed by it.
"""

from dataclasses import dataclass

import mlx.core as mx

from nitro.engines.backends.mlx import kv_cache, sampler
from nitro.engines.backends.mlx.adapters import MlxAdapters
from nitro.engines.backends.mlx.kv_cache import Caches
from nitro.engines.backends.mlx.sampler import Bias, LazyLogprobs, SamplerRow
from nitro.engines.backends.mlx.towers import parts
from nitro.engines.runner import Chunk


@dataclass(slots=True)
class DraftCheck:
    """One chunk with a draft, submitted. `drawn`: what follows its last token and each token of the draft, uint32
    [n]."""

    chunk: Chunk
    caches: Caches
    drawn: mx.array
    scores: list[LazyLogprobs]

    @classmethod
    def submit(cls, network: MlxAdapters, caches: Caches, chunk: Chunk, bias: Bias | None) -> "DraftCheck":
        """Start the pass. `caches` hold all of the sequence but its last token."""
        tokens = [chunk.tokens[-1], *chunk.draft]
        shifts = [parts.shift(chunk.tokens, chunk.media)]
        logits = network.logits(mx.array(tokens, mx.uint32)[None], caches, [chunk.adapters], shifts)[0]
        histories = [chunk.tokens + chunk.draft[:i] for i in range(len(tokens))]
        drawn = network.draw(logits, [SamplerRow(chunk.sampling, history, bias) for history in histories], None)
        top_count = chunk.sampling.logprobs
        scores = (
            [] if top_count is None else [sampler.logprobs(row, drawn[i], top_count) for i, row in enumerate(logits)]
        )
        mx.async_eval(drawn, kv_cache.arrays(caches), [s.arrays for s in scores])
        return cls(chunk, caches, drawn, scores)

    def accepted(self, eog: frozenset[int]) -> list[int]:
        """Wait for the pass. Returns the next token and, while it is as drafted, the one after. The caches then hold
        all of them but the last."""
        drawn: list[int] = self.drawn.tolist()  # type: ignore[assignment]
        tokens = drawn[:1]
        for guess, after in zip(self.chunk.draft, drawn[1:], strict=True):
            if tokens[-1] != guess or guess in eog:
                break
            tokens.append(after)
        was_cut = kv_cache.cut(self.caches, len(drawn) - len(tokens))
        assert was_cut, "only models whose caches can be cut get drafts"
        return tokens
