"""A request of chat or text completions becomes a `GenerationRequest`: all is checked, and no default is missing."""

from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import Any, TypeVar

from msgspec.structs import replace

from nitro.api import json_body, prefix_cache
from nitro.api.openai import lora, open_names, reply_options
from nitro.api.openai.breakpoints import parse_breakpoints
from nitro.api.openai.constraints import parse_constraint
from nitro.api.openai.logit_bias import parse_bias
from nitro.api.openai.messages import ContentReader, parse_content, parse_messages
from nitro.api.openai.model_name import seconds_of, tier_of
from nitro.api.openai.reply_options import ChatReplyOptions, CompletionReplyOptions
from nitro.api.openai.requests import (
    MAX_STOP_TOKENS,
    MAX_STOPS,
    REASONING_FORMATS,
    ChatRequest,
    CommonRequest,
    CompletionRequest,
    Prediction,
)
from nitro.api.openai.sampling import parse_sampling, without_effect
from nitro.api.openai.tools import parse_tools, uses_functions
from nitro.engines.sampling_defaults import SamplingDefaults
from nitro.engines.sampling_params import INT32
from nitro.engines.types import MediaInfo
from nitro.errors import ApiError
from nitro.models.setup import ModelSetup
from nitro.parameters import NO_LIMIT, check_count, check_request
from nitro.service import ignored_parameters
from nitro.service.requests import Conversation, GenerationRequest, Texts

R = TypeVar("R", bound=CommonRequest)

THINKING = ("enable_thinking", "thinking")  # the switch, as templates call it
# by the parameter: the variables of the template that it sets
VARIABLES = {"enable_thinking": THINKING, "reasoning_effort": ("reasoning_effort", *THINKING)}
RESERVED_VARIABLES = ("messages", "tools", "add_generation_prompt")  # chat_template_kwargs cannot set them
MAX_SEQUENCES = 1024  # of one request
MAX_STOP_CHARS = 1000


def read_chat(body: bytes, setup: ModelSetup) -> GenerationRequest:
    """The Reader of `POST /v1/chat/completions`. Raises ApiError 400 with `param`."""
    return read(json_body.decode(body, ChatRequest), chat_parser(setup), setup)


def read_completion(body: bytes, setup: ModelSetup) -> GenerationRequest:
    """The Reader of `POST /v1/completions`. Raises ApiError 400 with `param`."""
    return read(json_body.decode(body, CompletionRequest), parse_completion, setup)


def chat_parser(setup: ModelSetup) -> Callable[[ChatRequest, SamplingDefaults, Collection[str]], GenerationRequest]:
    """`parse_chat` for a model."""
    return partial(parse_chat, media=setup.info.media)


def read(
    decoded: json_body.Decoded[R],
    parse: Callable[[R, SamplingDefaults, Collection[str]], GenerationRequest],
    setup: ModelSetup,
) -> GenerationRequest:
    """Parse a request, with the names without effect, and the client's own names for parameters."""
    request, told, given = decoded
    try:
        told = told + open_names.told(request)
        parsed = parse(request, setup.sampling, setup.info.samplers)
    except ApiError as error:
        raise error.renamed(given) if given else error from None
    inert = without_effect(request, setup.info.samplers)
    parsed = replace(parsed, ignored=[*told, *(ignored_parameters.escaped(given.get(name, name)) for name in inert)])
    return with_given(parsed, given) if given else parsed


def with_given(parsed: GenerationRequest, given: Mapping[str, str]) -> GenerationRequest:
    """The request with the client's names for what may prove wrong, or without effect, later."""
    constraint, prompt = parsed.constraint, parsed.prompt
    if constraint:
        constraint = replace(constraint, param=given.get(constraint.param, constraint.param))
    if isinstance(prompt, Conversation):
        set_by = {given.get(name, name): variables for name, variables in prompt.variables_set_by.items()}
        prompt = replace(prompt, variables_set_by=set_by)
    return replace(parsed, constraint=constraint, prompt=prompt, param_names={**parsed.param_names, **given})


