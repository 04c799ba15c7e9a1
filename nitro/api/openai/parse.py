"""Parse, don't validate: a decoded request becomes a `ChatPrompt` or a `CompletionPrompt`, in which nothing is optional
or unchecked."""

from collections.abc import Collection, Iterator, Mapping, Sized
from dataclasses import dataclass
from typing import Any

import msgspec
from msgspec.structs import replace

from nitro.api.openai.constraints import parse_constraint
from nitro.api.openai.requests import (
    MAX_STOPS,
    REASONING_FORMATS,
    ROLES,
    ChatRequest,
    CompletionRequest,
    GenerationRequest,
    Message,
    Part,
    Prediction,
)
from nitro.api.openai.sampling import parse_sampling
from nitro.api.openai.tools import MAX_TOOLS, Tools, parse_tools
from nitro.engines.sampling_defaults import SamplingDefaults
from nitro.engines.sampling_params import INT32, SamplingParams
from nitro.engines.types import Constraint
from nitro.errors import ApiError
from nitro.parameters import NO_LIMIT, Param, check_number, check_request

TEXT_PARTS = ("text", "input_text", "output_text")
MEDIA_PARTS = ("image_url", "input_image", "input_audio", "file", "input_file", "video_url")
REASONING_NAMES = ("reasoning_content", "reasoning", "thinking")  # under which templates look for it
RESERVED_VARIABLES = ("messages", "tools", "add_generation_prompt")  # chat_template_kwargs cannot set them
LEGACY_ID = "function0"
MAX_SEQUENCES = 1024  # of one request
MAX_MESSAGES = 10_000
MAX_PARTS = 10_000  # of one content
MAX_STOP_CHARS = 1000
MAX_BIASES = 2**16  # some requests ban every token of a script
MAX_BIASED_TEXTS = 300  # a text is several tokens
MAX_BIASED_CHARS = 1000  # of a text
MAX_ID_DIGITS = 10  # of a token id
MAX_KEY_CHARS = 40  # of a key that an error shows
BIAS = Param("A token's bias.", ge=-100, le=100)


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
    messages = _parse_messages(request.messages, between)
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


def _check_min_tokens(min_tokens: int | None, max_tokens: int | None) -> None:
    if min_tokens is not None and max_tokens is not None and min_tokens > max_tokens:
        raise ApiError.invalid("min_tokens", f"at most max_tokens, which is {max_tokens}, got {min_tokens}")


def _parse_bias(
    bias: Mapping[str, float] | list[list[str | int | float | bool]],
) -> tuple[dict[int, float], dict[str, float]]:
    """Biases by token id, and by text. False bans.

    OpenAI's form is an object. llama-server's is a list of pairs, in which a text of digits is not an id.
    """
    _check_count("logit_bias", bias, MAX_BIASES, "tokens")
    ids: dict[int, float] = {}
    texts: dict[str, float] = {}
    for name, key, value in _bias_pairs(bias):
        where = f"logit_bias.{name[:MAX_KEY_CHARS]}"
        if value is False:
            value = -100.0
        elif value is True or isinstance(value, str):
            raise ApiError.invalid(where, "a number, or false")
        check_number(where, value, BIAS)
        if isinstance(key, int):
            if not 0 <= key <= INT32:
                raise ApiError.invalid(where, "a token id")
            ids[key] = value
        elif len(key) > MAX_BIASED_CHARS:
            raise ApiError.invalid(where, f"a text of at most {MAX_BIASED_CHARS} characters")
        elif key:
            texts[key] = value
        else:
            raise ApiError.invalid("logit_bias", "token ids or texts, got an empty one")
    _check_count("logit_bias", texts, MAX_BIASED_TEXTS, "texts")
    return ids, texts


