"""Parse, don't validate: a decoded request becomes a `ChatPrompt` or a `CompletionPrompt`, in which nothing is optional
or unchecked."""

import math
from collections.abc import Collection, Iterator, Mapping, Sized
from dataclasses import dataclass
from typing import Any

import msgspec
from msgspec.structs import replace

from nitro.api.openai.constraints import parse_constraint
from nitro.api.openai.sampling import SAMPLING_BOUNDS, parse_sampling
from nitro.api.openai.schema import ChatRequest, CompletionRequest, GenerationRequest, Message, Part, Prediction
from nitro.api.openai.tools import MOST_TOOLS, Tools, parse_tools
from nitro.engines.sampling_defaults import SamplingDefaults
from nitro.engines.types import Constraint, SamplingParams
from nitro.errors import ApiError

ROLES = ("system", "developer", "user", "assistant", "tool", "function")
REASONING_FORMATS = ("auto", "deepseek", "both")
TEXT_PARTS = ("text", "input_text", "output_text")
MEDIA_PARTS = ("image_url", "input_image", "input_audio", "file", "input_file", "video_url")
REASONING_NAMES = ("reasoning_content", "reasoning", "thinking")  # under which templates look for it
NOT_VARIABLES = ("messages", "tools", "add_generation_prompt")
LEGACY_ID = "function0"
MOST_STOPS = 16
MOST_CHOICES = 128
MOST_LOGPROBS = 20
INT32 = 2**31 - 1
MOST_DIGITS = 10  # of a token id
MOST_MESSAGES, MOST_PARTS = 10_000, 10_000  # parts of one content
MOST_BIASES, MOST_BIASED_TEXTS = 2**16, 300  # some bar every token of a script; a text is several tokens
LONGEST_BIASED = LONGEST_STOP = 1000  # characters
MOST_NAMED = 40  # characters of a key in an error

# inclusive bounds; None: none on that side
BOUNDS: dict[str, tuple[float | None, float | None]] = {
    "max_completion_tokens": (1, None),
    "max_tokens": (1, None),
    "n": (1, MOST_CHOICES),
    "top_logprobs": (0, MOST_LOGPROBS),
    "thinking_budget": (0, None),
    **SAMPLING_BOUNDS,
}


COMPLETION_BOUNDS = {**BOUNDS, "max_tokens": (0, None), "best_of": (1, MOST_CHOICES), "logprobs": (0, MOST_LOGPROBS)}
MOST_SEQUENCES = 1024  # of one request


@dataclass(frozen=True, slots=True)
class Prompt:
    sampling: SamplingParams
    text_bias: dict[str, float]
    max_tokens: int | None  # None: what is left of the context
    n: int
    stops: list[str]
    stream: bool
    include_usage: bool
    constraint: Constraint | None
    prediction: str | None
    cache: bool  # whether what was computed before may be used
    return_tokens: bool
    timings_per_token: bool


@dataclass(frozen=True, slots=True)
class ChatPrompt(Prompt):
    messages: list[dict[str, Any]]  # as chat templates want them: role and content, both strings, and what else is
    tools: Tools | None  # None: none may be called
    variables: dict[str, Any]  # for the chat template
    thinking_budget: int | None  # tokens
    both_reasonings: bool  # told under two names
    continues: bool  # the last message, which is the assistant's


@dataclass(frozen=True, slots=True)
class CompletionPrompt(Prompt):
    prompts: list[str | list[int]]
    best_of: int
    echo: bool
    suffix: str  # of each prompt: what follows the answer


