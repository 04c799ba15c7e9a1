"""A decoded request becomes a `ChatPrompt` or a `CompletionPrompt`: all is checked, and no default is missing."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from msgspec.structs import replace

from nitro.api.openai.constraints import parse_constraint
from nitro.api.openai.logit_bias import parse_bias
from nitro.api.openai.messages import parse_content, parse_messages
from nitro.api.openai.requests import (
    MAX_STOPS,
    REASONING_FORMATS,
    ChatRequest,
    CompletionRequest,
    GenerationRequest,
    Prediction,
)
from nitro.api.openai.sampling import parse_sampling
from nitro.api.openai.tools import Tools, parse_tools
from nitro.engines.sampling_defaults import SamplingDefaults
from nitro.engines.sampling_params import INT32, SamplingParams
from nitro.engines.types import Constraint
from nitro.errors import ApiError
from nitro.parameters import NO_LIMIT, check_count, check_request

RESERVED_VARIABLES = ("messages", "tools", "add_generation_prompt")  # chat_template_kwargs cannot set them
MAX_SEQUENCES = 1024  # of one request
MAX_STOP_CHARS = 1000


@dataclass(frozen=True, slots=True)
class Prompt:
    """What chat and text completions have in common, checked."""

    sampling: SamplingParams
    text_bias: dict[str, float]
    max_tokens: int | None  # None: what is left of the context
    n: int
    stops: list[str]
    stream: bool
    include_usage: bool
    constraint: Constraint | None
    prediction: str | None
    cache: bool  # whether it may use what was computed before
    return_tokens: bool
    timings_per_token: bool


@dataclass(frozen=True, slots=True)
class ChatPrompt(Prompt):
    """A chat completion, checked."""

    messages: list[dict[str, Any]]  # as chat templates want them: role and content, both strings, and other keys
    tools: Tools | None  # None: none may be called
    variables: dict[str, Any]  # for the chat template
    thinking_budget: int | None  # tokens
    both_reasonings: bool  # as `reasoning_content` and as `reasoning`
    continues: bool  # the answer continues the last message, which is the assistant's


@dataclass(frozen=True, slots=True)
class CompletionPrompt(Prompt):
    """A text completion, checked."""

    prompts: list[str | list[int]]
    best_of: int
    echo: bool
    suffix: str  # the text after the answer, the same for each prompt


def parse_chat(
    request: ChatRequest, defaults: SamplingDefaults, samplers: Collection[str] = (), between: str = "\n"
) -> ChatPrompt:
    """Check everything that needs no engine. Raises ApiError 400 with `param`.

    `defaults`: the model's own. `samplers`: those of SAMPLERS that the engine has. `between` joins the texts of one
    content.
    """
    check_request(request)
    if request.top_logprobs and not request.logprobs:
        raise ApiError.invalid("top_logprobs", "'logprobs' to be true where it is given")
    logprobs = (request.top_logprobs or 0) if request.logprobs else None
    messages = parse_messages(request.messages, between)
    max_tokens = _first(_unlimited(request.max_completion_tokens), _unlimited(request.max_tokens))
    _check_min_tokens(request.min_tokens, max_tokens)
    return ChatPrompt(
        messages=messages,
        tools=parse_tools(request),
        variables=_parse_variables(request),
        thinking_budget=_unlimited(request.thinking_budget),
        both_reasonings=_parse_reasoning_format(request.reasoning_format),
        continues=_parse_continues(request, messages),
        max_tokens=max_tokens,
        n=_first(request.n, 1),
        **_parse_common(request, defaults, samplers, logprobs),
    )


def parse_completion(
    request: CompletionRequest, defaults: SamplingDefaults, samplers: Collection[str] = ()
) -> CompletionPrompt:
    """The same for text completions: see `parse_chat`."""
    check_request(request)
    max_tokens = _unlimited(request.max_tokens)
    _check_min_tokens(request.min_tokens, max_tokens)
    prompts = _parse_prompts(request.prompt)
    n = _first(request.n, 1)
    best_of = _first(request.best_of, n)
    if best_of < n:
        raise ApiError.invalid("best_of", f"at least n, which is {n}, got {best_of}")
    if best_of > n and request.stream:
        raise ApiError.invalid("best_of", f"n, which is {n}, where 'stream' is true: the best is known at the end only")
    if len(prompts) * best_of > MAX_SEQUENCES:
        raise ApiError.invalid("prompt", f"at most {MAX_SEQUENCES} choices in all, got {len(prompts) * best_of}")
    echo = bool(request.echo)
    suffix = request.suffix or ""
    if suffix and (echo or not all(isinstance(text, str) for text in prompts)):
        raise ApiError.invalid("suffix", "a prompt that is a text, and no 'echo'")
    common = _parse_common(request, defaults, samplers, request.logprobs)
    common["sampling"] = replace(common["sampling"], prompt_logprobs=echo and request.logprobs is not None)
    common |= {"n": n, "best_of": best_of, "echo": echo, "suffix": suffix}
    return CompletionPrompt(prompts=prompts, max_tokens=max_tokens, **common)


def _parse_prompts(prompt: str | list[str | int | list[int]]) -> list[str | list[int]]:
    if isinstance(prompt, str):
        return [prompt]
    kinds = {type(part) for part in prompt}
    if len(kinds) != 1:
        raise ApiError.invalid("prompt", "a text, token ids, a list of texts or a list of lists of token ids")
    if kinds == {int}:
        prompt = [prompt]  # type: ignore[list-item]
    for i, part in enumerate(prompt):
        if isinstance(part, list) and any(not 0 <= token <= INT32 for token in part):
            raise ApiError.invalid(f"prompt[{i}]", "token ids")
    return prompt  # type: ignore[return-value]


def _parse_common(
    request: GenerationRequest, defaults: SamplingDefaults, samplers: Collection[str], logprobs: int | None
) -> dict[str, Any]:
    """The fields of Prompt that both kinds of request set in the same way."""
    bias, text_bias = parse_bias(request.logit_bias or {})
    sampling = parse_sampling(request, defaults, bias, samplers)
    return {
        "sampling": replace(sampling, logprobs=logprobs),
        "text_bias": text_bias,
        "stops": _parse_stops(request.stop),
        "stream": bool(request.stream),
        "include_usage": bool(request.stream_options and request.stream_options.include_usage),
        "constraint": parse_constraint(request),
        "prediction": _parse_prediction(request.prediction),
        "cache": request.cache_prompt is not False,
        "return_tokens": bool(request.return_tokens),
        "timings_per_token": bool(request.timings_per_token),
    }


def _check_min_tokens(min_tokens: int | None, max_tokens: int | None) -> None:
    if min_tokens is not None and max_tokens is not None and min_tokens > max_tokens:
        raise ApiError.invalid("min_tokens", f"at most max_tokens, which is {max_tokens}, got {min_tokens}")


def _parse_stops(stop: str | list[str] | None) -> list[str]:
    stops = [stop] if isinstance(stop, str) else stop or []
    check_count("stop", stops, MAX_STOPS, "strings")
    if any(len(stop) > MAX_STOP_CHARS for stop in stops):
        raise ApiError.invalid("stop", f"strings of at most {MAX_STOP_CHARS} characters")
    return [s for s in stops if s]


def _parse_prediction(prediction: Prediction | None) -> str | None:
    if prediction is None:
        return None
    if prediction.type not in ("content", None):
        raise ApiError.invalid("prediction.type", f"'content', got '{prediction.type}'")
    return parse_content(prediction.content, "prediction.content", between="")


def _parse_variables(request: ChatRequest) -> dict[str, Any]:
    """The variables of the chat template. Qwen's templates call the switch `enable_thinking`, DeepSeek's and Granite's
    `thinking`."""
    effort = request.reasoning_effort
    thinks = request.enable_thinking
    if thinks is None and (effort == "none" or request.thinking_budget == 0):
        thinks = False
    elif thinks is None and effort:
        thinks = True
    variables: dict[str, Any] = {} if thinks is None else {"enable_thinking": thinks, "thinking": thinks}
    if effort and effort != "none":
        variables["reasoning_effort"] = effort
    others = request.chat_template_kwargs or {}
    for name in others:
        if name in RESERVED_VARIABLES:
            raise ApiError.invalid(
                f"chat_template_kwargs.{name}", "a variable of the template, not what the request itself gives"
            )
    return variables | others


def _parse_reasoning_format(value: str | None) -> bool:
    if value not in (None, *REASONING_FORMATS):
        raise ApiError.invalid(
            "reasoning_format", f"one of {', '.join(REASONING_FORMATS)}: reasoning is never in the content"
        )
    return value == "both"


def _parse_continues(request: ChatRequest, messages: list[dict[str, Any]]) -> bool:
    can = messages[-1]["role"] == "assistant" and not messages[-1].get("tool_calls")
    if request.continue_final_message and not can:
        raise ApiError.invalid("continue_final_message", "the last message to be the assistant's, without tool calls")
    return can and request.continue_final_message is not False


def _unlimited(value: int | None) -> int | None:
    return None if value is None or value == NO_LIMIT else min(value, INT32)


def _first(*values: Any) -> Any:
    return next((v for v in values if v is not None), None)