def _bias_pairs(
    bias: Mapping[str, float] | list[list[str | int | float | bool]],
) -> Iterator[tuple[str, str | int, str | int | float | bool]]:
    """Each key as the request has it, the token id or the text that it means, and its bias."""
    if isinstance(bias, Mapping):
        for name, value in bias.items():
            is_id = name.isascii() and name.isdigit()
            yield name, _token_id(name) if is_id else name, value
        return
    for i, pair in enumerate(bias):
        if len(pair) != 2 or isinstance(pair[0], bool) or not isinstance(pair[0], str | int):
            raise ApiError.invalid(f"logit_bias[{i}]", "a token id or a text, and its bias")
        yield str(pair[0]), pair[0], pair[1]


def _token_id(digits: str) -> int:
    """-1 for more digits than an id can have, which int() may take long to read, or refuse."""
    return int(digits) if len(digits) <= MAX_ID_DIGITS else -1


def _parse_stops(stop: str | list[str] | None) -> list[str]:
    stops = [stop] if isinstance(stop, str) else stop or []
    _check_count("stop", stops, MAX_STOPS, "strings")
    if any(len(stop) > MAX_STOP_CHARS for stop in stops):
        raise ApiError.invalid("stop", f"strings of at most {MAX_STOP_CHARS} characters")
    return [s for s in stops if s]


def _parse_prediction(prediction: Prediction | None) -> str | None:
    if prediction is None:
        return None
    if prediction.type not in ("content", None):
        raise ApiError.invalid("prediction.type", f"'content', got '{prediction.type}'")
    return _parse_content(prediction.content, "prediction.content", between="")


def _parse_messages(messages: list[Message], between: str) -> list[dict[str, Any]]:
    if not messages:
        raise ApiError.invalid("messages", "at least one message")
    _check_count("messages", messages, MAX_MESSAGES, "messages")
    return [_parse_message(message, f"messages[{i}]", between) for i, message in enumerate(messages)]


def _parse_message(message: Message, where: str, between: str) -> dict[str, Any]:
    if message.role not in ROLES:
        raise ApiError.invalid(f"{where}.role", f"one of {', '.join(ROLES)}, got '{message.role}'")
    content = _parse_content(message.content, f"{where}.content", between)
    parsed: dict[str, Any] = {"role": message.role, "content": content}
    if message.name is not None:
        parsed["name"] = message.name
    if message.tool_call_id is not None:
        parsed["tool_call_id"] = message.tool_call_id
    if message.tool_calls:
        _check_count(f"{where}.tool_calls", message.tool_calls, MAX_TOOLS, "calls")
        calls = enumerate(message.tool_calls)
        parsed["tool_calls"] = [_parse_tool_call(call, f"{where}.tool_calls[{i}]") for i, call in calls]
    reasoning = _first(message.reasoning_content, message.reasoning)
    if reasoning:
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
        _check_count(where, content, MAX_PARTS, "parts")
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
        raise ApiError.invalid(f"{where}.type", f"'text', got '{part.type}'")
    if text is None:
        raise ApiError.missing(f"{where}.{field}")
    return text


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


def _parse_tool_call(call: dict[str, Any], where: str) -> dict[str, Any]:
    """Templates want the arguments as an object where they are one."""
    function = call.get("function")
    if not isinstance(function, dict):
        raise ApiError.invalid(f"{where}.function", "an object")
    if not isinstance(function.get("name"), str):
        raise ApiError.invalid(f"{where}.function.name", "a text")
    arguments = function.get("arguments")
    if not isinstance(arguments, str | dict | None):
        raise ApiError.invalid(f"{where}.function.arguments", "JSON in a text")
    if not isinstance(arguments, str):
        return call
    try:
        parsed = msgspec.json.decode(arguments)
    except (msgspec.DecodeError, RecursionError):
        return call
    return {**call, "function": {**function, "arguments": parsed}} if isinstance(parsed, dict) else call


def _check_count(name: str, items: Sized, limit: int, unit: str) -> None:
    if len(items) > limit:
        raise ApiError.invalid(name, f"at most {limit} {unit}, got {len(items)}")


def _unlimited(value: int | None) -> int | None:
    return None if value is None or value == NO_LIMIT else min(value, INT32)


def _first(*values: Any) -> Any:
    return next((v for v in values if v is not None), None)
