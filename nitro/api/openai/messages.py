"""The messages of a conversation: checked, and nearly in the form that chat templates want."""

from typing import Any

import msgspec
from msgspec.structs import asdict

from nitro.api import media_parts
from nitro.api.openai.requests import ROLES, Message, Part
from nitro.api.openai.tools import MAX_TOOLS
from nitro.engines.types import MediaInfo
from nitro.errors import ApiError
from nitro.parameters import check_count
from nitro.service.media.sources import MediaSource
from nitro.service.requests import media_part, text_part
from nitro.text.conversation_shape import REASONING_NAMES

TEXT_PARTS = ("text", "input_text", "output_text")
MEDIA_FIELDS = ("image_url", "image", "input_audio", "audio_url")
LEGACY_ID = "function0"  # joins a `function_call` and its result, which have no id
MAX_MESSAGES = 10_000
MAX_PARTS = 10_000  # of one content


class ContentReader:
    """Reads contents whose parts may be images and sounds. `about`: which of them the model takes. `media`: those that
    were found."""

    def __init__(self, about: MediaInfo | None = None):
        self._about = about
        self.media: list[MediaSource] = []

    def parts(self, content: str | Part | list[str | Part] | None, where: str) -> list[dict[str, Any]]:
        """A content's parts, as templates want them; null has none. Errors call it `where`. Raises ApiError 400."""
        if isinstance(content, str):
            return [text_part(content)]
        return [self._part(part, place) for part, place in _placed(content, where)]

    def _part(self, part: str | Part, where: str) -> dict[str, Any]:
        if isinstance(part, str):
            return text_part(part)
        kind = part.type or next((name for name in MEDIA_FIELDS if getattr(part, name) is not None), None)
        if not media_parts.is_medium(kind):
            return text_part(_parse_part(part, where))
        return media_part(media_parts.source(_fields(part) | {"type": kind}, where, self._about), self.media)


def parse_messages(messages: list[Message], reader: ContentReader) -> list[dict[str, Any]]:
    """Each message with its role, its content as a list of parts, and the other keys that templates read. Raises
    ApiError 400."""
    if not messages:
        raise ApiError.invalid("messages", "at least one message")
    check_count("messages", messages, MAX_MESSAGES, "messages")
    return [_parse_message(message, f"messages[{i}]", reader) for i, message in enumerate(messages)]


def _parse_message(message: Message, where: str, reader: ContentReader) -> dict[str, Any]:
    if message.role not in ROLES:
        raise ApiError.invalid(f"{where}.role", f"one of {', '.join(ROLES)}, got '{message.role}'")
    said = message.refusal if message.content is None else message.content  # a refusal sent back has no content
    parsed: dict[str, Any] = {"role": message.role, "content": reader.parts(said, f"{where}.content")}
    if message.name is not None:
        parsed["name"] = message.name
    if message.tool_call_id is not None:
        parsed["tool_call_id"] = message.tool_call_id
    if message.tool_calls:
        check_count(f"{where}.tool_calls", message.tool_calls, MAX_TOOLS, "calls")
        calls = enumerate(message.tool_calls)
        parsed["tool_calls"] = [_parse_tool_call(call, f"{where}.tool_calls[{i}]") for i, call in calls]
    if message.reasoning and message.reasoning_content and message.reasoning != message.reasoning_content:
        raise ApiError.same(f"{where}.reasoning", f"{where}.reasoning_content")
    if message.function_call and message.tool_calls:
        raise ApiError.invalid(f"{where}.function_call", "nothing beside 'tool_calls'")
    reasoning = message.reasoning_content or message.reasoning
    if reasoning:
        parsed |= dict.fromkeys(REASONING_NAMES, reasoning)
    if message.role == "function":  # the deprecated form, which has one call at a time
        parsed |= {"role": "tool", "tool_call_id": LEGACY_ID}
    if message.function_call:
        call = {"id": LEGACY_ID, "type": "function", "function": message.function_call}
        parsed["tool_calls"] = [_parse_tool_call(call, f"{where}.function_call")]
    return parsed


def parse_content(content: str | Part | list[str | Part] | None, where: str) -> list[str]:
    """The texts of a content that holds nothing else; null has none. Errors call it `where`. Raises ApiError 400."""
    return [_parse_part(part, place) for part, place in _placed(content, where)]


def _placed(content: str | Part | list[str | Part] | None, where: str) -> list[tuple[str | Part, str]]:
    """A content's parts, each with its place. Raises ApiError 400."""
    if content is None:
        return []
    if not isinstance(content, list):
        return [(content, where)]
    check_count(where, content, MAX_PARTS, "parts")
    return [(part, f"{where}[{i}]") for i, part in enumerate(content)]


def _fields(value: Part) -> dict[str, Any]:
    """A part as an object that no struct describes."""
    fields = asdict(value)
    return {name: asdict(inner) if isinstance(inner, msgspec.Struct) else inner for name, inner in fields.items()}


def _parse_part(part: str | Part, where: str) -> str:
    if isinstance(part, str):
        return part
    for name in (part.type, *(name for name in MEDIA_FIELDS if getattr(part, name) is not None)):
        if media_parts.is_medium(name):
            message = f"Unsupported content: '{where}.type' is '{name}'. Only a text can stand here."
            raise ApiError(400, message, param=f"{where}.type", code="unsupported_content")
    field = "refusal" if part.type == "refusal" else "text"
    text: str | None = getattr(part, field)
    if part.type not in (*TEXT_PARTS, "refusal", None):
        raise ApiError.invalid(f"{where}.type", f"'text', got '{part.type}'")
    if text is None:
        raise ApiError.missing(f"{where}.{field}")
    return text


def _parse_tool_call(call: dict[str, Any], where: str) -> dict[str, Any]:
    """The call, with its type, and its arguments as an object if they are one: templates want both."""
    if not isinstance(call.get("id"), str | None):
        raise ApiError.invalid(f"{where}.id", "a text")
    if call.get("type") is None:
        call = {**call, "type": "function"}
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
