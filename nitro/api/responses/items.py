"""Items of the Responses API → the messages of a conversation, as chat templates want them.

    message                     a message of its role; a text is a user's
    reasoning                   belongs to the assistant's message that follows
    function_call, custom_…     calls of the assistant's message before or, where there is none, of one without text
    function_call_output, …     a message of the role `tool`
    item_reference              the item that the server has kept under this id

Knows nothing of tools that are offered but the names under which the model knows them.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import msgspec

from nitro.api import media_parts
from nitro.api.names import Harmless, Refused, asks
from nitro.api.openai.messages import MAX_MESSAGES, MAX_PARTS
from nitro.api.prefix_cache import marked_parts
from nitro.api.responses import names, sealed
from nitro.api.responses.custom_input import INPUT
from nitro.engines.types import MediaInfo
from nitro.errors import ApiError
from nitro.parameters import check_count
from nitro.service import ignored_parameters
from nitro.service.media.sources import MediaSource
from nitro.service.requests import Breakpoint, media_part, text_part
from nitro.text.conversation_shape import REASONING_NAMES

Item = Mapping[str, Any]
Named = Callable[[str, str | None], str]  # of a tool's name and namespace: how the model knows it

ROLES = ("user", "assistant", "system", "developer")
TEXT_PARTS = ("input_text", "output_text", "text", "summary_text", "reasoning_text")


class ConversationReader:
    """Reads items one after the other. `named`: how the model knows a tool. `references`: kept items, by id.
    `calls`: ids of calls that were made before. `inherited`: see prefix_cache.WholePrompt. `about`: the
    images and sounds that the model takes; `media` are those that were found."""

    def __init__(
        self,
        named: Named,
        references: Mapping[str, Item] | None = None,
        calls: Iterable[str] = (),
        inherited: float | None = None,
        about: MediaInfo | None = None,
    ):
        self._named = named
        self._about = about
        self.media: list[MediaSource] = []
        self._inherited = inherited
        self._references = references or {}
        self._turn: dict[str, Any] | None = None  # the assistant's message, which may go on
        self._calls = set(calls)  # ids
        self.messages: list[dict[str, Any]] = []
        self.places: list[str] = []  # what each message is made of, for errors
        self.breakpoints: list[Breakpoint] = []
        self.told: list[str] = []  # names without effect, with their paths, as they may stand in a header

    def read(self, items: Sequence[Item], where: str) -> list[Item]:
        """Add items, which stand at `where`. Returns them without references. Raises ApiError 400."""
        check_count(where, items, MAX_MESSAGES, "items")
        return [self._read(item, f"{where}[{i}]") for i, item in enumerate(items)]

    def add(self, message: dict[str, Any], where: str) -> None:
        """A message that is made of what stands there."""
        self._turn = None
        self.messages.append(message)
        self.places.append(where)

    def _read(self, item: Item, where: str) -> Item:
        kind = _kind(item)
        if kind == "item_reference":
            item = self._referenced(item, where)
            kind = _kind(item)
        if not isinstance(item.get("id"), str | None):
            raise ApiError.invalid(f"{where}.id", "a text", code="invalid_type")
        read = _READERS.get(kind)
        if read is None:
            known = ", ".join((*_READERS, "item_reference"))
            raise ApiError(
                400,
                f"Unsupported value: '{where}.type' is '{kind}'; items of these types are read here: {known}.",
                param=f"{where}.type",
                code="unsupported_value",
            )
        reader, own = read
        self._tell(item, own, names.ITEM, where)
        reader(self, item, where)
        return item

    def _referenced(self, item: Item, where: str) -> Item:
        id = _text(item, "id", where)
        if id not in self._references:
            why = f"Item with id '{id}' not found. Items of responses with store = false are not kept."
            raise ApiError(404, why, param=f"{where}.id")
        return self._references[id]

    def _tell(self, value: Item, own: frozenset[str], known: Mapping[str, Any], where: str) -> None:
        """Note names without effect. Raises ApiError for one that is refused."""
        for name, inner in value.items():
            if name in own or inner is None:
                continue
            row = known.get(name)
            if row is None:
                self.told.append(ignored_parameters.escaped(f"{where}.{name}"))
            elif isinstance(row, Refused) and asks(inner, row.neutral):
                raise row.refusal(f"{where}.{name}")
            else:
                assert isinstance(row, Harmless | Refused)

    # One function for each type

    def _message(self, item: Item, where: str) -> None:
        role = item.get("role")
        if role not in ROLES:
            raise ApiError.invalid(f"{where}.role", f"one of {', '.join(ROLES)}, got '{role}'")
        content = self._content(item.get("content"), f"{where}.content")
        if role != "assistant":
            self.add({"role": role, "content": content}, where)
        elif self._turn is not None and (self._turn.get("tool_calls") or not self._turn["content"]):
            self._turn["content"] += content  # after its reasoning, or beside calls
        else:
            self._begin_turn(where)["content"] += content
        before = len(self.messages[-1]["content"]) - len(content)
        for number, seconds in marked_parts(item.get("content"), f"{where}.content", self._inherited):
            self.breakpoints.append(Breakpoint(seconds, len(self.messages) - 1, before + number))

    def _reasoning(self, item: Item, where: str) -> None:
        """Its text is in one of three places."""
        text = ""
        encrypted = item.get("encrypted_content")
        if isinstance(encrypted, str):
            text = sealed.opened(encrypted) or ""
        for name in ("content", "summary"):
            parts = [] if text else self._content(item.get(name), f"{where}.{name}", self._text_part)
            text = text or "\n\n".join(part["text"] for part in parts)
        if not text:
            return
        turn = self._turn
        if turn is None or (turn["content"] and not turn.get("tool_calls")):
            turn = self._begin_turn(where)
        said = turn.get(REASONING_NAMES[0])
        turn |= dict.fromkeys(REASONING_NAMES, f"{said}\n\n{text}" if said else text)

    def _function_call(self, item: Item, where: str) -> None:
        arguments = item.get("arguments")
        if not isinstance(arguments, str | None):
            raise ApiError.invalid(f"{where}.arguments", "JSON in a text", code="invalid_type")
        self._call(item, where, _object(arguments))

    def _custom_call(self, item: Item, where: str) -> None:
        self._call(item, where, {INPUT: _text(item, "input", where)})

    def _call(self, item: Item, where: str, arguments: Any) -> None:
        id = _text(item, "call_id", where)
        namespace = item.get("namespace")
        if not isinstance(namespace, str | None):
            raise ApiError.invalid(f"{where}.namespace", "a text", code="invalid_type")
        name = self._named(_text(item, "name", where), namespace or None)
        turn = self._turn if self._turn is not None else self._begin_turn(where)
        turn.setdefault("tool_calls", []).append(
            {"id": id, "type": "function", "function": {"name": name, "arguments": arguments}}
        )
        self._calls.add(id)

    def _output(self, item: Item, where: str) -> None:
        id = _text(item, "call_id", where)
        if id not in self._calls:
            raise ApiError(400, f"No tool call found for the output with call_id '{id}'.", param=f"{where}.call_id")
        if item.get("output") is None:
            raise ApiError.missing(f"{where}.output")
        content = self._content(item["output"], f"{where}.output")
        self.add({"role": "tool", "content": content, "tool_call_id": id}, where)

    def _begin_turn(self, where: str) -> dict[str, Any]:
        turn: dict[str, Any] = {"role": "assistant", "content": []}
        self.add(turn, where)
        self._turn = turn
        return turn

    def _content(self, content: Any, where: str, read: "_ReadPart | None" = None) -> list[dict[str, Any]]:
        """A content, a text or parts, as templates want it. `read`: reads a part; None: it may be an image or a
        sound."""
        if content is None:
            return []
        if isinstance(content, str):
            return [text_part(content)]
        parts = content if isinstance(content, list) else [content]
        check_count(where, parts, MAX_PARTS, "parts")
        return [(read or self._part)(part, f"{where}[{i}]") for i, part in enumerate(parts)]

    def _part(self, part: Any, where: str) -> dict[str, Any]:
        if isinstance(part, dict) and isinstance(kind := part.get("type"), str) and media_parts.is_medium(kind):
            self._tell(part, _MEDIA_FIELDS, names.MEDIA_PART, where)
            return media_part(media_parts.source(part, where, self._about), self.media)
        return self._text_part(part, where)

    def _text_part(self, part: Any, where: str) -> dict[str, Any]:
        if not isinstance(part, dict):
            raise ApiError.invalid(where, "an object", code="invalid_type")
        kind = part.get("type")
        if kind not in (*TEXT_PARTS, "refusal"):
            raise ApiError.invalid(f"{where}.type", f"'input_text', 'output_text' or 'refusal', got '{kind}'")
        field = "refusal" if kind == "refusal" else "text"
        self._tell(part, frozenset(("type", field)), names.PART, where)
        return text_part(_text(part, field, where))


_MEDIA_FIELDS = frozenset(("type", "image_url", "image", "detail", "input_audio", "audio_url", "file_id"))
_ReadPart = Callable[[Any, str], dict[str, Any]]
_Read = Callable[[ConversationReader, Item, str], None]
_CALL = "type call_id name namespace"


def _row(read: _Read, own: str) -> tuple[_Read, frozenset[str]]:
    return read, frozenset(own.split())


_READERS: dict[str, tuple[_Read, frozenset[str]]] = {
    "message": _row(ConversationReader._message, "type role content"),
    "reasoning": _row(ConversationReader._reasoning, "type summary content encrypted_content"),
    "function_call": _row(ConversationReader._function_call, f"{_CALL} arguments"),
    "function_call_output": _row(ConversationReader._output, f"{_CALL} output"),
    "custom_tool_call": _row(ConversationReader._custom_call, f"{_CALL} input"),
    "custom_tool_call_output": _row(ConversationReader._output, f"{_CALL} output"),
}


def _kind(item: Item) -> str:
    """Its type, which a message and a reference may leave out."""
    kind = item.get("type")
    if kind is None:
        return "message" if "role" in item else "item_reference"
    return str(kind)


def _text(value: Item, name: str, where: str) -> str:
    """A field that must be there. Raises ApiError 400."""
    text = value.get(name)
    if text is None:
        raise ApiError.missing(f"{where}.{name}")
    if not isinstance(text, str):
        raise ApiError.invalid(f"{where}.{name}", "a text", code="invalid_type")
    return text


def _object(arguments: str | None) -> Any:
    """Arguments as an object if they are one: templates want that."""
    if arguments is None:
        return {}
    try:
        parsed = msgspec.json.decode(arguments)
    except (msgspec.DecodeError, RecursionError):
        return arguments
    return parsed if isinstance(parsed, dict) else arguments
