"""How a request wants its tokens drawn → `SamplingParams`. What each parameter means: engines/sampling_params.py."""

import secrets
from collections.abc import Collection, Mapping
from typing import Any

from nitro.api.openai.requests import CommonRequest, SamplingRequest
from nitro.engines.sampling_defaults import SamplingDefaults
from nitro.engines.sampling_params import (
    ALIASES,
    INT32,
    NEUTRAL,
    NUMBERS,
    SAMPLERS,
    SPEC,
    SamplingParams,
    clean,
)
from nitro.errors import ApiError
from nitro.parameters import check_count

MAX_BREAKERS = 16
MAX_BREAKER_BYTES = 40  # llama.cpp would cut a longer one
# by the switch of a sampler: the parameters that tune it, and those that it replaces
TUNED = {switch: [n for n in SPEC if SPEC[n].capability == switch and n != switch] for switch in SAMPLERS}
REPLACED = {switch: [n for n in SPEC if SPEC[n].replaced_by == switch] for switch in SAMPLERS}


def parse_sampling(
    request: SamplingRequest, defaults: SamplingDefaults, bias: dict[int, float], samplers: Collection[str]
) -> SamplingParams:
    """What the request sets, else the model's own defaults, else those of SamplingParams.

    The request's numbers are within their bounds. `samplers`: those of SAMPLERS that the engine has. Raises ApiError
    400.
    """
    params = _requested(request)
    recommended = defaults.values
    switched_on = [switch for switch in SAMPLERS if params.get(switch)]
    for switch in switched_on:
        if switch not in samplers:
            raise ApiError.unsupported(switch, "is not supported with this engine")
    for switch in switched_on:
        _check_replaced(params, switch)
        recommended = {name: value for name, value in recommended.items() if name not in REPLACED[switch]}
    if request.dry_sequence_breakers is not None:
        params["dry_sequence_breakers"] = _parse_breakers(request.dry_sequence_breakers)
    return SamplingParams(
        **{**recommended, **params},
        min_tokens=min(request.min_tokens or 0, INT32),
        seed=secrets.randbits(31) if request.seed is None else request.seed % 2**31,
        ignore_eos=bool(request.ignore_eos),
        logit_bias=bias,
    )


def without_effect(request: CommonRequest, samplers: Collection[str]) -> list[str]:
    """The parameters of a request that change nothing: those that are `inert`, and options of a stream where there is
    none."""
    streamless = request.stream_options is not None and not request.stream
    return [*inert(request, samplers), *(["stream_options"] if streamless else [])]


def inert(request: SamplingRequest, samplers: Collection[str]) -> list[str]:
    """The parameters that tune a sampler that the engine has not. `samplers`: those of SAMPLERS that it has."""
    names = (name for switch in SAMPLERS if switch not in samplers for name in TUNED[switch])
    return [name for name in names if getattr(request, name) is not None]


def _requested(request: SamplingRequest) -> dict[str, Any]:
    """The numbers that the request sets, by the names of SamplingParams. Raises ApiError where a name and its alias
    differ."""
    values = {name: value for name in NUMBERS if (value := getattr(request, name)) is not None}
    for alias, name in ALIASES.items():
        value = getattr(request, alias)
        if value is not None and values.setdefault(name, value) != value:
            raise ApiError.same(alias, name)
    return {name: clean(name, value) for name, value in values.items()}


def _check_replaced(params: Mapping[str, float], switch: str) -> None:
    for name in REPLACED[switch]:
        neutral = getattr(NEUTRAL, name)
        if params.get(name, neutral) != neutral:
            raise ApiError.invalid(name, f"{neutral} beside '{switch}', which takes its place")


def _parse_breakers(breakers: list[str]) -> tuple[str, ...]:
    check_count("dry_sequence_breakers", breakers, MAX_BREAKERS, "strings")
    if any("\0" in breaker or len(breaker.encode()) > MAX_BREAKER_BYTES for breaker in breakers):
        raise ApiError.invalid("dry_sequence_breakers", f"strings of at most {MAX_BREAKER_BYTES} bytes, none of them 0")
    return tuple(breaker for breaker in breakers if breaker)
