"""How requests of any protocol name prefixes that are to stay in the cache: the objects, and what their times mean.

Sources: the Messages API of Anthropic (`cache_control`), `chat/completion_create_params.py` of OpenAI's SDK 3.54
(`prompt_cache_…`).
"""

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, NamedTuple

from msgspec import Struct

from nitro.api.names import Known, Refused
from nitro.errors import ApiError
from nitro.service.requests import KEPT_SECONDS

SECONDS = {"5m": 300.0, "30m": 1800.0, "1h": 3600.0, "12h": 43200.0, "24h": 86400.0}  # since the last use
RETENTIONS = {"in_memory": KEPT_SECONDS, "in-memory": KEPT_SECONDS, "24h": SECONDS["24h"]}
MODES = ("implicit", "explicit")


class CacheControl(Struct, frozen=True):
    """Anthropic's `cache_control`: what comes before stays for `ttl`."""

    type: str = "ephemeral"
    ttl: str | None = None


class CacheBreakpoint(Struct, frozen=True):
    """OpenAI's `prompt_cache_breakpoint`: the same."""

    mode: str = "explicit"
    ttl: str | None = None


class CacheOptions(Struct, frozen=True):
    """OpenAI's `prompt_cache_options`. `mode`: "implicit", the whole prompt stays; "explicit", what breakpoints say."""

    known: ClassVar[Mapping[str, Known]] = {
        "prewarm": Refused(sources=("OpenAI",), neutral=(False,), note="Ask for one token."),
        "comparison_response_id": Refused(sources=("OpenAI",), note="`usage` tells the cached tokens."),
    }

    mode: str | None = None
    ttl: str | None = None


class WholePrompt(NamedTuple):
    """See GenerationRequest: `prefix_key` and `prefix_seconds`. `inherited`: for breakpoints that say no time."""

    key: str | None
    seconds: float | None
    inherited: float | None


def seconds_of(ttl: str | None, where: str, default: float) -> float:
    """A time. Raises ApiError 400, which calls it `where`."""
    if ttl is None:
        return default
    if ttl not in SECONDS:
        raise ApiError.invalid(where, f"one of {', '.join(SECONDS)}, got '{ttl}'")
    return SECONDS[ttl]


def seconds_of_control(control: CacheControl, where: str) -> float:
    """How long what comes before a `cache_control` stays. Raises ApiError 400."""
    if control.type != "ephemeral":
        raise ApiError.invalid(f"{where}.type", f"'ephemeral', got '{control.type}'")
    return seconds_of(control.ttl, f"{where}.ttl", SECONDS["5m"])


def seconds_of_breakpoint(mark: CacheBreakpoint, where: str, inherited: float | None) -> float:
    """The same, of a `prompt_cache_breakpoint`. Raises ApiError 400."""
    if mark.mode != "explicit":
        raise ApiError.invalid(f"{where}.mode", f"'explicit', got '{mark.mode}'")
    return seconds_of(mark.ttl, f"{where}.ttl", KEPT_SECONDS if inherited is None else inherited)


def parse_whole(
    key: str | None, retention: str | None, options: CacheOptions | None, control: CacheControl | None = None
) -> WholePrompt:
    """What a request says of its whole prompt: OpenAI's `prompt_cache_key`, `prompt_cache_retention` and
    `prompt_cache_options`, and a `cache_control` at the top. Raises ApiError 400."""
    seconds: list[float] = []
    if retention is not None:
        if retention not in RETENTIONS:
            raise ApiError.invalid("prompt_cache_retention", f"'in_memory' or '24h', got '{retention}'")
        seconds.append(RETENTIONS[retention])
    inherited = None
    if options is not None:
        if options.mode not in (None, *MODES):
            raise ApiError.invalid("prompt_cache_options.mode", f"one of {', '.join(MODES)}, got '{options.mode}'")
        inherited = seconds_of(options.ttl, "prompt_cache_options.ttl", KEPT_SECONDS)
        seconds.append(inherited)
    if control is not None:
        seconds.append(seconds_of_control(control, "cache_control"))
    if options is not None and options.mode == "explicit":
        return WholePrompt(None, None, inherited)
    return WholePrompt(key or None, max(seconds, default=None), inherited)


def tool_control(tool: Any, where: str) -> CacheControl | None:
    """The `cache_control` of a tool that no struct describes. Raises ApiError 400."""
    found = tool.get("cache_control") if isinstance(tool, dict) else None
    if found is None:
        return None
    texts = isinstance(found, dict) and all(isinstance(found.get(name), str | None) for name in ("type", "ttl"))
    if not texts:
        raise ApiError.invalid(where, "an object with 'type' and 'ttl'")
    return CacheControl(found.get("type") or "ephemeral", found.get("ttl"))


def marked_parts(content: Any, where: str, inherited: float | None) -> Iterator[tuple[int, float]]:
    """The parts of a content, which no struct describes, that end a prefix: number, seconds. Raises ApiError 400."""
    for number, part in enumerate(content if isinstance(content, list) else [content]):
        if not isinstance(part, dict):
            continue
        place = f"{where}[{number}]" if isinstance(content, list) else where
        if control := tool_control(part, f"{place}.cache_control"):
            yield number, seconds_of_control(control, f"{place}.cache_control")
        if (mark := part.get("prompt_cache_breakpoint")) is not None:
            name = f"{place}.prompt_cache_breakpoint"
            texts = isinstance(mark, dict) and all(isinstance(mark.get(key), str | None) for key in ("mode", "ttl"))
            if not texts:
                raise ApiError.invalid(name, "an object with 'mode' and 'ttl'")
            made = CacheBreakpoint(mark.get("mode") or "explicit", mark.get("ttl"))
            yield number, seconds_of_breakpoint(made, name, inherited)
