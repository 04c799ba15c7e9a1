"""Splits a model's text into content, reasoning and tool calls. Knows no tokens and no HTTP.

Call `feed` as text arrives and `flush` at its end. The result does not depend on how the text was cut into pieces, and
nothing is lost: text that looks like a call and is none becomes content. White space around calls and reasoning is
dropped.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Literal, Protocol, TypeGuard

from nitro.text.partial_tags import partial_length
from nitro.text.reasoning import Markers
from nitro.text.tool_formats.format import Format
from nitro.text.tools import Call, Followed, Malformed, Tools, Unfinished

# What Python's own parsers raise for numbers and depths that are beyond them
BEYOND = (ValueError, RecursionError)


@dataclass(slots=True)
class Delta:
    """More of one channel. Of a call: more of its arguments; `name` comes with its first delta only."""

    channel: Literal["content", "reasoning", "call"]
    text: str
    call: int = 0  # its number in the answer
    name: str | None = None


class Parser(Protocol):
    """Reads one answer. See `ChannelParser`."""

    @property
    def thinking(self) -> bool:
        """Whether the text is reasoning at the moment."""

    @property
    def calls(self) -> int:
        """How many calls are complete."""

    def feed(self, text: str) -> list[Delta]:
        """What is certain after this much more text."""

    def flush(self) -> list[Delta]:
        """What is left at the end of the text."""


class Plain:
    """All text is content."""

    thinking = False
    calls = 0

    def feed(self, text: str) -> list[Delta]:
        """The text itself."""
        return [Delta("content", text)] if text else []

    def flush(self) -> list[Delta]:
        """Nothing: no text is held back."""
        return []


# The states of a ChannelParser


@dataclass(frozen=True, slots=True)
class _Start:
    """Nothing but white space has come; an optional prefix may come, and then reasoning may begin."""

    prefix: str


@dataclass(frozen=True, slots=True)
class _Content:
    """Within content, or where it may begin.

    `place`: "first" before any content or call, so that the answer itself may be a call; "edge" after a call or
    reasoning; "middle" after content. At the first two, white space is dropped.
    `gap`: the white space between earlier content and the calls after it. It comes before the next content, if any.
    """

    place: Literal["first", "edge", "middle"]
    gap: str = ""

    def after_gap(self, space: str) -> str:
        """The gap that remains where calls follow after this white space."""
        return space if self.place == "middle" else self.gap


@dataclass(frozen=True, slots=True)
class _Reasoning:
    """Within reasoning. `started`: it has text, so that white space counts. `then`: the state after it."""

    started: bool
    then: _Content


@dataclass(slots=True)
class _Calls:
    """Within calls, as far as is known. `before`: the content to return to if there are none."""

    opening: str  # the tag that opened them; "": the answer itself
    before: _Content
    space: str = ""  # the white space between that content and the opening
    searched: int = 0  # no closing tag ends the calls before this position
    streamed: list[str] = field(default_factory=list)  # the arguments of each call that were passed on


class ChannelParser:
    """Reads an answer by a family's markers and tool format. Its states::

        start ─── opening of reasoning ──► reasoning ◄─────────────┐
          │                                    │ closing           │ opening, where reasoning repeats
          │                                    ▼                   │
          └───────── anything else ───────► content ───────────────┘
                                             ▲   │ opening of calls
          closing, or they turn out none ────┘   ▼
                                      └──────── calls

    `thinking`: the prompt has opened the reasoning. `live`: calls are certain to be well formed, so their arguments
    are passed on as they come; else a call is withheld until it is known to be one. `begun`: the text goes on in the
    middle of content or reasoning.
    """

    def __init__(
        self,
        format: Format | None,
        tools: Tools,
        markers: Markers | None = None,
        thinking: bool = False,
        live: bool = False,
        begun: bool = False,
    ):
        self._format, self._tools, self._markers = format, tools, markers
        self._seen = format.seen if format and live else None
        self._opens = (format.opens[:1] if live else format.opens) if format else ()  # a grammar knows one only
        self._wraps = markers.wraps_of(tools) if markers else ()
        self._again = (markers.opens,) if markers and markers.again else ()
        self._state: _Start | _Reasoning | _Content | _Calls
        if thinking:
            self._state = _Reasoning(begun, _Content("first"))
        elif begun:
            self._state = _Content("middle")
        else:
            self._state = _Start(markers.lead if markers else "")
        self._text = ""  # not passed on yet; while calls are being read, all since their opening
        self._deltas: list[Delta] = []  # that `feed` or `flush` returns
        self.calls = 0

    @property
    def thinking(self) -> bool:
        """Whether the text is reasoning at the moment."""
        return isinstance(self._state, _Reasoning)

    def feed(self, text: str) -> list[Delta]:
        """What is certain after this much more text."""
        self._text += text
        self._advance()
        return self._taken()

    def flush(self) -> list[Delta]:
        """What is left at the end of the text."""
        self._advance()
        while isinstance(self._state, _Calls):
            self._end_calls(self._state)
            self._advance()
        if isinstance(self._state, _Reasoning):
            self._deltas.append(Delta("reasoning", self._text))
            self._text = ""
        elif self._text:
            self._say(len(self._text))
        return self._taken()

    def _taken(self) -> list[Delta]:
        deltas, self._deltas = self._deltas, []
        return list(joined(deltas))

    def _advance(self) -> None:
        """Pass on what is certain. Every step takes text away, changes the state, or waits for more text."""
        while self._text:
            state, length = self._state, len(self._text)
            if isinstance(state, _Content):
                self._read_content(state)
            elif isinstance(state, _Reasoning):
                self._read_reasoning(state)
            elif isinstance(state, _Calls):
                self._read_calls(state)
            else:
                self._read_start(state)
            if self._state is state and len(self._text) == length:
                return

    def _read_start(self, state: _Start) -> None:
        if state.prefix:
            if state.prefix.startswith(self._text) and state.prefix != self._text:
                return
            self._text = self._text.removeprefix(state.prefix)
            self._state = _Start("")
            return
        if self._markers and self._markers.opens:
            text, opens, closes = self._text.lstrip(), self._markers.opens, self._markers.closes
            if text.startswith(opens):
                self._text = text[len(opens) :]
                self._state = _Reasoning(False, _Content("first"))
                return
            if text.startswith(closes):  # of a model that does not reason this time, and says so
                self._text = text[len(closes) :]
            elif opens.startswith(text) or closes.startswith(text):
                return
        self._state = _Content("first")

    def _read_reasoning(self, state: _Reasoning) -> None:
        assert self._markers
        closes = self._markers.closes
        text = self._text if state.started else self._text.lstrip()
        end = text.find(closes)
        if end >= 0:
            self._text = text[end + len(closes) :]
            self._state = state.then
            self._deltas.append(Delta("reasoning", text[:end].rstrip()))
            return
        certain = len(text[: len(text) - partial_length(text, (closes,))].rstrip())
        self._text = text[certain:]
        if certain:
            self._state = _Reasoning(True, state.then)
            self._deltas.append(Delta("reasoning", text[:certain]))

    def _read_content(self, state: _Content) -> None:
        if self._format is None and not self._wraps:
            self._say(len(self._text))
            return
        opening = self._opening(state)
        if opening is None:
            return
        at, mark = opening
        state = self._say(len(self._text[:at].rstrip()))
        if mark is None:
            return
        space, _, self._text = self._text.partition(mark) if mark else ("", "", self._text)
        if mark in self._wraps:
            self._text = space + self._text
        elif mark in self._again:
            place: Literal["first", "edge"] = "first" if state.place == "first" else "edge"
            self._state = _Reasoning(False, _Content(place, space if state.place == "middle" else ""))
        else:
            self._state = _Calls(mark, state, space)

    def _opening(self, state: _Content) -> tuple[int, str | None] | None:
        """The position of the next opening of calls or ignored tag, and the tag; or how far there is certainly none,
        and None. None: more text must decide."""
        text = self._text
        if self._format and state.place == "first":
            begins = self._format.begins(text)
            if begins is None:
                return None
            if begins:
                return 0, ""
        marks = self._wraps + self._again + self._opens
        found = [(at, -len(mark), mark) for mark in marks if mark and (at := text.find(mark)) >= 0]
        if found:
            at, _, mark = min(found)
            longer = any(other.startswith(text[at:]) and other != text[at:] for other in marks)
            return at, None if longer else mark  # another mark may begin with this one
        return len(text) - partial_length(text, marks), None

    def _say(self, length: int) -> _Content:
        """Pass on so many characters as content."""
        assert isinstance(self._state, _Content | _Start)
        state = self._state if isinstance(self._state, _Content) else _Content("first")
        text = self._text[:length]
        self._text = self._text[length:]
        if state.place != "middle":
            text = text.lstrip()
        if text:
            self._deltas.append(Delta("content", state.gap + text))
            state = self._state = _Content("middle")
        return state

    def _read_calls(self, state: _Calls) -> None:
        assert self._format
        closes = self._format.closes
        while closes and (end := self._text.find(closes, state.searched)) >= 0:
            try:
                calls = self._parsed(self._text[:end])
            except Unfinished:  # this tag is within an argument
                state.searched = end + len(closes)
                continue
            except Malformed:
                if not state.streamed:
                    self._take_for_content(state)
                    return
                calls = []
            self._text = self._text[end + len(closes) :]
            self._complete(state, calls)
            return
        state.searched = max(state.searched, len(self._text) - len(closes) + 1)
        if self._seen:
            try:
                calls = self._seen(self._text, self._tools)
            except BEYOND:
                return
            self._pass_on(state, calls)

    def _parsed(self, text: str) -> list[Call]:
        """Raises Malformed."""
        assert self._format
        try:
            return self._format.parse(text, self._tools)
        except BEYOND as error:
            raise Malformed(str(error)) from None

    def _end_calls(self, state: _Calls) -> None:
        """The text ends within calls."""
        assert self._format
        if state.streamed:  # in the middle of a call
            self._text = ""
            self._complete(state, [])
            return
        try:
            if self._format.ends:
                raise Unfinished
            calls, rest = self._parsed(self._text), ""
        except Malformed as fault:
            if not self._are_followed(fault):
                self._take_for_content(state)
                return
            calls, rest = fault.calls, fault.rest
        self._text = rest
        self._complete(state, calls)

    def _are_followed(self, fault: Malformed) -> TypeGuard[Followed]:
        """Whether an answer of a family that closes its calls by ending went on after them. Only known tools count."""
        assert self._format
        if not isinstance(fault, Followed) or self._format.closes or not fault.calls:
            return False
        return all(call.name in self._tools for call in fault.calls)

    def _complete(self, state: _Calls, calls: list[Call]) -> None:
        self._pass_on(state, calls)
        self.calls += max(len(calls), len(state.streamed))
        self._state = _Content("edge", state.before.after_gap(state.space))

    def _pass_on(self, state: _Calls, calls: list[Call]) -> None:
        """What has not been passed on of these calls."""
        for i, call in enumerate(calls):
            number = self.calls + i
            if i == len(state.streamed):
                state.streamed.append("")
                self._deltas.append(Delta("call", "", number, _encodable(call.name)))
            before, arguments = state.streamed[i], _encodable(call.arguments)
            if len(arguments) > len(before) and arguments.startswith(before):
                state.streamed[i] = arguments
                self._deltas.append(Delta("call", arguments[len(before) :], number))

    def _take_for_content(self, state: _Calls) -> None:
        """These are no calls: what opened them is content, and so may be what follows it."""
        opened = (state.space if state.before.place == "middle" else "") + state.opening
        self._text = opened + self._text
        self._state = state.before
        self._say(len(opened) if state.opening else len(self._text))


def _encodable(text: str) -> str:
    """Without lone surrogates, which JSON can write and UTF-8 cannot."""
    return text.encode("utf-8", "replace").decode()


def joined(deltas: Iterable[Delta]) -> Iterator[Delta]:
    """Neighbours in a channel as one; nothing that adds nothing."""
    last: Delta | None = None
    for delta in deltas:
        if not delta.text and delta.name is None:
            continue
        if last and last.channel == delta.channel and last.call == delta.call and delta.name is None:
            last.text += delta.text
            continue
        if last:
            yield last
        last = delta
    if last:
        yield last