def parse_chat(
    request: ChatRequest, defaults: SamplingDefaults, samplers: Collection[str] = (), between: str = "\n"
) -> ChatPrompt:
    """Check everything that needs no engine. `defaults` are the model's own,
    `samplers` those of types.SAMPLERS that the engine knows, `between` what joins the texts of one content.

    Raises ApiError 400 with `param`.
    """
    _check_all(request, BOUNDS)
    if request.top_logprobs and not request.logprobs:
        raise _invalid("top_logprobs", "'logprobs' to be true where it is given")
    logprobs = (request.top_logprobs or 0) if request.logprobs else None
    messages = _parse_messages(request.messages, between)
    most = _first(_unlimited(request.max_completion_tokens), _unlimited(request.max_tokens))
    _check_least(request.min_tokens, most)
    return ChatPrompt(
        messages=messages,
        tools=parse_tools(request),
        variables=_parse_variables(request),
        thinking_budget=_unlimited(request.thinking_budget),
        both_reasonings=_parse_reasoning_format(request.reasoning_format),
        continues=_parse_continues(request, messages),
        max_tokens=most,
        n=_first(request.n, 1),
        **_parse_common(request, defaults, samplers, logprobs),
    )


def parse_completion(
    request: CompletionRequest, defaults: SamplingDefaults, samplers: Collection[str] = ()
) -> CompletionPrompt:
    """The same for text completions."""
    _check_all(request, COMPLETION_BOUNDS)
    _check_least(request.min_tokens, _unlimited(request.max_tokens))
    n, prompts = _first(request.n, 1), _parse_prompts(request.prompt)
    best_of = _first(request.best_of, n)
    if best_of < n:
        raise _invalid("best_of", f"at least n, which is {n}, got {best_of}")
    if best_of > n and request.stream:
        raise _invalid("best_of", f"n, which is {n}, where 'stream' is true: the best is known at the end only")
    if len(prompts) * best_of > MOST_SEQUENCES:
        raise _invalid("prompt", f"at most {MOST_SEQUENCES} choices in all, got {len(prompts) * best_of}")
    echo, suffix = bool(request.echo), request.suffix or ""
    if suffix and (echo or not all(isinstance(text, str) for text in prompts)):
        raise _invalid("suffix", "a prompt that is a text, and no 'echo'")
    common = _parse_common(request, defaults, samplers, request.logprobs)
    common["sampling"] = replace(common["sampling"], prompt_logprobs=echo and request.logprobs is not None)
    common |= {"n": n, "best_of": best_of, "echo": echo, "suffix": suffix}
    return CompletionPrompt(prompts=prompts, max_tokens=_unlimited(request.max_tokens), **common)


def _parse_prompts(prompt: str | list[str | int | list[int]]) -> list[str | list[int]]:
    if isinstance(prompt, str):
        return [prompt]
    kinds = {type(part) for part in prompt}
    if len(kinds) != 1:
        raise _invalid("prompt", "a text, token ids, a list of texts or a list of lists of token ids")
    if kinds == {int}:
        prompt = [prompt]  # type: ignore[list-item]
    for i, part in enumerate(prompt):
        if isinstance(part, list) and any(not 0 <= token <= INT32 for token in part):
            raise _invalid(f"prompt[{i}]", "token ids")
    return prompt  # type: ignore[return-value]


