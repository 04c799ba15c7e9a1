"""How a request wants its tokens drawn → `Sampling`. What each parameter does stands there."""

import secrets
from collections.abc import Mapping
from typing import Any

from nitro.api.openai import SamplingRequest
from nitro.engines.types import Sampling

INT32 = 2**31 - 1

# inclusive bounds; None: none on that side
SAMPLING_BOUNDS: dict[str, tuple[float | None, float | None]] = {
    "temperature": (0, 100),
    "top_n_sigma": (-1, None),
    "top_k": (-1, None),
    "typical_p": (0, 1),
    "top_p": (0, 1),
    "min_p": (0, 1),
    "frequency_penalty": (-2, 2),
    "presence_penalty": (-2, 2),
    "repetition_penalty": (0.01, 100),
    "repeat_penalty": (0.01, 100),
    "repeat_last_n": (-1, INT32),
}
OTHER_NAMES = {"repeat_penalty": "repetition_penalty"}  # llama-server's
OFF_BELOW_ZERO = ("top_k", "top_n_sigma")  # -1 turns them off, as 0 does


def parse_sampling(request: SamplingRequest, defaults: Mapping[str, float], bias: dict[int, float]) -> Sampling:
    """The request, else the model's own defaults, else those of Sampling. Its numbers are within their bounds."""
    asked: dict[str, Any] = {}
    for name in SAMPLING_BOUNDS:
        if (value := getattr(request, name)) is not None:
            asked.setdefault(OTHER_NAMES.get(name, name), min(value, INT32) if isinstance(value, int) else value)
    for name in OFF_BELOW_ZERO:
        if name in asked:
            asked[name] = max(asked[name], 0)
    seed = secrets.randbits(31) if request.seed is None else request.seed % 2**31
    return Sampling(**{**defaults, **asked}, seed=seed, ignore_eos=bool(request.ignore_eos), logit_bias=bias)
