"""From logits to tokens, for runners whose library has no sampler per sequence: a whole batch at once, on MLX.

The order is that of `SamplingParams`. Nothing is kept between calls: what a row draws depends on its logits, its seed
and its length, so a row that moves, is computed again or runs beside others draws the same. Formulas are those of
llama.cpp's samplers (src/llama-sampler.cpp).
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

import mlx.core as mx

from nitro.engines.runner import Matcher
from nitro.engines.types import COLD, IMPOSSIBLE, MIN_LOGPROB, Logprobs, SamplingParams, ScoredToken

MASKS_KEPT = 16
NONE = 2**32 - 1  # instead of a token: no token has a likelihood


@dataclass(slots=True)
class Bias:
    """A row's logit bias, on the device."""

    tokens: mx.array  # int32 [n]
    values: mx.array  # float32 [n]

    @classmethod
    def of(cls, sampling: SamplingParams) -> "Bias | None":
        """The bias that the parameters name; None where they name none."""
        if not sampling.logit_bias:
            return None
        return cls(mx.array(list(sampling.logit_bias)), mx.array(list(sampling.logit_bias.values())))


@dataclass(slots=True)
class SamplerRow:
    """One sequence in a batch. `tokens` is what is known of it, prompt and answer."""

    sampling: SamplingParams
    tokens: list[int]
    bias: Bias | None
    matcher: Matcher | None = None


def sample(logits: mx.array, rows: list[SamplerRow], newest: mx.array | None = None) -> mx.array:
    """The next token of every row, or NONE: uint32 [rows], lazy. `logits`: [rows, vocabulary].

    `newest`, uint32 [rows], is a token each row has after its `tokens` and that only the device knows yet.
    """
    logits = _constrain(adjust(logits, rows, newest), rows)
    best = mx.argmax(logits, axis=-1)
    warm = [i for i, row in enumerate(rows) if row.sampling.temperature >= COLD]
    sound = mx.isfinite(logits.max(axis=-1))
    if not warm:
        return mx.where(sound, best, NONE)
    warm_rows = [rows[i] for i in warm]
    chosen = mx.array(warm)
    keys = keys_of(warm_rows, newest is not None)
    best[chosen] = _categorical(narrow(logits[chosen], [row.sampling for row in warm_rows], keys), keys)
    return mx.where(sound, best, NONE)


def keys_of(rows: list[SamplerRow], ahead: bool = False) -> mx.array:
    """What each row's draw depends on: uint32 [rows, 2]. `ahead`: it has a token that is not in `tokens`."""
    return mx.array([[row.sampling.seed, len(row.tokens) + ahead] for row in rows], mx.uint32)


@dataclass(slots=True)
class LazyLogprobs:
    """A row's logprobs, not computed yet: of its token, and of the likeliest tokens, best first."""

    token: mx.array  # float32 []
    top: mx.array  # int32 [n]
    values: mx.array  # float32 [n]

    @property
    def arrays(self) -> list[mx.array]:
        """What must be evaluated."""
        return [self.token, self.top, self.values]

    def fetch(self, token: int) -> Logprobs:
        """Wait for the numbers. `token`: the one that was scored."""
        top: list[int] = self.top.tolist()  # type: ignore[assignment]
        values: list[float] = self.values.tolist()  # type: ignore[assignment]
        likeliest = [ScoredToken(id, _finite(value)) for id, value in zip(top, values, strict=True)]
        return Logprobs(ScoredToken(token, _finite(float(self.token.item()))), likeliest)  # type: ignore[arg-type]


def logprobs(logits: mx.array, token: mx.array, top_count: int) -> LazyLogprobs:
    """Logprobs by the model alone, lazy. `logits`: [vocabulary], as it gave them; `token`: []; `top_count`: how
    many of the likeliest."""
    logits = logits.astype(mx.float32)
    logprobs = logits - mx.logsumexp(logits)
    top = mx.argpartition(-logprobs, top_count)[:top_count]
    top = top[mx.argsort(-logprobs[top])]
    return LazyLogprobs(logprobs[mx.where(token == NONE, 0, token)], top, logprobs[top])


def adjust(logits: mx.array, rows: list[SamplerRow], newest: mx.array | None = None) -> mx.array:
    """Logit bias and penalties, of the rows that have any: float32 [rows, vocabulary]."""
    logits = logits.astype(mx.float32)  # an array of our own, to assign to
    for i, row in enumerate(rows):
        if row.bias:
            logits[i] = logits[i].at[row.bias.tokens].add(row.bias.values)
        if row.sampling.penalises:
            logits[i] = _penalise(logits[i], row, None if newest is None else newest[i : i + 1])
    return logits


