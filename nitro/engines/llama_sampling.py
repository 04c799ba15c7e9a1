"""Logits → tokens by llama.cpp's samplers, and what a token's logprob is."""

import ctypes
import math
from typing import Any

import llama_cpp.llama_cpp as lib
import numpy as np

from nitro.engines.types import COLD, IMPOSSIBLE, LEAST_LOGPROB, Logprobs, Sampling, Scored

CANDIDATE = np.dtype([("id", np.int32), ("logit", np.float32), ("p", np.float32)])  # a llama_token_data


def chain_of(sampling: Sampling, tokens: list[int], vocabulary: int, context: int) -> Any:
    """A sampler chain that has seen `tokens`; the caller frees it. The order is that of Sampling's docstring."""
    chain = lib.llama_sampler_chain_init(lib.llama_sampler_chain_default_params())

    def add(sampler: Any) -> None:
        lib.llama_sampler_chain_add(chain, sampler)

    if bias := sampling.logit_bias:
        entries = (lib.llama_logit_bias * len(bias))(*(lib.llama_logit_bias(*entry) for entry in bias.items()))
        add(lib.llama_sampler_init_logit_bias(vocabulary, len(bias), entries))
    if sampling.penalises:
        last_n = min(sampling.repeat_last_n, context)  # llama.cpp allocates that many
        last_n = context if last_n < 0 else last_n
        penalties = (sampling.repetition_penalty, sampling.frequency_penalty, sampling.presence_penalty)
        add(lib.llama_sampler_init_penalties(vocabulary, last_n, *penalties))
        for token in tokens[-last_n:]:
            lib.llama_sampler_accept(chain, token)
    if sampling.temperature < COLD:
        add(lib.llama_sampler_init_greedy())
        return chain
    if sampling.top_n_sigma > 0:
        add(lib.llama_sampler_init_top_n_sigma(sampling.top_n_sigma))
    if sampling.top_k > 0:
        add(lib.llama_sampler_init_top_k(sampling.top_k))
    if sampling.typical_p < 1:
        add(lib.llama_sampler_init_min_p(IMPOSSIBLE, 1))  # an entropy with a share of 0 in it is no number there
        add(lib.llama_sampler_init_typical(sampling.typical_p, 1))
    if sampling.top_p < 1:
        add(lib.llama_sampler_init_top_p(sampling.top_p, 1))
    if sampling.min_p > 0:
        add(lib.llama_sampler_init_min_p(sampling.min_p, 1))
    add(lib.llama_sampler_init_temp(sampling.temperature))
    add(lib.llama_sampler_init_dist(sampling.seed))
    return chain


def pick(sampler: Any, logits: Any, ids: Any) -> int | None:
    """What the sampler chain draws among these token ids, without accepting it; None where it finds none possible."""
    if not len(ids):
        return None
    candidates = np.zeros(len(ids), CANDIDATE)
    candidates["id"], candidates["logit"] = ids, logits[ids]
    array = lib.llama_token_data_array(
        data=candidates.ctypes.data_as(lib.llama_token_data_p), size=len(ids), selected=-1, sorted=False
    )
    lib.llama_sampler_apply(sampler, ctypes.byref(array))
    drawn = array.data[array.selected]
    return int(drawn.id) if math.isfinite(drawn.logit) else None


def logprobs(logits: Any, token: int, most: int) -> Logprobs:
    """Of `token`, and of the `most` likeliest. `logits`: float32 [vocabulary]."""
    logits = logits.astype(np.float64)
    scores = logits - logits.max()
    scores -= np.log(np.exp(scores).sum())
    scores = np.maximum(np.nan_to_num(scores, nan=LEAST_LOGPROB), LEAST_LOGPROB)
    top = np.argpartition(-scores, most)[:most] if most else np.array([], int)
    top = top[np.argsort(-scores[top], kind="stable")]
    return Logprobs(Scored(token, float(scores[token])), [Scored(int(t), float(scores[t])) for t in top])
