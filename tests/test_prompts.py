"""A chat request becomes a GenerationRequest: every bound, every form of a message, and where defaults come from."""

import json
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest

from nitro.api import json_body
from nitro.api.openai import reply_options
from nitro.api.openai.parse import parse_chat, parse_completion
from nitro.api.openai.reply_options import ChatReplyOptions
from nitro.api.openai.requests import ChatRequest, CompletionRequest
from nitro.engines.sampling_defaults import NAMES, NOTHING, SamplingDefaults
from nitro.engines.types import SAMPLERS, GenerationParams, SamplingParams
from nitro.engines.work import encode_work
from nitro.errors import ApiError
from nitro.parameters import bounded
from nitro.service.intake.conversation_text import with_text
from nitro.service.requests import Conversation, GenerationRequest, text_part

USER = {"role": "user", "content": "hi"}
INT32 = 2**31 - 1


def prompt(
    *messages: Any, defaults: dict[str, float] | None = None, samplers: Sequence[str] = SAMPLERS, **fields: Any
) -> GenerationRequest:
    body = json.dumps({"messages": messages or [USER], "seed": 1, **fields}).encode()
    return parse_chat(json_body.decode(body, ChatRequest)[0], SamplingDefaults(**(defaults or {})), samplers)


def refusal(*messages: Any, **fields: Any) -> ApiError:
    with pytest.raises(ApiError) as caught:
        prompt(*messages, **fields)
    assert caught.value.status == 400 and caught.value.type == "invalid_request_error"
    return caught.value


def messages_of(*messages: Any) -> list[dict[str, Any]]:
    """The messages of a request, their parts joined as for most templates."""
    conversation = prompt(*messages).prompt
    assert isinstance(conversation, Conversation)
    return [with_text(message, "\n") for message in conversation.messages]


def content(given: Any, role: str = "user") -> str:
    (message,) = messages_of({"role": role, "content": given})
    assert message["role"] == role
    text: str = message["content"]
    return text


SAID = Conversation(messages=[{"role": "user", "content": [text_part("hi")]}])
NAMES_OF_OURS = {"prompt": "messages"}


def test_the_least_request() -> None:
    assert prompt() == GenerationRequest(
        prompt=SAID,
        sampling=SamplingParams(seed=1),
        reply_options=reply_options.encode(ChatReplyOptions()),
        param_names=NAMES_OF_OURS,
    )


def test_a_full_request() -> None:
    assert prompt(
        max_tokens=5,
        n=2,
        stop="END",
        stream=True,
        stream_options={"include_usage": True},
        temperature=0.5,
        top_p=0.9,
        top_k=40,
        min_p=0.05,
        frequency_penalty=0.1,
        presence_penalty=-0.1,
        repetition_penalty=1.1,
        repeat_last_n=128,
        logit_bias={"7": -100, "no": 5},
        ignore_eos=True,
        seed=42,
    ) == GenerationRequest(
        prompt=SAID,
        sampling=SamplingParams(
            temperature=0.5,
            top_k=40,
            top_p=0.9,
            min_p=0.05,
            repetition_penalty=1.1,
            frequency_penalty=0.1,
            presence_penalty=-0.1,
            repeat_last_n=128,
            logit_bias={7: -100.0},
            ignore_eos=True,
            seed=42,
        ),
        text_bias={"no": 5.0},
        max_tokens=5,
        choices=2,
        stops=["END"],
        stream=True,
        reply_options=reply_options.encode(ChatReplyOptions(include_usage=True)),
        param_names=NAMES_OF_OURS,
    )


# Bounds: name, values inside, values outside