def _constrain(logits: mx.array, rows: list[SamplerRow]) -> mx.array:
    """What a row's grammar does not allow is -inf. `logits`: float32 [rows, vocabulary]."""
    for i, row in enumerate(rows):
        if row.matcher and (mask := row.matcher.mask()) is not None:
            logits[i] = mx.where(_allowed(mask)[: logits.shape[-1]], logits[i], -mx.inf)
    return logits


@lru_cache(MASKS_KEPT)
def _allowed(mask: bytes) -> mx.array:
    """One bit per token → bool [tokens]. That of a constraint that sleeps is the same for long."""
    bits = (mx.array(list(mask), mx.uint8)[:, None] >> mx.arange(8, dtype=mx.uint8)) & 1
    return bits.reshape(-1) > 0


def narrow(logits: mx.array, samplings: list[SamplingParams], keys: mx.array) -> mx.array:
    """Filters and temperature; what is out is -inf. `logits`: float32 [rows, vocabulary], and so is the result. `keys`:
    see `keys_of`.

    Always in the order of the vocabulary: the noise of a draw goes by position.
    """
    if any(s.top_n_sigma > 0 for s in samplings):
        logits = _near_best(logits, samplings)
    typical = any(s.typical_p < 1 for s in samplings)
    top_k = [s.top_k for s in samplings]
    top_p = [s.top_p for s in samplings]
    if typical:
        logits = _typical(_cut_tail(logits, top_k, [1.0] * len(samplings)), samplings)
        top_k = [0] * len(samplings)
    if any(k > 0 for k in top_k) or any(p < 1 for p in top_p):
        logits = _cut_tail(logits, top_k, top_p)
    logits = logits - logits.max(axis=-1, keepdims=True)  # next to large numbers the noise of a draw would be lost
    if any(s.min_p > 0 for s in samplings):
        logits = mx.where(logits < mx.log(_column(s.min_p for s in samplings)), -mx.inf, logits)
    if any(s.xtc_probability > 0 for s in samplings):
        logits = _without_top(logits, samplings, keys)
        logits = logits - logits.max(axis=-1, keepdims=True)
    temperature = _column(s.temperature for s in samplings)
    if any(s.dynatemp_range > 0 for s in samplings):
        logits, temperature = _dynamic(logits, samplings, temperature)
    return logits / temperature


def _penalise(logits: mx.array, row: SamplerRow, newest: mx.array | None) -> mx.array:
    """`logits`: [vocabulary]. What was seen in the last `repeat_last_n` tokens becomes less likely."""
    sampling = row.sampling
    last_n = sampling.repeat_last_n
    known = last_n - (newest is not None)  # how many of those are in `tokens`
    start = 0 if last_n < 0 else max(len(row.tokens) - known, 0)
    seen = mx.array([token for token in row.tokens[start:] if token >= 0], mx.uint32)  # no rows of media
    if newest is not None:
        seen = mx.concatenate([seen, newest])
    count = mx.zeros_like(logits).at[seen].add(1.0)
    factor = mx.where(logits <= 0, sampling.repetition_penalty, 1 / sampling.repetition_penalty)
    penalised = logits * factor - count * sampling.frequency_penalty - sampling.presence_penalty
    return mx.where(count > 0, penalised, logits)


def _near_best(logits: mx.array, samplings: list[SamplingParams]) -> mx.array:
    """top_n_sigma: the deviation is that of the tokens that are not out."""
    out = mx.isinf(logits)
    count = (~out).sum(axis=-1, keepdims=True)
    mean = mx.where(out, 0, logits).sum(axis=-1, keepdims=True) / count
    deviation = mx.sqrt(mx.where(out, 0, mx.square(logits - mean)).sum(axis=-1, keepdims=True) / count)
    n = _column(s.top_n_sigma for s in samplings)
    far = logits < logits.max(axis=-1, keepdims=True) - n * deviation
    return mx.where((n > 0) & far, -mx.inf, logits)