def parse_chat(
    request: ChatRequest,
    defaults: SamplingDefaults,
    samplers: Collection[str] = (),
    media: MediaInfo | None = None,
) -> GenerationRequest:
    """Check everything that needs no engine. Raises ApiError 400 with `param`.

    `defaults`: the model's own. `samplers`: those of SAMPLERS that the engine has. `media`: which it takes.
    """
    check_request(request)
    if request.top_logprobs and not request.logprobs:
        raise ApiError.invalid("top_logprobs", "'logprobs' to be true where it is given")
    logprobs = (request.top_logprobs or 0) if request.logprobs else None
    reader = ContentReader(media)
    messages = parse_messages(request.messages, reader)
    max_tokens = _parse_max_tokens(request)
    check_min_tokens(request.min_tokens, max_tokens)
    conversation = Conversation(
        messages=messages,
        media=reader.media,
        tools=parse_tools(request),
        variables=parse_variables(request),
        variables_set_by=variables_set_by(request),
        thinking_budget=unlimited(request.thinking_budget),
        continues=_parse_continues(request, messages),
    )
    options = ChatReplyOptions(
        **_reply_options(request, logprobs),
        legacy_functions=uses_functions(request),
        both_reasonings=_parse_reasoning_format(request.reasoning_format),
        hides_reasoning=_parse_hides_reasoning(request),
    )
    return GenerationRequest(
        prompt=conversation,
        max_tokens=max_tokens,
        choices=_first(request.n, 1),
        prefix_breakpoints=parse_breakpoints(request),
        reply_options=reply_options.encode(options),
        param_names={"prompt": "messages"} | ({"tools": "functions"} if uses_functions(request) else {}),
        **parse_common(request, defaults, samplers, logprobs),
    )


def _parse_max_tokens(request: ChatRequest) -> int | None:
    new, old = unlimited(request.max_completion_tokens), unlimited(request.max_tokens)
    if None not in (new, old) and new != old:
        raise ApiError.same("max_tokens", "max_completion_tokens")
    return old if new is None else new


def parse_completion(
    request: CompletionRequest, defaults: SamplingDefaults, samplers: Collection[str] = ()
) -> GenerationRequest:
    """The same for text completions: see `parse_chat`."""
    check_request(request)
    max_tokens = unlimited(request.max_tokens)
    check_min_tokens(request.min_tokens, max_tokens)
    prompts = _parse_prompts(request.prompt)
    n = _first(request.n, 1)
    best_of = _parse_best_of(request, n)
    if len(prompts) * best_of > MAX_SEQUENCES:
        raise ApiError.invalid("prompt", f"at most {MAX_SEQUENCES} choices in all, got {len(prompts) * best_of}")
    echo = bool(request.echo)
    suffix = request.suffix or ""
    if suffix and (echo or not all(isinstance(text, str) for text in prompts)):
        raise ApiError.invalid("suffix", "a prompt that is a text, and no 'echo'")
    common = parse_common(request, defaults, samplers, request.logprobs)
    sampling = replace(common["sampling"], prompt_logprobs=echo and request.logprobs is not None)
    if best_of > n and sampling.logprobs is None:
        sampling = replace(sampling, logprobs=0)  # they show which answers are the best
    options = CompletionReplyOptions(
        **_reply_options(request, request.logprobs), n=n, best_of=best_of, prompts=prompts if echo else []
    )
    return GenerationRequest(
        prompt=Texts(texts=prompts, suffix=suffix, echo=echo),
        max_tokens=max_tokens,
        choices=best_of,
        reply_options=reply_options.encode(options),
        **{**common, "sampling": sampling},
    )


