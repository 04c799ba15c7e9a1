"""Every sampling parameter, once: `SamplingOptions` says what it means and which numbers it takes, `SamplingParams` is
what an engine gets.

To add one, add a field to both, and a line to the sampler of each backend that has it. Requests, `--defaults`, model
files, the OpenAPI document and docs/parameters.md follow. Knows no library and no HTTP.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Annotated

from msgspec import Struct

from nitro.parameters import Param, parameters

INT32 = 2**31 - 1
COLD = 1e-6  # a temperature below this is greedy: logits divided by it are no numbers any more


@dataclass(frozen=True, slots=True)
class SamplingParam(Param):
    """A parameter with a `capability` belongs to a sampler that not every engine has; its switch has the same name."""

    negative_is_off: bool = False  # as 0 is
    replaced_by: str | None = None  # the sampler that takes its place, where that is on
    alias_of: str | None = None


_filter = partial(SamplingParam, replaced_by="mirostat")
_dry = partial(SamplingParam, capability="dry_multiplier")
_xtc = partial(SamplingParam, capability="xtc_probability")
_dynamic = partial(SamplingParam, capability="dynatemp_range")
_mirostat = partial(SamplingParam, capability="mirostat")
_repetition = partial(SamplingParam, ge=0.01, le=100)


class SamplingOptions(Struct, frozen=True):
    """The sampling parameters that a request or a model sets, in the order in which they apply. None: not set."""

    repetition_penalty: Annotated[
        float | None,
        _repetition("Divide the logits of tokens that already occurred by this; multiply negative ones. 1: off."),
    ] = None
    repeat_penalty: Annotated[
        float | None,
        _repetition("llama-server's name for `repetition_penalty`.", alias_of="repetition_penalty", older=True),
    ] = None
    frequency_penalty: Annotated[
        float | None,
        SamplingParam("Subtract this from a token's logit for each time that it already occurred.", ge=-2, le=2),
    ] = None
    presence_penalty: Annotated[
        float | None, SamplingParam("Subtract this from the logits of tokens that already occurred.", ge=-2, le=2)
    ] = None
    repeat_last_n: Annotated[
        int | None,
        SamplingParam(
            "How many of the last tokens, prompt included, these penalties look at. -1: all.", ge=-1, le=INT32
        ),
    ] = None
    dry_multiplier: Annotated[
        float | None,
        _dry("Strength of the DRY penalty on tokens that would extend a repetition. 0: off.", ge=0, le=100),
    ] = None
    dry_base: Annotated[
        float | None,
        _dry("DRY: factor by which the penalty grows with each token beyond the allowed length.", ge=1, le=100),
    ] = None
    dry_allowed_length: Annotated[
        int | None, _dry("DRY: repetitions up to this length are not penalised.", ge=0, le=INT32)
    ] = None
    dry_penalty_last_n: Annotated[
        int | None, _dry("DRY: how many of the last tokens to search for repetitions. -1: all.", ge=-1, le=INT32)
    ] = None
    dry_sequence_breakers: Annotated[list[str] | None, _dry("DRY: strings that no repetition extends across.")] = None
    top_n_sigma: Annotated[
        float | None,
        _filter(
            "Sample only from tokens with a logit at most n standard deviations below the highest. 0: off.",
            ge=-1,
            negative_is_off=True,
        ),
    ] = None
    top_k: Annotated[
        int | None, _filter("Sample only from the k most likely tokens. 0: off.", ge=-1, negative_is_off=True)
    ] = None
    typical_p: Annotated[
        float | None,
        _filter(
            "Sample only from the most typical tokens (by surprise) that together have this probability. 1: off.",
            ge=0,
            le=1,
        ),
    ] = None
    top_p: Annotated[
        float | None,
        _filter("Sample only from the most likely tokens that together have this probability. 1: off.", ge=0, le=1),
    ] = None
    min_p: Annotated[
        float | None,
        _filter("Sample only from tokens with at least this fraction of the highest probability. 0: off.", ge=0, le=1),
    ] = None
    xtc_probability: Annotated[
        float | None,
        _xtc(
            "Chance of removing every token above `xtc_threshold` except the least likely of them. 0: off.",
            ge=0,
            le=1,
            replaced_by="mirostat",
        ),
    ] = None
    xtc_threshold: Annotated[
        float | None, _xtc("XTC: the probability above which tokens may be removed. Above 0.5: off.", ge=0, le=1)
    ] = None
    temperature: Annotated[
        float | None,
        SamplingParam(
            "Divide the logits by this. Lower is less random; 0: always the most likely token.", ge=0, le=100
        ),
    ] = None
    dynatemp_range: Annotated[
        float | None,
        _dynamic(
            "How far the temperature goes down and up with the entropy (dynamic temperature). 0: off.",
            ge=0,
            le=100,
            replaced_by="mirostat",
        ),
    ] = None
    dynatemp_exponent: Annotated[
        float | None, _dynamic("Dynamic temperature: exponent of the normalised entropy.", ge=0, le=100)
    ] = None
    mirostat: Annotated[
        int | None,
        _mirostat(
            "Mirostat version, 1 or 2, which replaces the filters `top_n_sigma` to `xtc_probability`. 0: off.",
            ge=0,
            le=2,
        ),
    ] = None
    mirostat_tau: Annotated[float | None, _mirostat("Mirostat: target surprise, in bits.", ge=0, le=100)] = None
    mirostat_eta: Annotated[float | None, _mirostat("Mirostat: learning rate.", ge=0, le=100)] = None


class SamplingParams(Struct, frozen=True):
    """How the next token is drawn. The defaults leave the model's distribution as it is.

    Applied in this order: logit bias, penalties, DRY, what a grammar forbids, top_n_sigma, top_k, typical_p, top_p,
    min_p, XTC, temperature, draw. Mirostat replaces the filters and the draw. What each means: `SamplingOptions`.
    """

    repetition_penalty: float = 1.0
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0
    repeat_last_n: int = 64
    dry_multiplier: float = 0.0
    dry_base: float = 1.75
    dry_allowed_length: int = 2
    dry_penalty_last_n: int = -1
    dry_sequence_breakers: tuple[str, ...] = ("\n", ":", '"', "*")
    top_n_sigma: float = 0.0
    top_k: int = 0
    typical_p: float = 1.0
    top_p: float = 1.0
    min_p: float = 0.0
    xtc_probability: float = 0.0
    xtc_threshold: float = 0.1
    temperature: float = 1.0
    dynatemp_range: float = 0.0
    dynatemp_exponent: float = 1.0
    mirostat: int = 0
    mirostat_tau: float = 5.0
    mirostat_eta: float = 0.1
    logit_bias: dict[int, float] = {}  # added to the logits; -inf bans a token
    ignore_eos: bool = False  # the worker bans the end-of-generation tokens by logit_bias; runners need not look
    min_tokens: int = 0  # no end-of-generation token before these; the scheduler sees to it
    seed: int = 0  # 0 to 2³¹−1
    logprobs: int | None = None  # report each drawn token's logprob and so many of the most likely; None: nothing
    prompt_logprobs: bool = False  # with `logprobs`: of the prompt's tokens, too

    @property
    def penalises(self) -> bool:
        """Whether any of the three penalties changes a logit."""
        neutral = self.repetition_penalty == 1 and self.frequency_penalty == 0 and self.presence_penalty == 0
        return not neutral and self.repeat_last_n != 0

    @property
    def weighs_others(self) -> bool:
        """Whether a token's chance, as against another's, depends on third ones: then it matters what else may be
        drawn. Of a draw without filters the first that is allowed will do."""
        if self.temperature < COLD:
            return False
        cuts = self.top_k > 0 or self.top_p < 1 or self.min_p > 0 or self.typical_p < 1 or self.top_n_sigma > 0
        return cuts or self.xtc_probability > 0 or self.dynatemp_range > 0 or self.mirostat > 0


NEUTRAL = SamplingParams()
SPEC: Mapping[str, SamplingParam] = parameters(SamplingOptions)
ALIASES = {name: param.alias_of for name, param in SPEC.items() if param.alias_of}
NUMBERS = tuple(name for name in SPEC if isinstance(getattr(NEUTRAL, name, None), int | float))
# Samplers that not every engine has, by the parameter that switches each on; 0 switches it off.
SAMPLERS = tuple(sorted(name for name in SPEC if SPEC[name].capability == name))


def clean(name: str, value: float) -> float:
    """The number as engines take it: it fits a C int, and 0 stands for a negative one that means "off"."""
    if SPEC[name].negative_is_off:
        value = max(value, 0)
    return min(value, INT32) if isinstance(value, int) else value
