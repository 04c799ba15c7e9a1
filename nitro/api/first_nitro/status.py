"""`model_data` of `GET /inferences/llamacpp/modelstatus`: how the last request was sampled, in llama.cpp's names.

A text that holds JSON with 27 keys, sorted: `get_model_props` of v0.3.22, context/llama_server_context.h. Before the
first request they are those of the warm-up that the first Nitro ran.
"""

import json
from typing import Any

import msgspec

from nitro.api.first_nitro.requests import ChatRequest
from nitro.engines.sampling_params import SamplingParams

RANDOM_SEED = 2**32 - 1
# Parameters that no request sets here, and what they are. Newlines are penalised as other tokens are.
FIXED: dict[str, Any] = {
    "n_probs": 0,
    "penalize_nl": True,
    "penalty_prompt_tokens": [],
    "tfs_z": 1.0,
    "use_penalty_prompt_tokens": False,
}
WARM_UP: dict[str, Any] = {
    "frequency_penalty": 0.0,
    "ignore_eos": False,
    "logit_bias": [],
    "min_p": 0.05,
    "mirostat": 0,
    "mirostat_eta": 0.1,
    "mirostat_tau": 5.0,
    "n_keep": 0,
    "n_predict": 2,
    "presence_penalty": 0.0,
    "repeat_last_n": 64,
    "repeat_penalty": 1.1,
    "seed": RANDOM_SEED,
    "stop": [],
    "stream": False,
    "temperature": 0.8,
    "top_k": 40,
    "top_p": 0.95,
    "typical_p": 1.0,
}

encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(dict[str, Any]).decode


def of_request(sampling: SamplingParams, request: ChatRequest, max_tokens: int, stops: list[str]) -> dict[str, Any]:
    """The keys of WARM_UP, as a request has them. `stops`: with the model's own."""
    return {
        "frequency_penalty": sampling.frequency_penalty,
        "ignore_eos": sampling.ignore_eos,
        "logit_bias": [list(pair) for pair in sampling.logit_bias.items()],
        "min_p": sampling.min_p,
        "mirostat": sampling.mirostat,
        "mirostat_eta": sampling.mirostat_eta,
        "mirostat_tau": sampling.mirostat_tau,
        "n_keep": -1,
        "n_predict": max_tokens,
        "presence_penalty": sampling.presence_penalty,
        "repeat_last_n": sampling.repeat_last_n,
        "repeat_penalty": sampling.repetition_penalty,
        "seed": RANDOM_SEED if request.seed is None else sampling.seed,
        "stop": stops,
        "stream": bool(request.stream),
        "temperature": sampling.temperature,
        "top_k": sampling.top_k,
        "top_p": sampling.top_p,
        "typical_p": sampling.typical_p,
    }


def model_data(path: str, context: int, grammar: str | None, last: bytes | None) -> str:
    """The text. `context`: tokens of a request. `last`: the encoded request; None: none has come yet."""
    keys = {**FIXED, **(WARM_UP if last is None else _decode(last))}
    keys |= {"model": path, "n_ctx": context, "grammar": grammar or ""}
    return json.dumps(keys, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