NUMBERS: dict[str, tuple[list[float], list[float]]] = {
    "max_completion_tokens": ([1, 2, 10**6], [0, -2, -100]),
    "max_tokens": ([1, 2, 10**6], [0, -2, -100]),
    "n": ([1, 2, 128], [0, -1, 129]),
    "temperature": ([0, -0.0, 0.001, 1, 2, 100], [-0.001, -1, 100.001, 1e300]),
    "top_p": ([0, 0.001, 0.5, 1], [-0.001, 1.001, 2]),
    "top_k": ([-1, 0, 1, 40, 10**6], [-2, -100]),
    "top_n_sigma": ([-1, 0, 0.5, 3], [-1.001]),
    "typical_p": ([0, 0.001, 0.5, 1], [-0.001, 1.001, 2]),
    "min_p": ([0, 0.001, 0.5, 1], [-0.001, 1.001, 2]),
    "frequency_penalty": ([-2, -0.5, 0, 2], [-2.001, 2.001]),
    "presence_penalty": ([-2, -0.5, 0, 2], [-2.001, 2.001]),
    "repetition_penalty": ([0.01, 1, 1.1, 100], [0, -1, 0.009, 100.001]),
    "repeat_penalty": ([0.01, 1, 1.1, 100], [0, -1, 0.009, 100.001]),
    "repeat_last_n": ([-1, 0, 1, INT32], [-2, INT32 + 1]),
    "top_logprobs": ([0, 1, 20], [-1, 21]),
    "thinking_budget": ([0, 1, 10**6], [-2, -100]),
    "xtc_probability": ([0, 0.5, 1], [-0.001, 1.001]),
    "xtc_threshold": ([0, 0.1, 1], [-0.001, 1.001]),
    "dynatemp_range": ([0, 0.5, 100], [-0.5, 101]),
    "dynatemp_exponent": ([0, 1.5, 100], [-0.5, 101]),
    "min_tokens": ([0, 1, 100], [-1]),
    "mirostat": ([0, 1, 2], [-1, 3]),
    "mirostat_tau": ([0, 5, 100], [-0.1, 101]),
    "mirostat_eta": ([0, 0.1, 100], [-0.1, 101]),
    "dry_multiplier": ([0, 0.8, 100], [-0.1, 101]),
    "dry_base": ([1, 1.75, 100], [0, 0.99, 101]),
    "dry_allowed_length": ([0, 2, INT32], [-1, INT32 + 1]),
    "dry_penalty_last_n": ([-1, 0, 1, INT32], [-2, INT32 + 1]),
}
WHOLE = ["max_completion_tokens", "max_tokens", "n", "top_k", "repeat_last_n", "top_logprobs"]
WHOLE += ["thinking_budget", "min_tokens", "mirostat", "dry_allowed_length", "dry_penalty_last_n"]
SHARES = ("top_p", "typical_p", "min_p", "xtc_probability", "xtc_threshold")  # at most 1
NEEDS = {"top_logprobs": {"logprobs": True}}
REAL = [name for name in NUMBERS if name not in WHOLE]


def stored(got: GenerationRequest, name: str) -> Any:
    """Where the parameter ends up."""
    match name:
        case "max_completion_tokens" | "max_tokens":
            return got.max_tokens
        case "n":
            return got.choices
        case "thinking_budget":
            return got.prompt.thinking_budget
        case "repeat_penalty":
            return got.sampling.repetition_penalty
        case "top_logprobs":
            return got.sampling.logprobs
    return getattr(got.sampling, name)


def test_every_bounded_parameter_is_in_the_table() -> None:
    assert set(NUMBERS) == set(bounded(ChatRequest))


@pytest.mark.parametrize("name, given", [(name, given) for name, (inside, _) in NUMBERS.items() for given in inside])
def test_inside_the_bounds(name: str, given: float) -> None:
    meant = 0 if name in ("top_k", "top_n_sigma") and given == -1 else given
    assert stored(prompt(**{name: given}, **NEEDS.get(name, {})), name) == meant


@pytest.mark.parametrize("name, given", [(name, given) for name, (_, outside) in NUMBERS.items() for given in outside])
def test_outside_the_bounds(name: str, given: float) -> None:
    error = refusal(**{name: given})
    assert (error.param, error.code) == (name, "invalid_value")
    assert f"'{name}'" in str(error)


@pytest.mark.parametrize("name", REAL)
@pytest.mark.parametrize("given", ["nan", "inf", "-inf", "Infinity", "NaN"])
def test_what_is_not_finite(name: str, given: str) -> None:
    error = refusal(**{name: given})
    assert (error.param, error.code) == (name, "invalid_value")


@pytest.mark.parametrize("name", [*NUMBERS, "seed"])
@pytest.mark.parametrize("given", [2.0, "2", "2.0"])
def test_a_number_may_come_as_a_float_or_a_string(name: str, given: Any) -> None:
    given = given if name not in SHARES else "1" if isinstance(given, str) else 1.0
    got = stored(prompt(**{name: given}, **NEEDS.get(name, {})), name)
    assert got == float(given)
    assert type(got) is (float if name in REAL else int)


