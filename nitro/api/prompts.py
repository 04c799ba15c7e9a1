"""Parse, don't validate: a decoded chat request becomes a `ChatPrompt`, in which nothing is optional or unchecked."""

import math
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from nitro.api.openai import ChatRequest, Message, Part
from nitro.engines.types import Sampling
from nitro.errors import ApiError

ROLES = ("system", "developer", "user", "assistant", "tool")
TEXT_PARTS = ("text", "input_text", "output_text")
MEDIA_PARTS = ("image_url", "input_image", "input_audio", "file", "input_file", "video_url")
MOST_STOPS = 16
MOST_CHOICES = 128
MOST_LOGPROBS = 20
INT32 = 2**31 - 1

# inclusive bounds; None: none on that side
BOUNDS: dict[str, tuple[float | None, float | None]] = {
    "max_completion_tokens": (1, None),
    "max_tokens": (1, None),
    "n": (1, MOST_CHOICES),
    "top_logprobs": (0, MOST_LOGPROBS),
    "temperature": (0, 100),
    "top_p": (0, 1),
    "top_k": (-1, None),
    "min_p": (0, 1),
    "frequency_penalty": (-2, 2),
    "presence_penalty": (-2, 2),
    "repetition_penalty": (0.01, 100),
    "repeat_penalty": (0.01, 100),
    "repeat_last_n": (-1, 2**31 - 1),
}


@dataclass(frozen=True, slots=True)
class ChatPrompt:
    messages: list[
        dict[str, Any]
    ]  # as chat templates want them: role and content, both strings, and what else there is
    sampling: Sampling
    text_bias: dict[str, float]
    max_tokens: int | None  # None: what is left of the context
    n: int
    stops: list[str]
    stream: bool
    include_usage: bool


def parse_chat(request: ChatRequest, defaults: Mapping[str, float]) -> ChatPrompt:
    """Check everything that needs no engine. `defaults` are the model's own, by the names of Sampling.

    Raises ApiError 400 with `param`.
    """
    for name, (least, most) in BOUNDS.items():
        _check_bounds(name, getattr(request, name), least, most)
    bias, text_bias = _parse_bias(request.logit_bias or {})
    return ChatPrompt(
        messages=_parse_messages(request.messages),
        sampling=_parse_sampling(request, defaults, bias),
        text_bias=text_bias,
        max_tokens=_first(_unlimited(request.max_completion_tokens), _unlimited(request.max_tokens)),
        n=_first(request.n, 1),
        stops=_parse_stops(request.stop),
        stream=bool(request.stream),
        include_usage=bool(request.stream_options and request.stream_options.include_usage),
    )


def _parse_sampling(request: ChatRequest, defaults: Mapping[str, float], bias: dict[int, float]) -> Sampling:
    """The request, else the model's own defaults, else those of Sampling."""
    asked = {
        "temperature": request.temperature,
        "top_p": request.top_p,
        "top_k": None if request.top_k is None else max(min(request.top_k, INT32), 0),
        "min_p": request.min_p,
        "frequency_penalty": request.frequency_penalty,
        "presence_penalty": request.presence_penalty,
        "repetition_penalty": _first(request.repetition_penalty, request.repeat_penalty),
        "repeat_last_n": request.repeat_last_n,
    }
    if request.top_logprobs and not request.logprobs:
        raise _invalid("top_logprobs", "'logprobs' to be true where it is given")
    logprobs = (request.top_logprobs or 0) if request.logprobs else None
    seed = secrets.randbits(31) if request.seed is None else request.seed % 2**31
    chosen: dict[str, Any] = {**defaults, **{name: value for name, value in asked.items() if value is not None}}
    return Sampling(**chosen, seed=seed, ignore_eos=bool(request.ignore_eos), logit_bias=bias, logprobs=logprobs)


def _parse_bias(bias: Mapping[str, float]) -> tuple[dict[int, float], dict[str, float]]:
    """Biases by token id, and by text."""
    ids: dict[int, float] = {}
    texts: dict[str, float] = {}
    for key, value in bias.items():
        _check_bounds(f"logit_bias.{key}", value, -100, 100)
        if key.isascii() and key.isdigit():
            if len(key) > 10:
                raise _invalid(f"logit_bias.{key[:20]}", "a token id")
            ids[int(key)] = value
        elif key:
            texts[key] = value
        else:
            raise _invalid("logit_bias", "token ids or texts, got an empty one")
    return ids, texts


def _parse_stops(stop: str | list[str] | None) -> list[str]:
    stops = [stop] if isinstance(stop, str) else stop or []
    if len(stops) > MOST_STOPS:
        raise _invalid("stop", f"at most {MOST_STOPS} strings, got {len(stops)}")
    return [s for s in stops if s]


def _parse_messages(messages: list[Message]) -> list[dict[str, Any]]:
    if not messages:
        raise _invalid("messages", "at least one message")
    return [_parse_message(message, f"messages[{i}]") for i, message in enumerate(messages)]


def _parse_message(message: Message, where: str) -> dict[str, Any]:
    if message.role not in ROLES:
        raise _invalid(f"{where}.role", f"one of {', '.join(ROLES)}, got '{message.role}'")
    parsed: dict[str, Any] = {"role": message.role, "content": _parse_content(message.content, f"{where}.content")}
    if message.name is not None:
        parsed["name"] = message.name
    if message.tool_call_id is not None:
        parsed["tool_call_id"] = message.tool_call_id
    if message.tool_calls:
        parsed["tool_calls"] = [_parse_tool_call(call) for call in message.tool_calls]
    return parsed


def _parse_content(content: str | Part | list[str | Part] | None, where: str) -> str:
    """The text of a content: parts are joined by newlines, null is empty."""
    if isinstance(content, list):
        return "\n".join(_parse_part(part, f"{where}[{i}]") for i, part in enumerate(content))
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


def _parse_tool_call(call: dict[str, Any]) -> dict[str, Any]:
    """Templates want the arguments as an object where they are one."""
    function = call.get("function")
    if not isinstance(function, dict) or not isinstance(arguments := function.get("arguments"), str):
        return call
    try:
        parsed = msgspec.json.decode(arguments)
    except (msgspec.DecodeError, RecursionError):
        return call
    return {**call, "function": {**function, "arguments": parsed}} if isinstance(parsed, dict) else call


def _check_bounds(name: str, value: float | None, least: float | None, most: float | None) -> None:
    if value is None or (name in UNLIMITED and value == -1):
        return
    if isinstance(value, float) and not math.isfinite(value):
        raise _invalid(name, "a finite number")
    if least is not None and value < least:
        raise _invalid(name, f"at least {least}, got {value}")
    if most is not None and value > most:
        raise _invalid(name, f"at most {most}, got {value}")


UNLIMITED = ("max_completion_tokens", "max_tokens")  # llama-server's clients send -1 for "what is left"


def _unlimited(value: int | None) -> int | None:
    return None if value is None or value == -1 else min(value, INT32)


def _first(*values: Any) -> Any:
    return next((v for v in values if v is not None), None)


def _invalid(name: str, expected: str) -> ApiError:
    return ApiError(400, f"Invalid value for '{name}': expected {expected}.", param=name, code="invalid_value")
