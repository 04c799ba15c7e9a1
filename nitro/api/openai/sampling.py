"""How a request wants its tokens drawn → `SamplingParams`. What each parameter does stands there."""

import secrets
from collections.abc import Collection
from typing import Any

from nitro.api.openai.schema import GenerationRequest, SamplingRequest
from nitro.api.openapi.descriptions import capability
from nitro.engines import sampling_defaults
from nitro.engines.sampling_defaults import BOUNDS, INT32, OFF_BELOW_ZERO, SamplingDefaults
from nitro.engines.types import SAMPLERS, ModelInfo, SamplingParams
from nitro.errors import ApiError

# inclusive bounds; None: none on that side
SAMPLING_BOUNDS = {**BOUNDS, "repeat_penalty": BOUNDS["repetition_penalty"], "min_tokens": (0, None)}
OTHER_NAMES = {"repeat_penalty": "repetition_penalty"}  # llama-server's
REPLACED = ("top_n_sigma", "top_k", "typical_p", "top_p", "min_p", "xtc_probability", "dynatemp_range")  # by mirostat
MOST_BREAKERS, LONGEST_BREAKER = 16, 40  # strings, bytes: llama.cpp would cut a longer one
NEUTRAL = SamplingParams()


def parse_defaults(text: str) -> SamplingDefaults:
    """ "name=number,…", by the names of SamplingParams. Raises ValueError with a sentence."""
    found: dict[str, float] = {}
    for part in text.split(","):
        name, _, given = part.partition("=")
        name = OTHER_NAMES.get(name.strip(), name.strip())
        if name not in sampling_defaults.NAMES:
            raise ValueError(f"{name!r} is none of {', '.join(sampling_defaults.NAMES)}.")
        try:
            value = type(getattr(NEUTRAL, name))(given)
        except ValueError:
            raise ValueError(f"{given!r} is no value for {name}.") from None
        found[name] = sampling_defaults.check(name, value)
    return SamplingDefaults(**found)  # type: ignore[arg-type]


def parse_sampling(
    request: SamplingRequest, recommended: SamplingDefaults, bias: dict[int, float], samplers: Collection[str]
) -> SamplingParams:
    """The request, else the model's own defaults, else those of SamplingParams. Its numbers are within their bounds.

    `samplers`: those of SAMPLERS that the engine knows. Raises ApiError 400.
    """
    asked: dict[str, Any] = {}
    left_open = recommended.given
    for name in SAMPLING_BOUNDS:
        if (value := getattr(request, name)) is not None:
            asked.setdefault(OTHER_NAMES.get(name, name), min(value, INT32) if isinstance(value, int) else value)
    for name in OFF_BELOW_ZERO:
        if name in asked:
            asked[name] = max(asked[name], 0)
    for name in SAMPLERS:
        if asked.get(name) and name not in samplers:
            message = f"Unsupported parameter: '{name}' is not supported with this engine."
            raise ApiError(400, message, param=name, code="unsupported_parameter")
    if asked.get("mirostat"):
        left_open = {name: value for name, value in left_open.items() if name not in REPLACED}
        for name in REPLACED:
            if asked.get(name, getattr(NEUTRAL, name)) != getattr(NEUTRAL, name):
                raise _invalid(name, f"{getattr(NEUTRAL, name)} beside 'mirostat', which takes its place")
    if request.dry_sequence_breakers is not None:
        asked["dry_sequence_breakers"] = _parse_breakers(request.dry_sequence_breakers)
    seed = secrets.randbits(31) if request.seed is None else request.seed % 2**31
    return SamplingParams(**{**left_open, **asked}, seed=seed, ignore_eos=bool(request.ignore_eos), logit_bias=bias)


def without_effect(request: GenerationRequest, info: ModelInfo, constrained: bool) -> list[str]:
    """What tunes a sampler that the engine has not, and that is not asked for; a prediction that it cannot use, as it
    can none of a `constrained` answer; what is said of a stream where there is none."""
    lacking = {*SAMPLERS} - info.samplers
    names = [name for name in SamplingRequest.__struct_fields__ if capability(name) in lacking - {name}]
    names += [] if info.draft_tokens and not constrained else ["prediction"]
    names += ["stream_options"] if request.stream_options and not request.stream else []
    return [name for name in names if getattr(request, name) is not None]


def _parse_breakers(breakers: list[str]) -> tuple[str, ...]:
    if len(breakers) > MOST_BREAKERS:
        raise _invalid("dry_sequence_breakers", f"at most {MOST_BREAKERS} strings, got {len(breakers)}")
    if any("\0" in breaker or len(breaker.encode()) > LONGEST_BREAKER for breaker in breakers):
        raise _invalid("dry_sequence_breakers", f"strings of at most {LONGEST_BREAKER} bytes, none of them 0")
    return tuple(breaker for breaker in breakers if breaker)


def _invalid(name: str, expected: str) -> ApiError:
    return ApiError(400, f"Invalid value for '{name}': expected {expected}.", param=name, code="invalid_value")