def _typical(logits: mx.array, samplings: list[SamplingParams]) -> mx.array:
    """typical_p: from the token on whose surprise is nearest to the mean, until their shares are more than it."""
    possible = _possible(logits)
    surprise, shares, entropy = _entropy(logits, possible)
    order = mx.argsort(mx.where(possible, mx.abs(surprise - entropy), mx.inf), axis=-1)
    nearer = mx.cumsum(mx.take_along_axis(shares, order, axis=-1), axis=-1, inclusive=False)
    share = _column(s.typical_p for s in samplings)
    kept = mx.where(nearer <= share, mx.take_along_axis(logits, order, axis=-1), -mx.inf)
    kept = mx.where(mx.take_along_axis(possible, order, axis=-1), kept, -mx.inf)
    return mx.where(share < 1, mx.put_along_axis(logits, order, kept, axis=-1), logits)


def _cut_tail(logits: mx.array, top_k: list[int], top_p: list[float]) -> mx.array:
    """top_k, then top_p of what is left."""
    size = logits.shape[-1]
    order = mx.argsort(-logits, axis=-1)
    rank = mx.arange(size)[None]
    kept_count = _column(k if k > 0 else size for k in top_k)
    falling = mx.where(rank < kept_count, mx.take_along_axis(logits, order, axis=-1), -mx.inf)
    above = mx.cumsum(mx.softmax(falling, axis=-1), axis=-1, inclusive=False)
    share = _column(p if p < 1 else 2.0 for p in top_p)  # rounded sums may pass 1
    falling = mx.where((above < share) | (rank == 0), falling, -mx.inf)
    return mx.put_along_axis(logits, order, falling, axis=-1)


def _without_top(logits: mx.array, samplings: list[SamplingParams], keys: mx.array) -> mx.array:
    """XTC. Its own coin: no seed of a request has the highest bit."""
    threshold = _column(s.xtc_threshold for s in samplings)
    probability = _column(s.xtc_probability for s in samplings)
    shares = mx.softmax(logits, axis=-1)
    possible = _possible(logits)
    top = possible & (shares >= threshold)
    least_likely = mx.argmin(mx.where(top, shares, mx.inf), axis=-1, keepdims=True)
    coin = _uniform(keys | mx.array([2**31, 0], mx.uint32))[:, None]
    out = (coin <= probability) & (threshold <= 0.5) & top & (mx.arange(logits.shape[-1])[None] != least_likely)
    return mx.where((probability > 0) & (out | ~possible), -mx.inf, logits)


def _dynamic(logits: mx.array, samplings: list[SamplingParams], temperature: mx.array) -> tuple[mx.array, mx.array]:
    """dynatemp: the temperature by the entropy, as a part of the greatest that so many tokens can have."""
    reach = _column(s.dynatemp_range for s in samplings)
    exponent = _column(s.dynatemp_exponent for s in samplings)
    possible = _possible(logits)
    _, _, entropy = _entropy(logits, possible)
    max_entropy = mx.log(possible.sum(axis=-1, keepdims=True))
    part = mx.where(max_entropy > 0, mx.maximum(entropy, 0) / mx.maximum(max_entropy, COLD), 1)
    lowest = mx.maximum(temperature - reach, 0)
    highest = temperature + reach
    dynamic = mx.maximum(lowest + (highest - lowest) * mx.power(part, exponent), COLD)
    return mx.where((reach == 0) | possible, logits, -mx.inf), mx.where(reach > 0, dynamic, temperature)


def _possible(logits: mx.array) -> mx.array:
    return logits >= logits.max(axis=-1, keepdims=True) + math.log(IMPOSSIBLE)


def _entropy(logits: mx.array, possible: mx.array) -> tuple[mx.array, mx.array, mx.array]:
    """Of the possible tokens: each one's surprise and share, [rows, vocabulary], and their entropy, [rows, 1]."""
    total = mx.logsumexp(mx.where(possible, logits, -mx.inf), axis=-1, keepdims=True)
    surprise = mx.where(possible, total - logits, 0)
    shares = mx.where(possible, mx.exp(-surprise), 0)
    return surprise, shares, (shares * surprise).sum(axis=-1, keepdims=True)


def _finite(logprob: float) -> float:
    return max(logprob, MIN_LOGPROB) if logprob == logprob else MIN_LOGPROB


def _column(values: Iterable[float]) -> mx.array:
    return mx.array(list(values), mx.float32)[:, None]


_uniform = mx.vmap(lambda key: mx.random.uniform(key=key))
_categorical = mx.vmap(lambda logits, key: mx.random.categorical(logits, key=key))
