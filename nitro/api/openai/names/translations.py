"""What the value of another server's name means in our fields. Each takes a value and where it stands, for errors."""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from nitro.errors import ApiError

Ours = Mapping[str, Any]

JSON_OBJECT = {"type": "json_object"}
THINKING_TYPES: dict[str, Ours] = {
    "enabled": {"enable_thinking": True},
    "disabled": {"enable_thinking": False},
    "adaptive": {},  # as the model's template has it
    "auto": {},
}


def schema(value: Any, where: str) -> Ours:
    """A JSON schema, as an object or as JSON in a text."""
    if isinstance(value, str):
        try:
            value = msgspec.json.decode(value)
        except (msgspec.DecodeError, RecursionError):
            value = None
    if not isinstance(value, dict):
        raise ApiError.invalid(where, "a JSON schema: an object, or JSON in a text")
    return {"json_schema": value}


def output_format(value: Any, where: str) -> Ours:
    """Ollama's `format`."""
    if value == "json":
        return {"response_format": JSON_OBJECT}
    if not isinstance(value, dict):
        raise ApiError.invalid(where, "'json' or a JSON schema")
    return {"json_schema": value}


def json_object(value: Any, where: str) -> Ours:
    """A switch: the answer is a JSON object."""
    return {"response_format": JSON_OBJECT} if _switch(value, where) else {}


def thinking_type(value: Any, where: str) -> Ours:
    """Anthropic's `thinking.type`."""
    if not isinstance(value, str) or value not in THINKING_TYPES:
        raise ApiError.invalid(where, f"one of {', '.join(THINKING_TYPES)}")
    return THINKING_TYPES[value]


def thinks(value: Any, where: str) -> Ours:
    """Whether to reason."""
    return {"enable_thinking": _switch(value, where)}


def think(value: Any, where: str) -> Ours:
    """Ollama's `think`: whether to reason, or how much."""
    return {"reasoning_effort": value} if isinstance(value, str) else thinks(value, where)


def not_(ours: str) -> Callable[[Any, str], Ours]:
    """A switch with the opposite meaning of our field."""

    def translate(value: Any, where: str) -> Ours:
        return {ours: not _switch(value, where)}

    return translate


def window(value: Any, where: str) -> Ours:
    """mlx_lm's length of a penalty's window, where 0 means all tokens."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ApiError.invalid(where, "a number of tokens, at least 0")
    return {"repeat_last_n": value or -1}


def chat_probabilities(value: Any, where: str) -> Ours:
    """llama-server's `n_probs` of a chat completion."""
    return {"logprobs": True, "top_logprobs": value}


def no_object(value: Any, where: str) -> Ours:
    """For what must be an object, and is not."""
    raise ApiError.invalid(where, "an object")


def _switch(value: Any, where: str) -> bool:
    if not isinstance(value, bool):
        raise ApiError.invalid(where, "true or false")
    return value