@pytest.mark.parametrize("name", [*NUMBERS, "seed"])
@pytest.mark.parametrize("given", [True, False, [], [1], {}, "", "two", "0x2"])
def test_what_is_no_number(name: str, given: Any) -> None:
    error = refusal(**{name: given})
    assert (error.param, error.code) == (name, "invalid_type")


@pytest.mark.parametrize("name", [*WHOLE, "seed"])
@pytest.mark.parametrize("given", [1.5, "1.5", "nan", "inf"])
def test_what_is_no_whole_number(name: str, given: Any) -> None:
    error = refusal(**{name: given})
    assert (error.param, error.code) == (name, "invalid_type")


@pytest.mark.parametrize("field", [f.name for f in msgspec.structs.fields(ChatRequest) if f.name != "messages"])
def test_null_is_the_same_as_nothing(field: str) -> None:
    if field == "seed":
        assert 0 <= prompt(seed=None).sampling.seed <= INT32
    else:
        assert prompt(**{field: None}) == prompt()


@pytest.mark.parametrize("power", [31, 32, 63, 64, 70, 1020, 1030, 13_000])
@pytest.mark.parametrize("name", [*NUMBERS, "seed", "logit_bias"])
def test_no_number_is_too_large(name: str, power: int) -> None:
    """It is refused by name, or it goes through to the engine, where a C int may hold it."""
    number = 2**power + 1
    fields = {name: {str(number): 1} if name == "logit_bias" else number}
    try:
        got = prompt(**fields)
    except ApiError as error:
        assert error.status == 400
        assert error.param is not None and error.param.startswith(name)
        return
    encode_work(["hi"], GenerationParams(got.sampling, got.max_tokens, got.text_bias))
    assert got.sampling.top_k <= INT32


# How much


@pytest.mark.parametrize(
    "completion, tokens, most",
    [
        (None, None, None),
        (5, None, 5),
        (None, 7, 7),
        (5, 5, 5),
        (-1, None, None),
        (None, -1, None),
        (-1, -1, None),
        (-1, 7, 7),
        (5, -1, 5),
        ("-1", None, None),
        (-1.0, None, None),
    ],
)
def test_how_many_tokens_are_wanted(completion: Any, tokens: Any, most: int | None) -> None:
    assert prompt(max_completion_tokens=completion, max_tokens=tokens).max_tokens == most


@pytest.mark.parametrize(
    "given, names",
    [
        ({"max_completion_tokens": 5, "max_tokens": 7}, ("max_tokens", "max_completion_tokens")),
        ({"repeat_penalty": 1.5, "repetition_penalty": 1.7}, ("repeat_penalty", "repetition_penalty")),
        (
            {"enable_thinking": True, "chat_template_kwargs": {"thinking": False}},
            ("chat_template_kwargs.thinking", "enable_thinking"),
        ),
        (
            {"reasoning_effort": "low", "chat_template_kwargs": {"reasoning_effort": "high"}},
            ("chat_template_kwargs.reasoning_effort", "reasoning_effort"),
        ),
        ({"reasoning_effort": "none", "enable_thinking": True}, ("enable_thinking", "reasoning_effort")),
        (
            {"reasoning_effort": "none", "chat_template_kwargs": {"thinking": True}},
            ("chat_template_kwargs.thinking", "reasoning_effort"),
        ),
        (
            {"messages": [{"role": "assistant", "content": "a", "reasoning": "b", "reasoning_content": "c"}]},
            ("messages[0].reasoning", "messages[0].reasoning_content"),
        ),
    ],
)
def test_two_names_of_one_thing_must_agree(given: dict[str, Any], names: tuple[str, str]) -> None:
    with pytest.raises(ApiError, match=r"mean the same and differ\.") as caught:
        prompt(**given)
    assert caught.value.param == names[0] and all(f"'{name}'" in str(caught.value) for name in names)


@pytest.mark.parametrize("given", [-1, 0])
def test_only_the_tokens_may_be_unlimited(given: int) -> None:
    assert refusal(n=given).param == "n"


