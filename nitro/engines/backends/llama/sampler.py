"""Logits → tokens by llama.cpp's samplers, and what a token's logprob is."""

import ctypes
import math
import weakref
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, NamedTuple

import llama_cpp.llama_cpp as lib
import numpy as np

from nitro.engines.backends.llama import likely_tokens
from nitro.engines.runner import Matcher
from nitro.engines.types import COLD, IMPOSSIBLE, MIN_LOGPROB, Logprobs, SamplingParams, ScoredToken

CANDIDATE = np.dtype([("id", np.int32), ("logit", np.float32), ("p", np.float32)])  # a llama_token_data
MIROSTAT_M = 100  # of how many tokens version 1 estimates the distribution; llama-server's number
DRY_KEPT = 16
NO_TOKEN = 2**30  # an id that no vocabulary has, and no bias


def prepare(sampling: SamplingParams, vocab: Any, context: int) -> None:
    """Make what takes long, ahead of `chain_of`; from any thread."""
    if sampling.dry_multiplier:
        _dry(sampling, vocab, context)


def chain_of(sampling: SamplingParams, tokens: list[int], vocab: Any, vocabulary: int, context: int) -> Any:
    """A sampler chain that has seen `tokens`, to `draw` with; the caller frees it. The order is that of
    SamplingParams's docstring."""
    chain = lib.llama_sampler_chain_init(lib.llama_sampler_chain_default_params())

    def add(sampler: Any) -> None:
        lib.llama_sampler_chain_add(chain, sampler)

    bias = sampling.logit_bias
    if bias:
        entries = (lib.llama_logit_bias * len(bias))(*(lib.llama_logit_bias(*entry) for entry in bias.items()))
        add(lib.llama_sampler_init_logit_bias(vocabulary, len(bias), entries))
    seen = 0
    if sampling.penalises:
        seen = _window(sampling.repeat_last_n, context)
        repetition = sampling.repetition_penalty
        frequency = sampling.frequency_penalty
        add(lib.llama_sampler_init_penalties(vocabulary, seen, repetition, frequency, sampling.presence_penalty))
    if sampling.dry_multiplier:
        add(lib.llama_sampler_clone(_dry(sampling, vocab, context).sampler))
        seen = max(seen, _window(sampling.dry_penalty_last_n, context))
    for token in tokens[max(len(tokens) - seen, 0) :]:
        if token >= 0:  # else it is a row of media
            lib.llama_sampler_accept(chain, token)
    for sampler in _drawing(sampling, vocabulary):
        add(sampler)
    return chain


def takes_likeliest(sampling: SamplingParams) -> bool:
    """Whether the token with the highest logit is drawn, and nothing changes the logits: no chain is needed then."""
    changed = sampling.logit_bias or sampling.penalises or sampling.dry_multiplier
    return sampling.temperature < COLD and not changed


def _drawing(sampling: SamplingParams, vocabulary: int) -> Iterator[Any]:
    """Filters, temperature and draw."""
    possible = lib.llama_sampler_init_min_p  # an entropy with a share of 0 in it is no number in llama.cpp
    if sampling.temperature < COLD:
        yield lib.llama_sampler_init_greedy()
        return
    if sampling.mirostat:
        seed = sampling.seed
        tau = sampling.mirostat_tau
        eta = sampling.mirostat_eta
        yield lib.llama_sampler_init_temp(sampling.temperature)
        yield possible(IMPOSSIBLE, 1)
        if sampling.mirostat == 1:
            yield lib.llama_sampler_init_mirostat(vocabulary, seed, tau, eta, MIROSTAT_M)
        else:
            yield lib.llama_sampler_init_mirostat_v2(seed, tau, eta)
        return
    if sampling.top_n_sigma > 0:
        yield lib.llama_sampler_init_top_n_sigma(sampling.top_n_sigma)
    if sampling.top_k > 0:
        yield lib.llama_sampler_init_top_k(sampling.top_k)
    if sampling.typical_p < 1:
        yield possible(IMPOSSIBLE, 1)
        yield lib.llama_sampler_init_typical(sampling.typical_p, 1)
    if sampling.top_p < 1 and not likely_tokens.applies_top_p(sampling):
        yield lib.llama_sampler_init_top_p(sampling.top_p, 1)
    if sampling.min_p > 0:
        yield lib.llama_sampler_init_min_p(sampling.min_p, 1)
    if sampling.xtc_probability or sampling.dynatemp_range:
        yield possible(IMPOSSIBLE, 1)
    if sampling.xtc_probability:
        yield lib.llama_sampler_init_xtc(sampling.xtc_probability, sampling.xtc_threshold, 1, sampling.seed)
    yield lib.llama_sampler_init_temp_ext(sampling.temperature, sampling.dynatemp_range, sampling.dynatemp_exponent)
    yield lib.llama_sampler_init_dist(sampling.seed)


class _Dry:
    """A DRY sampler that has seen nothing, to be cloned."""

    def __init__(self, sampler: Any):
        self.sampler = sampler
        weakref.finalize(self, lib.llama_sampler_free, sampler)


class _DryParams(NamedTuple):
    """What llama_sampler_init_dry takes, in its order."""

    multiplier: float
    base: float
    allowed_length: int
    last_n: int
    breakers: tuple[str, ...]


