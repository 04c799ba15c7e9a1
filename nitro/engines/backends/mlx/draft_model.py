"""A second, smaller model that guesses what sequences say next (--draft). draft_check.py checks its guesses.

A guess is drawn from the draft model's logits as the target will draw: by the same filters and the same random numbers.
Where both models find the same tokens likely they draw the same token, so that most guesses are right at any
temperature. The target's own draws do not look at the guesses.

For each slot it keeps KV caches of its own, and which tokens they hold. What they have in common with a sequence is
used again, whatever became of the sequence that was there.
"""

from dataclasses import dataclass, field
from pathlib import Path

import mlx.core as mx
from mlx_lm.models.cache import make_prompt_cache

from nitro.engines.backends import draft_vocabulary
from nitro.engines.backends.draft_vocabulary import NONE, Vocabulary
from nitro.engines.backends.mlx import kv_cache, sampler
from nitro.engines.backends.mlx.kv_cache import Caches
from nitro.engines.backends.mlx.model import MlxModel
from nitro.engines.backends.mlx.opening import open_model
from nitro.engines.backends.mlx.sampler import Bias, SamplerRow
from nitro.engines.backends.mlx.self_test import Trial, try_out
from nitro.engines.runner import Chunk, LoadError
from nitro.engines.scheduling.slots import shared_prefix
from nitro.engines.types import EngineSpec

STEP_TOKENS = 256  # of a prompt that it computes at once
STEPS = 2  # that it takes in one call before it guesses: all who decode wait for them
WITH_LOGITS = 8  # tokens that may be computed together with the last one, though nobody needs their logits
MIN_CONFIDENCE = 0.3  # of the likeliest token: where it is less likely, the target often draws another one


@dataclass(slots=True)
class _Held:
    """The caches of one slot, and the tokens that they hold, by the draft model's ids."""

    caches: Caches
    tokens: list[int] = field(default_factory=list)


class DraftModel:
    """The model, and its caches by slot. `max_tokens`: that all of them may hold, set once memory was planned."""

    def __init__(self, target: MlxModel, trial: Trial, spec: EngineSpec):
        """`trial`: the target's. Raises LoadError: as opening a model does; another vocabulary; KV that cannot be cut;
        --deterministic."""
        assert spec.draft
        path = Path(spec.draft)
        if spec.deterministic:
            raise LoadError("--draft and --deterministic exclude each other on MLX: its guesses are checked together.")
        self._model = open_model(path)
        tried = try_out(self._model, path, batches=False)
        for name, each in ((spec.model, trial), (spec.draft, tried)):
            if not each.can_truncate:
                raise LoadError(f"--draft needs models that can take tokens back, and {name} cannot. Leave it out.")
        self._map = draft_vocabulary.check(_vocabulary(target, Path(spec.model)), _vocabulary(self._model, path))
        self._columns = self._target_columns(trial.vocabulary, tried.vocabulary)
        self._eog = target.eog
        self.token_bytes = tried.token_bytes
        self.max_tokens = 2**31
        self._held: dict[int, _Held] = {}  # by slot, the one that was used last at the end

    def guess(self, chunk: Chunk, limit: int, bias: Bias | None) -> list[int]:
        """See ModelRunner.guess. `bias`: the sequence's."""
        said = chunk.tokens[: chunk.stop]
        if len(said) + limit > self._model.trained_context:
            return []
        held, pending = self._follow(chunk.slot, self._map.draft_ids(said, instead=0))
        guesses: list[int] = []
        while len(pending) <= WITH_LOGITS and len(guesses) < limit:
            token, confidence = self._draw(held, pending, SamplerRow(chunk.sampling, said + guesses, bias))
            if token == sampler.NONE or token in self._eog or confidence < MIN_CONFIDENCE:
                break
            guesses.append(token)
            pending = self._map.draft_ids([token], instead=0)
        self._make_room(chunk.slot)
        return guesses

    def reset(self) -> None:
        """Drop all caches."""
        self._held = {}

    def _follow(self, slot: int, tokens: list[int]) -> tuple[_Held, list[int]]:
        """What is held of these tokens, but for the last few, which are returned; more where this call may not compute
        so many: the next one goes on."""
        held = self._held.pop(slot, None)
        common = shared_prefix(held.tokens, tokens) if held else 0
        if held is None or common < len(tokens) - WITH_LOGITS:
            held, common = self._best(held, common, tokens)
        self._held[slot] = held
        common = min(common, len(tokens) - 1)
        was_cut = kv_cache.cut(held.caches, len(held.tokens) - common)
        assert was_cut, "a model whose caches cannot be cut does not guess"
        del held.tokens[common:]
        for _ in range(STEPS):
            if len(tokens) - len(held.tokens) <= WITH_LOGITS:
                break
            piece = tokens[len(held.tokens) : -1][:STEP_TOKENS]
            self._model.network(mx.array(piece)[None], cache=held.caches)
            mx.eval(kv_cache.arrays(held.caches))
            held.tokens += piece
        return held, tokens[len(held.tokens) :]

    def _best(self, held: _Held | None, common: int, tokens: list[int]) -> tuple[_Held, int]:
        """`held`, or a copy of another slot's that has more in common with these tokens; and how much."""
        best = held
        for other in self._held.values():
            if (shared := shared_prefix(other.tokens, tokens)) > common:
                best, common = other, shared
        if best is None:
            return _Held(make_prompt_cache(self._model.network)), 0
        return (best if best is held else _Held(kv_cache.snapshot(best.caches), best.tokens.copy())), common

    def _draw(self, held: _Held, pending: list[int], row: SamplerRow) -> tuple[int, float]:
        """Compute the pending tokens. Returns the target's token that comes next, and how sure the model is."""
        logits = self._model.network(mx.array(pending)[None], cache=held.caches)[:, -1].astype(mx.float32)
        held.tokens += pending
        confidence = mx.exp(logits.max() - mx.logsumexp(logits))
        if self._columns:
            index, missing = self._columns
            logits = mx.where(missing, -mx.inf, mx.take(logits, index, axis=-1))
        drawn = sampler.sample(logits, [row])
        mx.eval(drawn, confidence, kv_cache.arrays(held.caches))
        return int(drawn.item()), float(confidence.item())  # type: ignore[arg-type]

    def _target_columns(self, target: int, own: int) -> tuple[mx.array, mx.array] | None:
        """Which column of its logits stands for each token of the target, and which tokens have none: int32 and bool
        [target's vocabulary]. The noise of a draw goes by position."""
        if self._map.to_draft is None and target == own:
            return None
        mapped = list(range(own)) if self._map.to_draft is None else self._map.to_draft.tolist()
        columns = [id if id < own else NONE for id in mapped[:target]]
        columns += [NONE] * (target - len(columns))
        index = mx.array(columns)
        return mx.maximum(index, 0), index == NONE

    def _make_room(self, slot: int) -> None:
        """Drop caches that were not used for long while all hold too much."""
        while len(self._held) > 1 and sum(len(held.tokens) for held in self._held.values()) > self.max_tokens:
            oldest = next(other for other in self._held if other != slot)
            del self._held[oldest]


def _vocabulary(model: MlxModel, path: Path) -> Vocabulary:
    return Vocabulary(path.name, model.tokenizer.texts(), model.tokenizer.is_special)