@pytest.mark.parametrize(
    "options, wanted",
    [
        (None, False),
        ({}, False),
        ({"include_usage": None}, False),
        ({"include_usage": False}, False),
        ({"include_usage": True}, True),
        ({"include_usage": True, "x": 1}, True),
    ],
)
def test_usage_in_a_stream(options: Any, wanted: bool) -> None:
    assert reply_options.decode_chat(prompt(stream=True, stream_options=options).reply_options).include_usage is wanted


@pytest.mark.parametrize("given, meant", [(True, True), (False, False), (None, False), ("true", True), (1, True)])
def test_flags(given: Any, meant: bool) -> None:
    assert prompt(stream=given).stream is meant
    assert prompt(ignore_eos=given).sampling.ignore_eos is meant


# Stop strings, seeds, biases


@pytest.mark.parametrize(
    "given, stops",
    [
        (None, []),
        ("a", ["a"]),
        ("", []),
        ([], []),
        (["a"], ["a"]),
        (["a", "b", "a"], ["a", "b", "a"]),
        (["", "a", ""], ["a"]),
        ([""], []),
        (["\n", " ", "😀"], ["\n", " ", "😀"]),
        ([str(i) for i in range(16)], [str(i) for i in range(16)]),
    ],
)
def test_stops(given: Any, stops: list[str]) -> None:
    assert prompt(stop=given).stops == stops


def test_too_many_stops() -> None:
    error = refusal(stop=[str(i) for i in range(17)])
    assert (error.param, error.code) == ("stop", "invalid_value")
    assert "16" in str(error) and "17" in str(error)


@pytest.mark.parametrize(
    "given, seed",
    [
        (0, 0),
        (1, 1),
        (INT32, INT32),
        (2**31, 0),
        (2**31 + 5, 5),
        (2**64 + 3, 3),
        (-1, INT32),
        (-(2**31), 0),
        (-(2**64) - 1, INT32),
        ("7", 7),
        (7.0, 7),
    ],
)
def test_seeds_are_taken_modulo(given: Any, seed: int) -> None:
    assert prompt(seed=given).sampling.seed == seed


def test_without_a_seed_each_request_has_its_own() -> None:
    seeds = {prompt(seed=None).sampling.seed for _ in range(20)}
    assert len(seeds) > 15
    assert all(0 <= seed <= INT32 for seed in seeds)


@pytest.mark.parametrize(
    "given, ids, texts",
    [
        (None, {}, {}),
        ({}, {}, {}),
        ({"50256": -100}, {50256: -100.0}, {}),
        ({"0": 100, "1": 0, "2": 0.5}, {0: 100.0, 1: 0.0, 2: 0.5}, {}),
        ({"007": 1}, {7: 1.0}, {}),
        ({"5": "1.5"}, {5: 1.5}, {}),
        ({" Hello": -1, "ř": 2, "5": 3}, {5: 3.0}, {" Hello": -1.0, "ř": 2.0}),
        ({"-5": 1, "5.0": 1, "1e3": 1, "5 ": 1, "0x5": 1}, {}, {"-5": 1, "5.0": 1, "1e3": 1, "5 ": 1, "0x5": 1}),
        ({"５": 1, "²": 1, "٣": 1}, {}, {"５": 1, "²": 1, "٣": 1}),
    ],
)
def test_biases_by_id_and_by_text(given: Any, ids: dict[int, float], texts: dict[str, float]) -> None:
    got = prompt(logit_bias=given)
    assert (got.sampling.logit_bias, got.text_bias) == (ids, texts)


@pytest.mark.parametrize("key", ["5", " Hello", "ř"])
@pytest.mark.parametrize("given", [100.001, -100.001, 1e300, "nan", "inf", "-inf"])
def test_a_bias_outside_its_bounds_is_named(key: str, given: Any) -> None:
    error = refusal(logit_bias={"1": 1, key: given})
    assert (error.param, error.code) == (f"logit_bias.{key}", "invalid_value")


def test_a_bias_by_an_endless_id_is_refused() -> None:
    error = refusal(logit_bias={"9" * 5000: 1})
    assert error.param is not None and error.param.startswith("logit_bias")


def test_min_tokens_beside_max_tokens() -> None:
    assert prompt(min_tokens=5, max_tokens=5).sampling.min_tokens == 5
    for limit in ("max_tokens", "max_completion_tokens"):
        assert refusal(min_tokens=6, **{limit: 5}).param == "min_tokens"


