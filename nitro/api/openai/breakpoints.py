"""Where a chat completion marks the ends of prefixes that are to stay in the cache: with tools, messages and parts."""

from collections.abc import Iterator

from nitro.api.openai.requests import ChatRequest, Message, Part
from nitro.api.prefix_cache import (
    CacheBreakpoint,
    CacheControl,
    parse_whole,
    seconds_of_breakpoint,
    seconds_of_control,
    tool_control,
)
from nitro.service.requests import Breakpoint


def parse_breakpoints(request: ChatRequest) -> list[Breakpoint]:
    """In the order of the prompt. Raises ApiError 400 with `param`."""
    inherited = parse_whole(None, None, request.prompt_cache_options).inherited
    found = [Breakpoint(seconds) for seconds in _of_tools(request)]
    for i, message in enumerate(request.messages):
        found += _of_message(message, i, inherited)
    return found


def _of_tools(request: ChatRequest) -> Iterator[float]:
    """One at most: templates write all tools together."""
    name = "functions" if request.functions else "tools"
    times = [
        seconds_of_control(control, f"{name}[{i}].{inside}cache_control")
        for i, tool in enumerate(getattr(request, name) or [])
        for inside, object in (("", tool), ("function.", tool.get("function")))
        if (control := tool_control(object, f"{name}[{i}].{inside}cache_control"))
    ]
    yield from [max(times)] if times else []


def _of_message(message: Message, number: int, inherited: float | None) -> Iterator[Breakpoint]:
    where = f"messages[{number}]"
    content = message.content if isinstance(message.content, list) else [message.content]
    for j, part in enumerate(content):
        if isinstance(part, Part):
            place = f"{where}.content[{j}]" if isinstance(message.content, list) else f"{where}.content"
            for seconds in _times(part.cache_control, part.prompt_cache_breakpoint, place, inherited):
                yield Breakpoint(seconds, number, j)
    for seconds in _times(message.cache_control, message.prompt_cache_breakpoint, where, inherited):
        yield Breakpoint(seconds, number)


def _times(
    control: CacheControl | None, mark: CacheBreakpoint | None, where: str, inherited: float | None
) -> Iterator[float]:
    if control:
        yield seconds_of_control(control, f"{where}.cache_control")
    if mark:
        yield seconds_of_breakpoint(mark, f"{where}.prompt_cache_breakpoint", inherited)
