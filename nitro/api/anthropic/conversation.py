"""The messages of a request, in the form that chat templates want.

system                           → a system message, without a billing line
user: results of tools, texts,   → a message for each result, and one for the texts and images between them
      images
assistant: thinking, text, calls → one message with its reasoning, content and calls
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from nitro.api.anthropic import blocks, signatures
from nitro.api.anthropic.requests import CLEARINGS, ROLES, Block, MessagesRequest, ResultBlock, SystemBlock, Turn
from nitro.api.openai.messages import MAX_MESSAGES
from nitro.api.prefix_cache import CacheControl, seconds_of_control
from nitro.engines.types import MediaInfo
from nitro.errors import ApiError
from nitro.parameters import check_count
from nitro.service.media.sources import MediaSource
from nitro.service.requests import Breakpoint, media_part, text_part
from nitro.text.conversation_shape import REASONING_NAMES

# Claude Code's first line, which differs in every conversation and would cost each its cached prefix
BILLING = "x-anthropic-billing-header:"

Content = Sequence[tuple[Block, str]]  # blocks, each with its place


@dataclass(slots=True)
class ParsedConversation:
    """The messages; where the request has each; where prefixes end that are to stay in the cache."""

    messages: list[dict[str, Any]] = field(default_factory=list)
    places: list[str] = field(default_factory=list)
    breakpoints: list[Breakpoint] = field(default_factory=list)
    about: MediaInfo | None = None  # the images that the model takes
    media: list[MediaSource] = field(default_factory=list)
    unpackable: int = signatures.MAX_TEXT  # bytes that signatures may still carry

    def begin(self, place: str, message: dict[str, Any]) -> None:
        """A message begins."""
        self.messages.append(message)
        self.places.append(place)

    def say(self, said: str | Block | ResultBlock, control: CacheControl | None, where: str) -> None:
        """The last message says more: a text, or the image of a block. Raises ApiError 400."""
        content = self.messages[-1]["content"]
        if isinstance(said, str):
            content.append(text_part(said))
        else:
            content.append(media_part(blocks.image(said, where, self.about), self.media))
        self.mark(control, where, len(content) - 1)

    def thought(self, block: Block) -> str:
        """The text of a thinking block."""
        text = signatures.text_of(block.thinking or "", block.signature or "", self.unpackable)
        if not block.thinking:
            self.unpackable -= len(text.encode())
        return text

    def mark(self, control: CacheControl | None, where: str, part: int | None = None) -> None:
        """What there is so far stays in the cache, if its block says so."""
        if control:
            seconds = seconds_of_control(control, f"{where}.cache_control")
            self.breakpoints.append(Breakpoint(seconds, len(self.messages) - 1, part))


def parse(request: MessagesRequest, about: MediaInfo | None = None) -> ParsedConversation:
    """All messages, the system prompt first. `about`: the images that the model takes. Raises ApiError 400."""
    if not request.messages:
        raise ApiError.invalid("messages", "at least one message")
    check_count("messages", request.messages, MAX_MESSAGES, "messages")
    last_user = max((i for i, message in enumerate(request.messages) if message.role == "user"), default=-1)
    parsed = ParsedConversation(about=about)
    _add_system(parsed, request.system)
    for i, message in enumerate(request.messages):
        place = f"messages[{i}]"
        _check(message, place)
        if message.clear_at != "next_user_message" or last_user < i:
            _ADD[message.role](parsed, blocks.of(message.content, message.role, f"{place}.content"), place)
    if not parsed.messages:
        raise ApiError.invalid("messages", "a message with a content")
    return parsed


def _check(message: Turn, where: str) -> None:
    if message.role not in ROLES:
        raise ApiError.invalid(f"{where}.role", f"one of {', '.join(ROLES)}, got '{message.role}'")
    if message.clear_at not in (None, *CLEARINGS):
        raise ApiError.invalid(f"{where}.clear_at", f"one of {', '.join(CLEARINGS)}, got '{message.clear_at}'")
    if message.clear_at and message.role != "system":
        raise ApiError.invalid(f"{where}.clear_at", "a message from the system")


def _add_system(parsed: ParsedConversation, system: str | list[SystemBlock] | None) -> None:
    given = [SystemBlock(system)] if isinstance(system, str) else system or []
    check_count("system", given, blocks.MAX_BLOCKS, "blocks")
    for i, block in enumerate(given):
        if block.type not in (None, "text"):
            blocks.refuse(block.type, ("text",), f"system[{i}]")
        text = block.text
        if i == 0 and text.startswith(BILLING):
            text = text.partition("\n")[2]
            if not text:
                continue
        if not parsed.messages:
            parsed.begin("system", {"role": "system", "content": []})
        parsed.say(text, block.cache_control, f"system[{i}]")


def _add_later_system(parsed: ParsedConversation, content: Content, place: str) -> None:
    """Its texts; what it says of tools is read by tool_changes.py."""
    texts = [(block, where) for block, where in content if block.type == "text"]
    if texts:
        parsed.begin(place, {"role": "system", "content": []})
    for block, where in texts:
        parsed.say(blocks.text(block, where), block.cache_control, where)


def _add_user(parsed: ParsedConversation, content: Content, place: str) -> None:
    talks = False
    for block, where in content:
        if block.type == "tool_result":
            parsed.begin(place, {"role": "tool", "tool_call_id": blocks.result_id(block, where), "content": []})
            for said, control, inner in blocks.result_parts(block, where):
                parsed.say(said, control, inner)
            parsed.mark(block.cache_control, where)
            talks = False
            continue
        if not talks:
            parsed.begin(place, {"role": "user", "content": []})
            talks = True
        text_or_image = block if block.type == "image" else blocks.text(block, where)
        parsed.say(text_or_image, block.cache_control, where)
    if not content:
        parsed.begin(place, {"role": "user", "content": []})


def _add_assistant(parsed: ParsedConversation, content: Content, place: str) -> None:
    message: dict[str, Any] = {"role": "assistant", "content": []}
    parsed.begin(place, message)
    thoughts: list[str] = []
    calls: list[dict[str, Any]] = []
    for block, where in content:
        match block.type:
            case "text":
                parsed.say(blocks.text(block, where), block.cache_control, where)
            case "thinking":
                thoughts.append(parsed.thought(block))
            case "tool_use":
                calls.append(_call(block, where))
                parsed.mark(block.cache_control, where)
    if thinking := "\n\n".join(filter(None, thoughts)):
        message |= dict.fromkeys(REASONING_NAMES, thinking)
    if calls:
        message["tool_calls"] = calls


def _call(block: Block, where: str) -> dict[str, Any]:
    for name in ("id", "name"):
        if getattr(block, name) is None:
            raise ApiError.missing(f"{where}.{name}")
    function = {"name": block.name, "arguments": block.input or {}}
    return {"id": block.id, "type": "function", "function": function}


_ADD = {"system": _add_later_system, "user": _add_user, "assistant": _add_assistant}