def test_biases_as_pairs() -> None:
    """llama-server's form: a text that is a number is a text; false bans."""
    got = prompt(logit_bias=[[15, 1.5], ["15", -2], ["hi", False], [7, False], [15, 2]])
    assert got.sampling.logit_bias == {15: 2, 7: -100} and got.text_bias == {"15": -2, "hi": -100}
    assert prompt(logit_bias=[]) == prompt()
    assert prompt(logit_bias={"15": False, "hi": 3}).sampling.logit_bias == {15: -100}


@pytest.mark.parametrize(
    "given, param",
    [
        ([[1]], "logit_bias[0]"),
        ([[1, 2], [1, 2, 3]], "logit_bias[1]"),
        ([[True, 1]], "logit_bias[0]"),
        ([[1.5, 1]], "logit_bias[0]"),
        ([[1, True]], "logit_bias.1"),
        ([[1, "x"]], "logit_bias.1"),
        ([[1, 101]], "logit_bias.1"),
        ([[-1, 1]], "logit_bias.-1"),
        ([[2**31, 1]], "logit_bias.2147483648"),
        ([["", 1]], "logit_bias"),
        ({"5": True}, "logit_bias.5"),
    ],
)
def test_biases_that_are_none(given: Any, param: str) -> None:
    assert (refusal(logit_bias=given).param, refusal(logit_bias=given).code) == (param, "invalid_value")


# Samplers that not every engine knows


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_sampler_that_the_engine_does_not_know(name: str) -> None:
    known = set(SAMPLERS) - {name}
    assert getattr(prompt(**{name: 1}, samplers=[name]).sampling, name) == 1
    error = refusal(**{name: 1}, samplers=known)
    assert (error.param, error.code) == (name, "unsupported_parameter")
    for nothing in (0, None):
        assert prompt(**{name: nothing}, samplers=known).sampling == SamplingParams(seed=1)


def test_what_only_tunes_them_asks_for_nothing() -> None:
    tuned = prompt(mirostat_tau=3, dry_base=2, xtc_threshold=0.3, dynatemp_exponent=2, samplers=())
    assert tuned.sampling.mirostat == tuned.sampling.dry_multiplier == 0


def test_sequence_breakers() -> None:
    def breakers(given: Any) -> Any:
        return prompt(dry_multiplier=1, dry_sequence_breakers=given).sampling.dry_sequence_breakers

    assert breakers(None) == SamplingParams().dry_sequence_breakers
    assert breakers([]) == () and breakers(["a", "", "č" * 20]) == ("a", "č" * 20)
    for given in (["a"] * 17, ["č" * 20 + "a"], ["a\0"]):
        assert refusal(dry_sequence_breakers=given).param == "dry_sequence_breakers"
    assert refusal(dry_sequence_breakers="a").code == "invalid_type"


@pytest.mark.parametrize("name", ["top_n_sigma", "top_k", "typical_p", "top_p", "min_p", "xtc_probability"])
def test_mirostat_takes_the_place_of_the_filters(name: str) -> None:
    error = refusal(mirostat=2, **{name: 1 if name in ("top_n_sigma", "top_k") else 0.5})
    assert (error.param, error.code) == (name, "invalid_value")
    neutral = getattr(SamplingParams(), name)
    defaults = {name: 0.5} if name in NAMES else {}
    assert prompt(mirostat=2, defaults=defaults, **{name: neutral}).sampling == SamplingParams(seed=1, mirostat=2)
    assert prompt(mirostat=2, defaults=defaults).sampling == SamplingParams(seed=1, mirostat=2)


def test_mirostat_leaves_temperature_and_penalties() -> None:
    asked = {"temperature": 0.5, "presence_penalty": 1, "dry_multiplier": 2}
    assert prompt(mirostat=1, **asked).sampling == SamplingParams(seed=1, mirostat=1, **asked)


# Defaults

DEFAULTS = {
    "temperature": 0.2,
    "top_p": 0.9,
    "top_k": 40,
    "typical_p": 0.7,
    "top_n_sigma": 1.5,
    "min_p": 0.1,
    "repetition_penalty": 1.2,
    "frequency_penalty": 0.3,
    "presence_penalty": 0.4,
    "repeat_last_n": 256,
}


def test_the_models_defaults_fill_what_the_request_leaves_open() -> None:
    assert prompt(defaults=DEFAULTS).sampling == SamplingParams(seed=1, **DEFAULTS)
    assert prompt(defaults={"temperature": 0.2}).sampling == SamplingParams(seed=1, temperature=0.2)


