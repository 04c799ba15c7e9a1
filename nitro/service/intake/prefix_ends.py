"""Where in a prompt the prefixes end that a request names, which names them by its messages.

Only the chat template knows where a message stands in the prompt, and it is a program. So the prompt is written again
with another text from the breakpoint on: up to there both are the same, and so is the prompt of any other request that
is the same up to the breakpoint. Pure, but for the template that it is given.
"""

from collections.abc import Callable, Iterator
from typing import Any

from nitro.engines.work import Keep
from nitro.errors import TemplateError
from nitro.service.requests import KEPT_SECONDS, Breakpoint, Conversation, GenerationRequest, text_part

OTHER = "\ue000"  # of no script; it stands for whatever another request says
MAX_BREAKPOINTS = 4  # of a request, as with Anthropic and OpenAI: the last ones

Messages = list[dict[str, Any]]
Tools = list[dict[str, Any]]
Render = Callable[[Messages, Tools | None], str]


def keeps(request: GenerationRequest, text: str, render: Render) -> list[Keep]:
    """What is to be kept of this prompt of a conversation. `render` writes it for other messages and tools."""
    prompt = request.prompt
    assert isinstance(prompt, Conversation)
    found = whole(request)
    for place in request.prefix_breakpoints[-MAX_BREAKPOINTS:]:
        end = _end(prompt, place, text, render)
        found.append(Keep(place.seconds, end))
    return found


def whole(request: GenerationRequest) -> list[Keep]:
    """The same, of the prompt as a whole, whatever it is."""
    if request.prefix_key is None and request.prefix_seconds is None:
        return []
    seconds = KEPT_SECONDS if request.prefix_seconds is None else request.prefix_seconds
    return [Keep(seconds, key=request.prefix_key)]


def _end(prompt: Conversation, place: Breakpoint, text: str, render: Render) -> int | None:
    """The characters before a breakpoint; None: all, where nothing follows it that another request may say
    otherwise."""
    for messages, tools in _others(prompt, place):
        try:
            other = render(messages, tools)
        except TemplateError:
            continue
        if (end := _common(text, other)) < len(text):
            return end
    return None


def _others(prompt: Conversation, place: Breakpoint) -> Iterator[tuple[Messages, Tools | None]]:
    """The conversation with another text right at the breakpoint, or behind it: the first that shows is right."""
    offered = prompt.tools.offered if prompt.tools else None
    if place.message is None:
        if offered:
            yield prompt.messages, [*offered, offered[-1]]  # another behind them all
            yield prompt.messages, [*offered[:-1], _other_tool(offered[-1])]
        return
    message = prompt.messages[place.message]
    parts = message["content"]
    at_the_end = place.part is None and message.get("tool_calls")
    if parts and not at_the_end:
        number = len(parts) - 1 if place.part is None else place.part
        yield (
            _replaced(
                prompt.messages,
                place.message,
                [*parts[:number], *_with(parts[number], behind=True), *parts[number + 1 :]],
            ),
            offered,
        )
    for i in range(place.message + 1, len(prompt.messages)):
        if parts := prompt.messages[i]["content"]:
            yield _replaced(prompt.messages, i, [*_with(parts[0], behind=False), *parts[1:]]), offered
            return


def _with(part: dict[str, Any], behind: bool) -> list[dict[str, Any]]:
    """A part, and another text behind it or before it."""
    if "text" not in part:
        return [part, text_part(OTHER)] if behind else [text_part(OTHER), part]
    text = part["text"]
    return [{**part, "text": text + OTHER if behind else OTHER + text}]


def _replaced(messages: Messages, message: int, content: list[dict[str, Any]]) -> Messages:
    return [*messages[:message], {**messages[message], "content": content}, *messages[message + 1 :]]


def _other_tool(tool: dict[str, Any]) -> dict[str, Any]:
    function = tool["function"]
    return {**tool, "function": {**function, "description": (function.get("description") or "") + OTHER}}


def _common(a: str, b: str) -> int:
    """How many leading characters two texts share, by bisection."""
    low, high = 0, min(len(a), len(b))
    while low < high:
        middle = (low + high + 1) // 2
        if a[low:middle] == b[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low