def _parse_best_of(request: CompletionRequest, n: int) -> int:
    best_of: int = _first(request.best_of, n)
    if best_of < n:
        raise ApiError.invalid("best_of", f"at least n, which is {n}, got {best_of}")
    if best_of > n and request.stream:
        raise ApiError.invalid("best_of", f"n, which is {n}, where 'stream' is true: the best is known at the end only")
    return best_of


def _parse_prompts(prompt: str | list[str | int | list[int]]) -> list[str | list[int]]:
    if isinstance(prompt, str):
        return [prompt]
    kinds = {type(part) for part in prompt}
    if len(kinds) != 1:
        raise ApiError.invalid("prompt", "a text, token ids, a list of texts or a list of lists of token ids")
    for i, part in enumerate(prompt):
        tokens = [part] if isinstance(part, int) else part if isinstance(part, list) else []
        if any(not 0 <= token <= INT32 for token in tokens):
            raise ApiError.invalid(f"prompt[{i}]", "token ids")
    return [prompt] if kinds == {int} else prompt  # type: ignore[list-item, return-value]


def parse_common(
    request: CommonRequest, defaults: SamplingDefaults, samplers: Collection[str], logprobs: int | None
) -> dict[str, Any]:
    """The fields of GenerationRequest that both kinds of request set in the same way."""
    bias, text_bias = parse_bias(request.logit_bias or {})
    sampling = parse_sampling(request, defaults, bias, samplers)
    stream_options = request.stream_options
    cached = prefix_cache.parse_whole(
        request.prompt_cache_key, request.prompt_cache_retention, request.prompt_cache_options, request.cache_control
    )
    return {
        "model": request.model,
        "sampling": replace(sampling, logprobs=logprobs),
        "text_bias": text_bias,
        "stops": parse_stops(request.stop),
        "stop_tokens": _parse_stop_tokens(request),
        "keep_stop": bool(request.include_stop_str_in_output),
        "stream": bool(request.stream),
        "keep_alive": seconds_of(request.keep_alive),
        "constraint": parse_constraint(request),
        "prediction": _parse_prediction(request.prediction),
        "use_cache": request.cache_prompt is not False,
        "lora": lora.parse(request.lora),
        "prefix_key": cached.key,
        "prefix_seconds": cached.seconds,
        "tier": tier_of(request.service_tier),
        "progress": bool(request.timings_per_token or (stream_options and stream_options.continuous_usage_stats)),
    }


def _reply_options(request: CommonRequest, logprobs: int | None) -> dict[str, Any]:
    """The fields of ReplyOptions."""
    stream_options = request.stream_options
    return {
        "include_usage": bool(stream_options and stream_options.include_usage),
        "continuous_usage": bool(stream_options and stream_options.continuous_usage_stats),
        "continuous_timings": bool(request.timings_per_token),
        "return_tokens": bool(request.return_tokens),
        "logprobs": logprobs,
    }


def check_min_tokens(min_tokens: int | None, max_tokens: int | None) -> None:
    """Raises ApiError where an answer could not have so many."""
    if min_tokens is not None and max_tokens is not None and min_tokens > max_tokens:
        raise ApiError.invalid("min_tokens", f"at most max_tokens, which is {max_tokens}, got {min_tokens}")


def parse_stops(stop: str | list[str] | None) -> list[str]:
    """Stop strings, without empty ones. Raises ApiError 400."""
    stops = [stop] if isinstance(stop, str) else stop or []
    check_count("stop", stops, MAX_STOPS, "strings")
    if any(len(stop) > MAX_STOP_CHARS for stop in stops):
        raise ApiError.invalid("stop", f"strings of at most {MAX_STOP_CHARS} characters")
    return [s for s in stops if s]