@pytest.mark.parametrize("name", DEFAULTS)
def test_null_leaves_it_open(name: str) -> None:
    assert prompt(defaults=DEFAULTS, **{name: None}).sampling == SamplingParams(seed=1, **DEFAULTS)


@pytest.mark.parametrize(
    "name, given",
    [
        ("temperature", 0),
        ("temperature", 1),
        ("top_p", 0),
        ("top_p", 1),
        ("top_k", 0),
        ("top_k", 7),
        ("min_p", 0),
        ("typical_p", 1),
        ("top_n_sigma", 0),
        ("repetition_penalty", 1),
        ("frequency_penalty", 0),
        ("presence_penalty", 0),
        ("repeat_last_n", 0),
        ("repeat_last_n", -1),
    ],
)
def test_the_request_wins_even_with_zero(name: str, given: float) -> None:
    assert prompt(defaults=DEFAULTS, **{name: given}).sampling == SamplingParams(seed=1, **{**DEFAULTS, name: given})


def test_top_k_of_minus_one_switches_the_models_default_off() -> None:
    assert prompt(defaults=DEFAULTS, top_k=-1).sampling.top_k == 0
    assert prompt(defaults=DEFAULTS, top_n_sigma=-1).sampling.top_n_sigma == 0


def test_repeat_penalty_is_the_other_name_of_repetition_penalty() -> None:
    assert prompt(defaults=DEFAULTS, repeat_penalty=1.5).sampling.repetition_penalty == 1.5
    assert prompt(repeat_penalty=1.5, repetition_penalty=1.5).sampling.repetition_penalty == 1.5
    assert prompt(repeat_penalty=1.5, repetition_penalty=None).sampling.repetition_penalty == 1.5


def test_logit_biases_are_not_shared() -> None:
    prompt(logit_bias={"1": 1})
    assert prompt().sampling.logit_bias == {}


# Messages

