"""Reads answers that are messages with headers, as gpt-oss (harmony) and Muse write them::

    header <|message|> text <|end|> <|start|> header <|message|> text …

The first header begins in the prompt. A header says for whom its message is: for the user, for the model itself, or for
a tool. Headers may be cut, doubled or strange: no mark of them is ever text. What marks them is control tokens.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from nitro.text.deltas import ChannelDelta, call_deltas, merged
from nitro.text.partial_tags import next_tag
from nitro.text.tools import Call, Malformed, ToolsByName, Unfinished

_MAX_HEADER = 200  # characters; what goes on without a message is text
_ROLE = "assistant"  # that the prompt has written, and some models repeat
_BEYOND_PYTHON = (ValueError, RecursionError)


@dataclass(frozen=True, slots=True)
class Header:
    """What a header says: whose text its message is, and `tool`, which it calls. `certain`: it is the one that a
    grammar writes. `text`: what in it belongs to no header."""

    channel: Literal["content", "reasoning"]
    tool: str | None = None
    certain: bool = False
    text: str = ""


@dataclass(frozen=True, slots=True)
class MessageFormat:
    """How a family writes messages."""

    start: str  # before a header
    message: str  # after a header
    ends: tuple[str, ...]  # after a message
    reasoning: str  # the markers of the family's reasoning begin with this: see text/reasoning.py
    read_header: Callable[[str, ToolsByName], Header]
    parse: Callable[[str, str, ToolsByName], list[Call]]  # the message to a tool, by the tool's name; raises Malformed
    parse_partial: Callable[[str, str, ToolsByName], list[Call]]  # so far, where a grammar makes it certain
    in_header: tuple[str, ...] = ()  # marks before its parts
    call: str = ""  # a message whose header names nobody is a call if it begins so

    @property
    def marks(self) -> tuple[str, ...]:
        """All control tokens of messages."""
        return (self.start, self.message, *self.ends, *self.in_header)


@dataclass(frozen=True, slots=True)
class _InHeader:
    """Before a header, or in one."""


@dataclass(frozen=True, slots=True)
class _InText:
    """In a message that is text. `begun`: some of it has come, so that white space counts."""

    channel: Literal["content", "reasoning"]
    begun: bool = False
    may_call: bool = False  # it has no header, and nothing of it has come


@dataclass(slots=True)
class _InCall:
    """In a message to a tool, as far as is known."""

    header: Header
    searched: int = 0  # no mark ends it before this position
    streamed: list[str] = field(default_factory=list)  # the arguments of each call that were passed on


class MessageParser:
    """Reads one answer: see deltas.Parser. The result does not depend on how the text is cut into pieces."""

    def __init__(
        self,
        format: MessageFormat,
        tools: ToolsByName,
        in_reasoning: bool = False,
        stream_calls: bool = False,
        continues: bool = False,
    ):
        """The arguments mean what they mean for a ChannelParser. No tools: calls are text."""
        self._format, self._tools, self._stream_calls = format, tools, stream_calls
        self._state: _InHeader | _InText | _InCall = _InHeader()
        if in_reasoning or continues:
            self._state = _InText("reasoning" if in_reasoning else "content", begun=continues)
        self._text = ""  # not passed on yet
        self._deltas: list[ChannelDelta] = []
        self._ended = False
        self.calls = 0

    passes = False

    @property
    def thinking(self) -> bool:
        """Whether the text is reasoning at the moment."""
        return isinstance(self._state, _InText) and self._state.channel == "reasoning"

    @property
    def pending(self) -> int:
        """How many characters at the end of the text have not been read yet."""
        return len(self._text)

    def feed(self, text: str) -> list[ChannelDelta]:
        """What is certain after this much more text."""
        self._text += text
        return self._advance()

    def flush(self) -> list[ChannelDelta]:
        """What is left at the end of the text."""
        self._ended = True
        return self._advance()

    def _advance(self) -> list[ChannelDelta]:
        """Every step takes text away, changes the state, or waits for more text."""
        while self._text or (self._ended and isinstance(self._state, _InCall)):
            state, length = self._state, len(self._text)
            if isinstance(state, _InText):
                self._read_text(state)
            elif isinstance(state, _InCall):
                self._read_call(state)
            else:
                self._read_header()
            if self._state is state and len(self._text) == length:
                break
        deltas, self._deltas = self._deltas, []
        return merged(deltas)

    def _read_header(self) -> None:
        text = self._text.lstrip()
        begins = self._begins_header(text)
        if begins is None:
            return
        if not begins:
            self._state = _InText("content", may_call=True)
            return
        format = self._format
        tags = (format.message, *format.ends, format.start, *([format.call] if format.call and self._tools else []))
        found = [(at, tag) for tag in tags if (at := text.find(tag, text.startswith(format.start))) >= 0]
        at, tag = min(found, default=(len(text), ""))
        if at > _MAX_HEADER:
            at, tag = _MAX_HEADER, ""
        elif not tag and not self._ended and len(text) < _MAX_HEADER + max(map(len, (*format.marks, format.call))):
            return
        if tag in format.ends and not at:  # an end that ends nothing
            self._text = text[len(tag) :]
            return
        header = format.read_header(text[:at], self._tools)
        if tag and tag == format.call and not header.text:
            self._text, self._state = text[at:], _InCall(Header("content", "", certain=True))
        elif tag == format.message:
            self._text = text[at + len(tag) :]
            self._state = _InCall(header) if header.tool and self._tools else _InText(header.channel)
        else:  # there is no message: what is no header is text
            self._text = header.text + text[at:]
            self._state = _InText(header.channel) if header.text or not tag else _InHeader()

    def _begins_header(self, text: str) -> bool | None:
        """None: more text must decide."""
        beginnings = (*self._format.marks, "to=")
        rest = text.removeprefix(_ROLE).lstrip()
        if any(rest.startswith(beginning) for beginning in beginnings):
            return True
        if not self._ended and (_ROLE.startswith(text) or any(beginning.startswith(rest) for beginning in beginnings)):
            return None
        return False

    def _read_text(self, state: _InText) -> None:
        format = self._format
        text = self._text if state.begun else self._text.lstrip()
        if state.may_call and self._tools and format.call:
            if text.startswith(format.call):
                self._text, self._state = text, _InCall(Header("content", "", certain=True))
                return
            if format.call.startswith(text) and not self._ended:
                return
        at, tag = next_tag(text, format.marks)
        if tag is None and self._ended:
            at = len(text)
        certain = at if tag is None and self._ended else len(text[:at].rstrip())
        self._text = text[certain:]
        if certain:
            self._deltas.append(ChannelDelta(state.channel, text[:certain]))
            self._state = state = _InText(state.channel, begun=True)
        if tag == format.message:  # which ends no header
            self._text = text[certain:at] + text[at + len(tag) :]
        elif tag is not None:
            self._text = text[at + len(tag) * (tag in format.ends) :]
            self._state = _InHeader()

    def _read_call(self, state: _InCall) -> None:
        name, format = state.header.tool or "", self._format
        tags = (*format.ends, format.start, *format.in_header)
        while found := min(
            ((at, tag) for tag in tags if (at := self._text.find(tag, state.searched)) >= 0), default=None
        ):
            end, tag = found
            try:
                calls = self._parsed(name, self._text[:end])
            except Unfinished:  # this mark is within an argument
                state.searched = end + len(tag)
                continue
            except Malformed:
                self._take_for_text(state, end + len(tag) * (tag in format.ends))
                return
            self._complete(state, calls, self._text[end + len(tag) * (tag in format.ends) :])
            return
        if self._ended:
            try:
                self._complete(state, self._parsed(name, self._text), "")
            except Malformed:
                self._take_for_text(state, len(self._text))
            return
        state.searched = max(state.searched, len(self._text) - max(map(len, tags)) + 1)
        if self._stream_calls and state.header.certain:
            try:
                calls = format.parse_partial(name, self._text, self._tools)
            except (*_BEYOND_PYTHON, Malformed):
                return
            self._deltas += call_deltas(self.calls, state.streamed, calls)

    def _parsed(self, name: str, text: str) -> list[Call]:
        """Raises Malformed."""
        try:
            return self._format.parse(name, text, self._tools)
        except _BEYOND_PYTHON as error:
            raise Malformed(str(error)) from None

    def _complete(self, state: _InCall, calls: list[Call], rest: str) -> None:
        self._deltas += call_deltas(self.calls, state.streamed, calls)
        self.calls += max(len(calls), len(state.streamed))
        self._text, self._state = rest, _InHeader()

    def _take_for_text(self, state: _InCall, end: int) -> None:
        """It is no call up to `end`: its message is text, or the end of one that was passed on in part."""
        if state.streamed:
            self._complete(state, [], self._text[end:])
        else:
            self._state = _InText(state.header.channel)
