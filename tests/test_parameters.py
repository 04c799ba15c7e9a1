"""One place per parameter: what annotations say is what requests are held to, and the sampling spec is consistent."""

import dataclasses
from typing import Annotated

import pytest
from msgspec import Struct
from msgspec.structs import fields

from nitro.api.openai.requests import PARAMETERS, ChatRequest, CompletionRequest
from nitro.engines.sampling_defaults import NAMES
from nitro.engines.sampling_params import (
    ALIASES,
    NEUTRAL,
    NUMBERS,
    SAMPLERS,
    SPEC,
    SamplingParam,
    SamplingParams,
    clean,
)
from nitro.errors import ApiError
from nitro.parameters import NO_LIMIT, Param, bounded, check_count, check_number, check_request, parameters


class Base(Struct, frozen=True):
    size: Annotated[int | None, Param("How large.", ge=1, unlimited=True)] = None
    share: Annotated[float | None, Param("How much.", ge=0, le=1)] = None
    name: Annotated[str | None, Param("What it is called.")] = None
    other: int | None = None


class Request(Base, frozen=True):
    size: Annotated[int | None, Param("How large, from 0.", ge=0)] = None


def refused(request: Struct) -> tuple[str, str | None, str | None]:
    with pytest.raises(ApiError) as caught:
        check_request(request)
    return str(caught.value), caught.value.param, caught.value.code


def test_annotations_are_read_and_a_subclass_may_have_its_own() -> None:
    assert list(parameters(Base)) == ["size", "share", "name"] and list(bounded(Base)) == ["size", "share"]
    assert parameters(Base)["size"].ge == 1 and parameters(Request)["size"].ge == 0
    assert parameters(Request)["share"] is parameters(Base)["share"]


@pytest.mark.parametrize("size", [None, 1, 10**30, NO_LIMIT])
def test_inside_the_bounds(size: int | None) -> None:
    check_request(Base(size, share=1.0, other=-5))


def test_outside_the_bounds() -> None:
    assert refused(Base(0)) == ("Invalid value for 'size': expected at least 1, got 0.", "size", "invalid_value")
    assert refused(Request(NO_LIMIT))[0] == "Invalid value for 'size': expected at least 0, got -1."
    message = "Invalid value for 'share': expected at most 1, got 1.5."
    assert refused(Base(share=1.5)) == (message, "share", "invalid_value")
    for value in (float("nan"), float("inf"), -float("inf")):
        assert refused(Base(share=value))[0] == "Invalid value for 'share': expected a finite number."


def test_the_name_in_an_error_is_the_caller_s() -> None:
    with pytest.raises(ApiError, match=r"'logit_bias\.5': expected at most 100, got 101"):
        check_number("logit_bias.5", 101, Param("", le=100))
    check_count("stop", ["a"], 1, "strings")
    with pytest.raises(ApiError, match="'stop': expected at most 1 strings, got 2"):
        check_count("stop", ["a", "b"], 1, "strings")


# The spec of sampling


def test_every_option_becomes_a_parameter_of_the_same_kind() -> None:
    assert set(SPEC) - set(ALIASES) <= {field.name for field in fields(SamplingParams)}
    assert set(NUMBERS) == set(SPEC) - set(ALIASES) - {"dry_sequence_breakers"}
    assert set(ALIASES.values()) <= set(NUMBERS)


@pytest.mark.parametrize("name", SPEC)
def test_each_entry_is_sound(name: str) -> None:
    param = SPEC[name]
    assert isinstance(param, SamplingParam) and param.description.endswith(".")
    assert param.capability in (None, *SAMPLERS) and param.replaced_by in (None, *SAMPLERS)
    if name in NUMBERS:
        check_number(name, getattr(NEUTRAL, name), param)
        assert param.ge is not None and clean(name, getattr(NEUTRAL, name)) == getattr(NEUTRAL, name)
    if param.alias_of:
        meant = SPEC[param.alias_of]
        assert param == dataclasses.replace(meant, description=param.description, alias_of=param.alias_of, older=True)


def test_what_a_sampler_s_switch_is() -> None:
    assert SAMPLERS == ("dry_multiplier", "dynatemp_range", "mirostat", "xtc_probability")
    assert all(getattr(NEUTRAL, name) == 0 == SPEC[name].ge for name in SAMPLERS)


def test_defaults_are_what_every_engine_has() -> None:
    assert {SPEC[name].capability for name in NAMES} == {None}
    assert {*NUMBERS} - {*NAMES} == {name for name in NUMBERS if SPEC[name].capability}


@pytest.mark.parametrize("request_type", [ChatRequest, CompletionRequest])
def test_each_request_has_all_of_sampling(request_type: type[Struct]) -> None:
    found = parameters(request_type)
    assert all(found[name] is SPEC[name] for name in SPEC)


@pytest.mark.parametrize("name", PARAMETERS)
def test_descriptions_are_short_sentences(name: str) -> None:
    description = PARAMETERS[name].description
    assert description.endswith((".", ".)")) and len(description) <= 110 and "\n" not in description