ROLES = ["system", "developer", "user", "assistant", "tool"]


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize(
    "given, text",
    [
        ("", ""),
        ("hi", "hi"),
        (" \n", " \n"),
        (None, ""),
        ([], ""),
        ([""], ""),
        (["a"], "a"),
        (["a", "b"], "a\nb"),
        ({"type": "text", "text": "a"}, "a"),
        ({"text": "a", "type": "text"}, "a"),
        ({"text": "a"}, "a"),
        ([{"type": "text", "text": "a"}], "a"),
        ([{"type": "text", "text": ""}], ""),
        ([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}], "a\nb"),
        ([{"type": "input_text", "text": "a"}, "b", {"type": "output_text", "text": "c"}, {"text": "d"}], "a\nb\nc\nd"),
        ([{"type": "refusal", "refusal": "No."}], "No."),
        ({"type": "refusal", "refusal": "No.", "text": "yes"}, "No."),
        ([{"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}, "x": [1]}], "a"),
    ],
)
def test_every_form_of_content_on_every_role(role: str, given: Any, text: str) -> None:
    assert content(given, role) == text


@pytest.mark.parametrize("role", ROLES)
def test_content_may_be_missing(role: str) -> None:
    assert messages_of({"role": role}) == [{"role": role, "content": ""}]


def test_a_part_whose_type_is_null_is_text() -> None:
    """Every optional field takes null, and a part without a type is text."""
    assert content([{"type": None, "text": "a"}]) == "a"


@pytest.mark.parametrize("role", ["", "User", "user ", "functions", "bot", "system\n"])
def test_unknown_roles_are_refused_by_place(role: str) -> None:
    error = refusal(USER, {"role": role, "content": "a"})
    assert (error.param, error.code) == ("messages[1].role", "invalid_value")
    assert f"'{role}'" in str(error) and "developer" in str(error)


def test_at_least_one_message() -> None:
    error = refusal(messages=[])
    assert (error.param, error.code) == ("messages", "invalid_value")


@pytest.mark.parametrize(
    "type",
    ["image_url", "input_image", "input_audio", "file", "input_file", "video_url", "video", "thinking", "", "Text"],
)
@pytest.mark.parametrize("in_list", [True, False])
def test_a_part_that_is_no_text_is_refused_by_place(type: str, in_list: bool) -> None:
    part = {"type": type, type: {"url": "data:image/png;base64,AAAA"}, "text": "a"}
    given = ["a", part] if in_list else part
    error = refusal(USER, USER, {"role": "user", "content": given})
    assert error.param == ("messages[2].content[1].type" if in_list else "messages[2].content.type")
    assert error.code in ("invalid_value", "unsupported_content")
    assert f"'{type}'" in str(error)


@pytest.mark.parametrize(
    "part, missing",
    [
        ({"type": "text"}, "text"),
        ({"type": "text", "text": None}, "text"),
        ({"type": "input_text", "content": "a"}, "text"),
        ({}, "text"),
        ({"type": "refusal"}, "refusal"),
        ({"type": "refusal", "text": "a"}, "refusal"),
    ],
)
def test_a_part_without_its_text_is_refused_by_place(part: Any, missing: str) -> None:
    error = refusal(USER, {"role": "assistant", "content": ["a", part]})
    assert (error.param, error.code) == (f"messages[1].content[1].{missing}", "missing_required_parameter")


def test_names_and_ids_come_along() -> None:
    messages = [
        {"role": "user", "content": "a", "name": "Jan"},
        {"role": "tool", "content": "42", "tool_call_id": "call_1", "name": ""},
    ]
    assert messages_of(*messages) == messages


def test_what_a_message_does_not_say_is_not_there() -> None:
    message = {"role": "assistant", "content": "a", "name": None, "tool_calls": None, "tool_call_id": None}
    assert messages_of(message) == messages_of({**message, "tool_calls": []})
    assert messages_of(message) == [{"role": "assistant", "content": "a"}]


def test_order_and_number_of_messages_stay() -> None:
    messages = [{"role": role, "content": str(i)} for i, role in enumerate(ROLES * 3)]
    assert messages_of(*messages) == messages


# Tool calls in the history


def arguments(given: Any) -> Any:
    """What the template gets for a call with these arguments."""
    call = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": given}, "index": 0}
    (message,) = messages_of({"role": "assistant", "content": None, "tool_calls": [call]})
    (got,) = message["tool_calls"]
    assert {**got, "function": {**got["function"], "arguments": given}} == call
    return got["function"]["arguments"]


@pytest.mark.parametrize(
    "given, meant",
    [
        ("{}", {}),
        ('{"a": [1, {"b": null}], "ř": "😀"}', {"a": [1, {"b": None}], "ř": "😀"}),
        (' {"a": 1.5}\n', {"a": 1.5}),
        ({"a": 1}, {"a": 1}),
        ({}, {}),
        (None, None),
    ],
)
def test_arguments_come_as_an_object(given: Any, meant: Any) -> None:
    assert arguments(given) == meant


@pytest.mark.parametrize(
    "given", ["", " ", "{", '{"a": 1', '{"a": 1,}', "{'a': 1}", "hello", '{"a": 1} {"b": 2}', "\0"]
)
def test_malformed_arguments_stay_as_they_are(given: str) -> None:
    assert arguments(given) == given


@pytest.mark.parametrize("given", ["null", "5", '"a"', "[1]", "true", "9" * 5000])
def test_arguments_that_are_no_object_stay_as_they_are(given: str) -> None:
    assert arguments(given) == given


@pytest.mark.parametrize("given", ['{"a": NaN}', '{"a": -Infinity}', "NaN", '{"a": 1e999}'])
def test_arguments_beyond_json_stay_as_they_are(given: str) -> None:
    assert arguments(given) == given


def test_half_a_character_in_arguments_can_be_sent_on() -> None:
    """No template may get a string that cannot be encoded."""
    json.dumps(arguments(r'{"a": "\ud83d"}'), ensure_ascii=False).encode()


@pytest.mark.parametrize("levels", [500, 2_000, 100_000])
@pytest.mark.parametrize("brackets", ["[]", '{"a":}'])
def test_endless_nesting_in_arguments_does_no_harm(levels: int, brackets: str) -> None:
    given = '{"a":' + brackets[:-1] * levels + "1" + brackets[-1] * levels + "}"
    try:
        got = arguments(given)
    except ApiError as error:
        assert error.status == 400
    else:
        assert got == given or isinstance(got, dict)


@pytest.mark.parametrize(
    "call, where",
    [
        ({}, "function"),
        ({"id": "a"}, "function"),
        ({"function": None}, "function"),
        ({"function": "f"}, "function"),
        ({"function": {}}, "function.name"),
        ({"function": {"name": 5}}, "function.name"),
        ({"function": {"name": "f", "arguments": 5}}, "function.arguments"),
        ({"type": "custom", "custom": {"name": "f", "input": "{}"}}, "function"),
        ({"id": 5, "function": {"name": "f"}}, "id"),
        ({"id": ["a"], "function": {"name": "f"}}, "id"),
    ],
)
def test_odd_calls_are_refused_by_place(call: Any, where: str) -> None:
    error = refusal({"role": "assistant", "tool_calls": [call]})
    assert (error.param, error.code) == (f"messages[0].tool_calls[0].{where}", "invalid_value")


@pytest.mark.parametrize("call", [{"function": {"name": "f"}}, {"function": {"name": "f", "arguments": None}}])
def test_calls_without_arguments_stay_as_they_are(call: Any) -> None:
    (message,) = messages_of({"role": "assistant", "tool_calls": [call]}, USER)[:1]
    assert message["tool_calls"] == [{"type": "function", **call}]
    assert message["content"] == ""


def test_calls_in_both_forms_are_refused() -> None:
    function = {"name": "f", "arguments": "{}"}
    error = refusal({"role": "assistant", "function_call": function, "tool_calls": [{"id": "a", "function": function}]})
    assert error.param == "messages[0].function_call"


@pytest.mark.parametrize("given", [{}, {"type": None}])
def test_a_tool_is_a_function(given: Any) -> None:
    tools = prompt(tools=[{**given, "function": {"name": "f"}}]).prompt.tools
    assert tools.offered == [{"type": "function", "function": {"name": "f"}}]


@pytest.mark.parametrize("given", [{}, {"type": None}])
def test_a_call_is_of_a_function(given: Any) -> None:
    (message,) = messages_of({"role": "assistant", "tool_calls": [{**given, "function": {"name": "f"}}]}, USER)[:1]
    assert message["tool_calls"] == [{"type": "function", "function": {"name": "f"}}]


def test_the_request_is_not_changed() -> None:
    call = {"function": {"name": "f", "arguments": '{"a": 1}'}}
    body = json.dumps({"messages": [{"role": "assistant", "tool_calls": [call]}], "stop": ["a", ""]}).encode()
    request, again = (json_body.decode(body, ChatRequest)[0] for _ in range(2))
    parse_chat(request, NOTHING)
    assert request == again


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"type": "content", "content": "as it was"}, "as it was"),
        ({"content": [{"type": "text", "text": "as "}, {"type": "text", "text": "it was"}]}, "as it was"),
        ({"type": "content", "content": ""}, ""),
        (None, None),
    ],
)
def test_predictions(given: Any, text: str | None) -> None:
    assert prompt(prediction=given).prediction == text