def _dry(sampling: SamplingParams, vocab: Any, context: int) -> _Dry:
    params = _DryParams(
        multiplier=sampling.dry_multiplier,
        base=sampling.dry_base,
        allowed_length=sampling.dry_allowed_length,
        last_n=_window(sampling.dry_penalty_last_n, context),
        breakers=sampling.dry_sequence_breakers,
    )
    return _make_dry(vocab, params)


@lru_cache(DRY_KEPT)
def _make_dry(vocab: Any, params: _DryParams) -> _Dry:
    """Takes a few milliseconds for each sequence breaker, up to some tenths of a second: each token is compared."""
    *numbers, breakers = params
    texts = (ctypes.c_char_p * len(breakers))(*(text.encode() for text in breakers))
    return _Dry(lib.llama_sampler_init_dry(vocab, *numbers, texts, len(breakers)))


def _window(last_n: int, context: int) -> int:
    """llama.cpp allocates that many."""
    return context if last_n < 0 else min(last_n, context)


def likeliest(logits: Any) -> int | None:
    """The token with the highest logit; None where none is possible. `logits`: float32 [vocabulary]."""
    token = int(logits.argmax())  # the first that is no number, if any is
    return token if math.isfinite(logits[token]) else None


def sample(chain: Any, sampling: SamplingParams, logits: Any) -> int | None:
    """Draw the next token among all, and accept it. See `draw`."""
    token = draw(chain, sampling, logits)
    if token is not None:
        lib.llama_sampler_accept(chain, token)
    return token


def draw(chain: Any, sampling: SamplingParams, logits: Any, ids: Any = None) -> int | None:
    """What the sampler chain draws among these token ids, or all, without accepting it; None where it finds none
    possible.

    `sampling`: what the chain was made of. `logits`: float32 [vocabulary]. `ids`: int [tokens].
    """
    adjusted = likely_tokens.biased(logits, sampling.logit_bias)
    if ids is None:
        ids = _all_ids(len(logits))
    else:
        adjusted = adjusted[ids]
    if not len(ids) or not math.isfinite(adjusted.max()):
        return None
    places = likely_tokens.kept(sampling, adjusted)
    if places is None and likely_tokens.draws_of_all(sampling):
        places = _column(chain, likely_tokens.columns(adjusted, sampling.temperature), adjusted)
    if places is None and len(ids) == len(logits):
        return _drawn(chain, ids, logits)
    if places is not None:
        ids = ids[places]
    return _drawn(chain, ids, logits[ids])


def _column(chain: Any, of_columns: Any, logits: Any) -> Any:
    """The places of a column's tokens."""
    count = len(of_columns)
    no_tokens = np.arange(NO_TOKEN, NO_TOKEN + count, dtype=np.int32)
    drawn = _drawn(chain, no_tokens, of_columns)
    assert drawn is not None, "the likeliest token is in one"
    return np.arange(drawn - NO_TOKEN, len(logits), count)


@lru_cache(2)
def _all_ids(vocabulary: int) -> Any:
    return np.arange(vocabulary, dtype=np.int32)


def _drawn(chain: Any, ids: Any, logits: Any) -> int | None:
    """What the chain draws among tokens, in this order: int and float32, [tokens]."""
    candidates = np.zeros(len(ids), CANDIDATE)
    candidates["id"] = ids
    candidates["logit"] = logits
    array = lib.llama_token_data_array(
        data=candidates.ctypes.data_as(lib.llama_token_data_p), size=len(ids), selected=-1, sorted=False
    )
    lib.llama_sampler_apply(chain, ctypes.byref(array))
    drawn = array.data[array.selected]
    return int(drawn.id) if math.isfinite(drawn.logit) else None


def pick_allowed(chain: Any, sampling: SamplingParams, logits: Any, matcher: Matcher) -> int | None:
    """What the sampler chain draws among the tokens that the matcher allows, without accepting it; None where it finds
    none possible. `logits`: float32 [vocabulary].

    Where no token's chance depends on third ones, one is drawn of all, and the mask, which costs more than to ask about
    a token, is computed only where that one is refused: that is the same distribution.
    """
    mask_first = sampling.weighs_others
    token = None if mask_first else draw(chain, sampling, logits)
    if token is not None and matcher.allows(token):
        return token
    mask = matcher.mask()
    if mask is None:
        return draw(chain, sampling, logits) if mask_first else token
    bits = np.unpackbits(np.frombuffer(mask, np.uint8), bitorder="little")
    return draw(chain, sampling, logits, np.flatnonzero(bits[: len(logits)]))


def logprobs(logits: Any, token: int, top_count: int) -> Logprobs:
    """Of `token`, and of the `top_count` likeliest. `logits`: float32 [vocabulary]."""
    logits = logits.astype(np.float64)
    scores = logits - logits.max()
    scores -= np.log(np.exp(scores).sum())
    scores = np.maximum(np.nan_to_num(scores, nan=MIN_LOGPROB), MIN_LOGPROB)
    top = np.argpartition(-scores, top_count)[:top_count] if top_count else np.array([], int)
    top = top[np.argsort(-scores[top], kind="stable")]
    return Logprobs(ScoredToken(token, float(scores[token])), [ScoredToken(int(t), float(scores[t])) for t in top])