def _parse_stop_tokens(request: CommonRequest) -> list[int]:
    """min_tokens keeps the model from its own end only, so the two are not taken together."""
    tokens = request.stop_token_ids or []
    check_count("stop_token_ids", tokens, MAX_STOP_TOKENS, "tokens")
    for i, token in enumerate(tokens):
        if not 0 <= token <= INT32:
            raise ApiError.invalid(f"stop_token_ids[{i}]", "a token id")
    if tokens and request.min_tokens:
        raise ApiError.invalid("stop_token_ids", "nothing beside 'min_tokens', which does not keep them back")
    return tokens


def _parse_prediction(prediction: Prediction | None) -> str | None:
    if prediction is None:
        return None
    if prediction.type not in ("content", None):
        raise ApiError.invalid("prediction.type", f"'content', got '{prediction.type}'")
    return "".join(parse_content(prediction.content, "prediction.content"))


def parse_variables(request: ChatRequest) -> dict[str, Any]:
    """The variables of the chat template. Qwen's templates call the switch `enable_thinking`, DeepSeek's and Granite's
    `thinking`."""
    effort = request.reasoning_effort
    thinks = request.enable_thinking
    if thinks is None and (effort == "none" or request.thinking_budget == 0):
        thinks = False
    elif thinks is None and effort:
        thinks = True
    variables: dict[str, Any] = {} if thinks is None else dict.fromkeys(THINKING, thinks)
    if effort and effort != "none":
        variables["reasoning_effort"] = effort
    others = request.chat_template_kwargs or {}
    for name in others:
        if name in RESERVED_VARIABLES:
            raise ApiError.invalid(
                f"chat_template_kwargs.{name}", "a variable of the template, not what the request itself gives"
            )
    _check_switches(request, others)
    return variables | others


def _check_switches(request: ChatRequest, others: Mapping[str, Any]) -> None:
    """Raises ApiError where a parameter and a variable of the template that mean the same differ."""
    for ours, names in (("enable_thinking", THINKING), ("reasoning_effort", ("reasoning_effort",))):
        value = getattr(request, ours)
        for name in names:
            if value is not None and others.get(name, value) != value:
                raise ApiError.same(f"chat_template_kwargs.{name}", ours)
    if request.reasoning_effort == "none":
        on = [f"chat_template_kwargs.{name}" for name in THINKING if others.get(name)]
        on += ["enable_thinking"] if request.enable_thinking else []
        if on:
            raise ApiError.same(on[0], "reasoning_effort")


def variables_set_by(request: ChatRequest) -> dict[str, list[str]]:
    """By the request's parameter: the variables of the chat template that it sets."""
    set_by = {name: list(sets) for name, sets in VARIABLES.items() if getattr(request, name) is not None}
    if request.reasoning_effort == "none":
        set_by["reasoning_effort"] = list(THINKING)
    return set_by | {f"chat_template_kwargs.{name}": [name] for name in request.chat_template_kwargs or {}}


def _parse_reasoning_format(value: str | None) -> bool:
    if value not in (None, *REASONING_FORMATS):
        raise ApiError.invalid(
            "reasoning_format", f"one of {', '.join(REASONING_FORMATS)}: reasoning is never in the content"
        )
    return value == "both"


def _parse_hides_reasoning(request: ChatRequest) -> bool:
    hides = request.include_reasoning is False
    if hides and (request.logprobs or request.return_tokens):
        expected = "true beside 'logprobs' and 'return_tokens', which show the reasoning's tokens"
        raise ApiError.invalid("include_reasoning", expected)
    return hides


def _parse_continues(request: ChatRequest, messages: list[dict[str, Any]]) -> bool:
    can = messages[-1]["role"] == "assistant" and not messages[-1].get("tool_calls")
    if request.continue_final_message and not can:
        raise ApiError.invalid("continue_final_message", "the last message to be the assistant's, without tool calls")
    return can and request.continue_final_message is not False


def unlimited(value: int | None) -> int | None:
    """A number of tokens. None: no limit."""
    return None if value is None or value == NO_LIMIT else min(value, INT32)


def _first(*values: Any) -> Any:
    return next((v for v in values if v is not None), None)