def test_a_prediction_of_another_type_is_refused() -> None:
    assert refusal(prediction={"type": "image", "content": "a"}).param == "prediction.type"
    assert (
        refusal(prediction={"type": "content", "content": [{"type": "image_url"}]}).param
        == "prediction.content[0].type"
    )


def test_an_effort_of_none_sets_the_switches_alone() -> None:
    """A template that knows efforts only has no use for it, and the reply says so."""
    conversation = prompt(reasoning_effort="none").prompt
    assert isinstance(conversation, Conversation)
    assert conversation.variables_set_by == {"reasoning_effort": ["enable_thinking", "thinking"]}
    assert set(conversation.variables) == {"enable_thinking", "thinking"}


@pytest.mark.parametrize(
    ("given", "param"), [([1, -5], "prompt[1]"), ([[1], [2, -5]], "prompt[1]"), ([[-5]], "prompt[0]")]
)
def test_a_wrong_token_id_is_named_by_its_place(given: Any, param: str) -> None:
    request, *_ = json_body.decode(json.dumps({"prompt": given}).encode(), CompletionRequest)
    with pytest.raises(ApiError) as caught:
        parse_completion(request, NOTHING)
    assert caught.value.param == param


def test_errors_call_functions_what_the_request_calls_them() -> None:
    functions = [{"name": "f", "parameters": {"type": "object"}}]
    assert prompt(functions=functions).param("tools") == "functions"
    assert prompt(tools=[{"type": "function", "function": functions[0]}]).param("tools") == "tools"