def _parse_common(
    request: GenerationRequest, defaults: SamplingDefaults, samplers: Collection[str], logprobs: int | None
) -> dict[str, Any]:
    """The fields of Prompt that both kinds of request give alike."""
    bias, text_bias = _parse_bias(request.logit_bias or {})
    return {
        "sampling": replace(parse_sampling(request, defaults, bias, samplers), logprobs=logprobs),
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


def _check_least(least: int | None, most: int | None) -> None:
    if least is not None and most is not None and least > most:
        raise _invalid("min_tokens", f"at most max_tokens, which is {most}, got {least}")


def _check_all(request: GenerationRequest, bounds: Mapping[str, tuple[float | None, float | None]]) -> None:
    for name, (least, most) in bounds.items():
        _check_bounds(name, getattr(request, name, None), least, most)


def _parse_bias(
    bias: Mapping[str, float] | list[list[str | int | float | bool]],
) -> tuple[dict[int, float], dict[str, float]]:
    """Biases by token id, and by text. OpenAI's form is an object; llama-server's is pairs, in which a text that is a
    number is no id. False bans."""
    _check_count("logit_bias", bias, MOST_BIASES, "tokens")
    ids: dict[int, float] = {}
    texts: dict[str, float] = {}
    for given, key, value in _bias_pairs(bias):
        where = f"logit_bias.{given[:MOST_NAMED]}"
        if value is False:
            value = -100.0
        elif value is True or isinstance(value, str):
            raise _invalid(where, "a number, or false")
        _check_bounds(where, value, -100, 100)
        if isinstance(key, int):
            if not 0 <= key <= INT32:
                raise _invalid(where, "a token id")
            ids[key] = value
        elif len(key) > LONGEST_BIASED:
            raise _invalid(where, f"a text of at most {LONGEST_BIASED} characters")
        elif key:
            texts[key] = value
        else:
            raise _invalid("logit_bias", "token ids or texts, got an empty one")
    _check_count("logit_bias", texts, MOST_BIASED_TEXTS, "texts")
    return ids, texts


def _bias_pairs(
    bias: Mapping[str, float] | list[list[str | int | float | bool]],
) -> Iterator[tuple[str, str | int, str | int | float | bool]]:
    """Each as it was given, as a token id or a text, and its bias."""
    if isinstance(bias, Mapping):
        for name, value in bias.items():
            is_id = name.isascii() and name.isdigit()
            yield name, (int(name) if len(name) <= MOST_DIGITS else -1) if is_id else name, value
        return
    for i, pair in enumerate(bias):
        if len(pair) != 2 or isinstance(pair[0], bool) or not isinstance(pair[0], str | int):
            raise _invalid(f"logit_bias[{i}]", "a token id or a text, and its bias")
        yield str(pair[0]), pair[0], pair[1]


def _parse_stops(stop: str | list[str] | None) -> list[str]:
    stops = [stop] if isinstance(stop, str) else stop or []
    _check_count("stop", stops, MOST_STOPS, "strings")
    if any(len(stop) > LONGEST_STOP for stop in stops):
        raise _invalid("stop", f"strings of at most {LONGEST_STOP} characters")
    return [s for s in stops if s]


def _parse_prediction(prediction: Prediction | None) -> str | None:
    if prediction is None:
        return None
    if prediction.type not in ("content", None):
        raise _invalid("prediction.type", f"'content', got '{prediction.type}'")
    return _parse_content(prediction.content, "prediction.content", between="")


def _parse_messages(messages: list[Message], between: str) -> list[dict[str, Any]]:
    if not messages:
        raise _invalid("messages", "at least one message")
    _check_count("messages", messages, MOST_MESSAGES, "messages")
    return [_parse_message(message, f"messages[{i}]", between) for i, message in enumerate(messages)]


def _parse_message(message: Message, where: str, between: str) -> dict[str, Any]:
    if message.role not in ROLES:
        raise _invalid(f"{where}.role", f"one of {', '.join(ROLES)}, got '{message.role}'")
    content = _parse_content(message.content, f"{where}.content", between)
    parsed: dict[str, Any] = {"role": message.role, "content": content}
    if message.name is not None:
        parsed["name"] = message.name
    if message.tool_call_id is not None:
        parsed["tool_call_id"] = message.tool_call_id
    if message.tool_calls:
        _check_count(f"{where}.tool_calls", message.tool_calls, MOST_TOOLS, "calls")
        calls = enumerate(message.tool_calls)
        parsed["tool_calls"] = [_parse_tool_call(call, f"{where}.tool_calls[{i}]") for i, call in calls]
    if reasoning := _first(message.reasoning_content, message.reasoning):
        parsed |= dict.fromkeys(REASONING_NAMES, reasoning)
    if message.role == "function":  # the deprecated pair, of which there is never more than one
        parsed |= {"role": "tool", "tool_call_id": LEGACY_ID}
    if message.function_call:
        call = {"id": LEGACY_ID, "type": "function", "function": message.function_call}
        parsed["tool_calls"] = [_parse_tool_call(call, f"{where}.function_call")]
    return parsed


def _parse_content(content: str | Part | list[str | Part] | None, where: str, between: str) -> str:
    """The text of a content, its parts joined; null is empty."""
    if isinstance(content, list):
        _check_count(where, content, MOST_PARTS, "parts")
        return between.join(_parse_part(part, f"{where}[{i}]") for i, part in enumerate(content))
    return "" if content is None else _parse_part(content, where)


def _parse_part(part: str | Part, where: str) -> str:
    if isinstance(part, str):
        return part
    if part.type in MEDIA_PARTS:
        raise ApiError(
            400, f"This model takes text only, no '{part.type}'.", param=f"{where}.type", code="unsupported_content"
        )
    field = "refusal" if part.type == "refusal" else "text"
    text: str | None = getattr(part, field)
    if part.type not in (*TEXT_PARTS, "refusal", None):
        raise _invalid(f"{where}.type", f"'text', got '{part.type}'")
    if text is None:
        raise ApiError(
            400,
            f"Missing required parameter: '{where}.{field}'.",
            param=f"{where}.{field}",
            code="missing_required_parameter",
        )
    return text


def _parse_variables(request: ChatRequest) -> dict[str, Any]:
    """What the chat template is given. By `enable_thinking` it is Qwen's, by `thinking` DeepSeek's and Granite's."""
    effort, thinks = request.reasoning_effort, request.enable_thinking
    if thinks is None and (effort == "none" or request.thinking_budget == 0):
        thinks = False
    elif thinks is None and effort:
        thinks = True
    variables: dict[str, Any] = {} if thinks is None else {"enable_thinking": thinks, "thinking": thinks}
    if effort and effort != "none":
        variables["reasoning_effort"] = effort
    if taken := next((name for name in request.chat_template_kwargs or {} if name in NOT_VARIABLES), None):
        raise _invalid(f"chat_template_kwargs.{taken}", "a variable of the template, not what the request itself gives")
    return variables | (request.chat_template_kwargs or {})


def _parse_reasoning_format(value: str | None) -> bool:
    if value not in (None, *REASONING_FORMATS):
        raise _invalid("reasoning_format", f"one of {', '.join(REASONING_FORMATS)}: reasoning is never in the content")
    return value == "both"


def _parse_continues(request: ChatRequest, messages: list[dict[str, Any]]) -> bool:
    can = messages[-1]["role"] == "assistant" and not messages[-1].get("tool_calls")
    if request.continue_final_message and not can:
        raise _invalid("continue_final_message", "the last message to be the assistant's, without tool calls")
    return can and request.continue_final_message is not False


def _parse_tool_call(call: dict[str, Any], where: str) -> dict[str, Any]:
    """Templates want the arguments as an object where they are one."""
    function = call.get("function")
    if not isinstance(function, dict):
        raise _invalid(f"{where}.function", "an object")
    if not isinstance(function.get("name"), str):
        raise _invalid(f"{where}.function.name", "a text")
    if not isinstance(function.get("arguments"), str | dict | None):
        raise _invalid(f"{where}.function.arguments", "JSON in a text")
    if not isinstance(arguments := function.get("arguments"), str):
        return call
    try:
        parsed = msgspec.json.decode(arguments)
    except (msgspec.DecodeError, RecursionError):
        return call
    return {**call, "function": {**function, "arguments": parsed}} if isinstance(parsed, dict) else call


def _check_count(name: str, given: Sized, most: int, what: str) -> None:
    if len(given) > most:
        raise _invalid(name, f"at most {most} {what}, got {len(given)}")


def _check_bounds(name: str, value: float | None, least: float | None, most: float | None) -> None:
    if value is None or (name in UNLIMITED and value == -1):
        return
    if isinstance(value, float) and not math.isfinite(value):
        raise _invalid(name, "a finite number")
    if least is not None and value < least:
        raise _invalid(name, f"at least {least}, got {value}")
    if most is not None and value > most:
        raise _invalid(name, f"at most {most}, got {value}")


UNLIMITED = (
    "max_completion_tokens",
    "max_tokens",
    "thinking_budget",
)  # llama-server's clients send -1 for "what is left"


def _unlimited(value: int | None) -> int | None:
    return None if value is None or value == -1 else min(value, INT32)


def _first(*values: Any) -> Any:
    return next((v for v in values if v is not None), None)


def _invalid(name: str, expected: str) -> ApiError:
    return ApiError(400, f"Invalid value for '{name}': expected {expected}.", param=name, code="invalid_value")
