"""Splits a model's text into content, reasoning and tool calls. Knows no tokens and no HTTP.

Call `feed` as text arrives and `flush` at its end. The result does not depend on how the text was cut into pieces, and
nothing is lost: text that looks like a call and is none becomes content. White space around calls and reasoning is
dropped. A call of an offered tool ends reasoning that nothing closes after it; all else in it is reasoning, tags too.
"""

from dataclasses import dataclass, field
from typing import Literal, TypeGuard

from nitro.text.deltas import ChannelDelta, call_deltas, merged
from nitro.text.partial_tags import next_tag
from nitro.text.reasoning import Markers
from nitro.text.tool_formats.format import ToolFormat
from nitro.text.tools import Call, Malformed, TextAfterCalls, ToolsByName, Unfinished

# What Python's own parsers raise for numbers and depths that are beyond them
_BEYOND_PYTHON = (ValueError, RecursionError)
# In reasoning a tag opens no calls if no tool's name is among so many characters behind it
_UNNAMED = 1000
# After so many tags that have opened no calls none is looked for: each costs time that grows with the text behind it
_MAX_MENTIONS = 256


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
    """Within calls, as far as is known. `before`: the content or reasoning to return to if there are none."""

    opening: str  # the tag that opened them; "": the answer itself
    before: _Content | _Reasoning
    space: str = ""  # the white space between what was before and the opening
    searched: int = 0  # no closing tag ends the calls before this position
    whole: bool = False  # in reasoning: the first of them is whole, and ends it unless it is closed after all
    closed: int | None = None  # where it is
    streamed: list[str] = field(default_factory=list)  # the arguments of each call that were passed on


class ChannelParser:
    """Reads an answer by a family's markers and tool format. Its states::

    start ─── opening of reasoning ──► reasoning ◄─────────────┐
      │                                    │ closing           │ opening, where reasoning repeats
      │                                    ▼                   │
      └───────── anything else ───────► content ───────────────┘
                                         ▲   │ opening of calls
         closing, or they are no calls ──┘   ▼
                                  └──────── calls ◄── opening of calls in reasoning, if they are calls
    """

    def __init__(
        self,
        format: ToolFormat | None,
        tools: ToolsByName,
        markers: Markers | None = None,
        in_reasoning: bool = False,
        stream_calls: bool = False,
        continues: bool = False,
    ):
        """`in_reasoning`: the prompt has opened the reasoning. `stream_calls`: calls are certain to be well formed, so
        their arguments are passed on as they come; else a call is withheld until it is known to be one. `continues`:
        the text goes on in the middle of content or reasoning."""
        self._format, self._tools, self._markers = format, tools, markers
        self._parse_partial = format.parse_partial if format and stream_calls else None
        self._open_tags = format.open_tags if format else ()
        if stream_calls:
            self._open_tags = self._open_tags[:1]  # a grammar knows one only
        self._ignored_tags = markers.ignored_tags_for(tools) if markers else ()
        self._ignored_tags += format.stray_tags if format else ()
        self._repeating_tags = (markers.open_tag,) if markers and markers.repeats else ()
        self._state: _Start | _Reasoning | _Content | _Calls
        if in_reasoning:
            self._state = _Reasoning(continues, _Content("first"))
        elif continues:
            self._state = _Content("middle")
        else:
            self._state = _Start(markers.optional_prefix if markers else "")
        self._text = ""  # not passed on yet; while calls are being read, all since their opening
        self._deltas: list[ChannelDelta] = []  # that `feed` or `flush` returns
        self._mentions = 0  # tags that have opened no calls
        self.calls = 0

    @property
    def thinking(self) -> bool:
        """Whether the text is reasoning at the moment."""
        state = self._state
        return isinstance(state, _Reasoning) or (isinstance(state, _Calls) and isinstance(state.before, _Reasoning))

    @property
    def pending(self) -> int:
        """How many characters at the end of the text have not been read yet."""
        return len(self._text)

    @property
    def passes(self) -> bool:
        """Whether all that is to come is content as it is."""
        state = self._state
        if self._format is not None or self._ignored_tags or self._text or not isinstance(state, _Content):
            return False
        return state.place == "middle" and not state.gap

    def feed(self, text: str) -> list[ChannelDelta]:
        """What is certain after this much more text."""
        self._text += text
        self._advance()
        return self._taken()

    def flush(self) -> list[ChannelDelta]:
        """What is left at the end of the text."""
        self._advance()
        while isinstance(self._state, _Calls):
            self._end_calls(self._state)
            self._advance()
        if isinstance(self._state, _Reasoning):
            self._deltas.append(ChannelDelta("reasoning", self._text))
            self._text = ""
        elif self._text:
            self._pass_content(len(self._text))
        return self._taken()

    def _taken(self) -> list[ChannelDelta]:
        deltas, self._deltas = self._deltas, []
        return merged(deltas)

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
        if self._markers and self._markers.open_tag:
            text, open_tag, close_tag = self._text.lstrip(), self._markers.open_tag, self._markers.close_tag
            if text.startswith(open_tag):
                self._text = text[len(open_tag) :]
                self._state = _Reasoning(False, _Content("first"))
                return
            if text.startswith(close_tag):  # of a model that does not reason this time, and says so
                self._text = text[len(close_tag) :]
            elif open_tag.startswith(text) or close_tag.startswith(text):
                return
        self._state = _Content("first")

    def _read_reasoning(self, state: _Reasoning) -> None:
        assert self._markers
        ends = [self._markers.close_tag]
        if self._markers.after_reasoning:
            ends.append(self._markers.after_reasoning)  # some leave the first one out
        text = self._text if state.started else self._text.lstrip()
        at, tag = next_tag(text, (*ends, *self._open_tags))
        certain = len(text[:at].rstrip())
        self._text = text[certain:]
        if certain:
            state = self._state = _Reasoning(True, state.then)
            self._deltas.append(ChannelDelta("reasoning", text[:certain]))
        if tag is None:
            return
        space, self._text = text[certain:at], text[at + len(tag) :]
        self._state = state.then if tag in ends else _Calls(tag, state, space)

    def _read_content(self, state: _Content) -> None:
        if self._format is None and not self._ignored_tags:
            self._pass_content(len(self._text))
            return
        opening = self._opening(state)
        if opening is None:
            return
        at, tag = opening
        state = self._pass_content(len(self._text[:at].rstrip()))
        if tag is None:
            return
        space, _, self._text = self._text.partition(tag) if tag else ("", "", self._text)
        if tag in self._ignored_tags:
            self._text = space + self._text
        elif tag in self._repeating_tags:
            place: Literal["first", "edge"] = "first" if state.place == "first" else "edge"
            self._state = _Reasoning(False, _Content(place, space if state.place == "middle" else ""))
        else:
            self._state = _Calls(tag, state, space)

    def _opening(self, state: _Content) -> tuple[int, str | None] | None:
        """The position of the next opening of calls or ignored tag, and the tag; or how far there is certainly none,
        and None. None: more text must decide."""
        text = self._text
        if self._format and state.place == "first":
            starts = self._format.starts_call(text)
            if starts is None:
                return None
            if starts:
                return 0, ""
        return next_tag(text, self._ignored_tags + self._repeating_tags + self._open_tags)

    def _pass_content(self, length: int) -> _Content:
        """Pass on so many characters as content."""
        assert isinstance(self._state, _Content | _Start)
        state = self._state if isinstance(self._state, _Content) else _Content("first")
        text = self._text[:length]
        self._text = self._text[length:]
        if state.place != "middle":
            text = text.lstrip()
        if text:
            self._deltas.append(ChannelDelta("content", state.gap + text))
            state = self._state = _Content("middle")
        return state

    def _read_calls(self, state: _Calls) -> None:
        assert self._format
        if isinstance(state.before, _Reasoning):
            self._read_calls_in_reasoning(state, state.before)
            return
        close_tag = self._format.close_tag
        while close_tag and (end := self._text.find(close_tag, state.searched)) >= 0:
            try:
                calls = self._closed_calls(self._text[:end], close_tag)
            except Unfinished:  # this tag is within an argument
                state.searched = end + len(close_tag)
                continue
            except Malformed:
                if not state.streamed:
                    self._take_for_text(state)
                    return
                calls = []
            self._text = self._text[end + len(close_tag) :]
            self._complete(state, state.before, calls)
            return
        state.searched = max(state.searched, len(self._text) - len(close_tag) + 1)
        if self._parse_partial:
            try:
                calls = self._parse_partial(self._text, self._tools)
            except _BEYOND_PYTHON:
                return
            self._deltas += call_deltas(self.calls, state.streamed, calls)

    def _read_calls_in_reasoning(self, state: _Calls, before: _Reasoning) -> None:
        """Wait for a whole call, then for the reasoning's closing tag. If text follows that, all was reasoning."""
        assert self._format and self._markers
        if not state.whole and len(self._text) >= _UNNAMED and not self._names_tool(self._text[:_UNNAMED]):
            self._take_for_text(state)
            return
        tags = [tag for tag in (self._format.close_tag, self._markers.close_tag) if tag]
        while found := min(
            ((at, tag) for tag in tags if (at := self._text.find(tag, state.searched)) >= 0), default=None
        ):
            end, tag = found
            if not state.whole:
                try:
                    state.whole = bool(self._closed_calls(self._text[:end], tag, in_reasoning=True))
                except Unfinished:
                    state.searched = end + len(tag)
                    continue
                except Malformed:
                    self._take_for_text(state)
                    return
            if tag == self._markers.close_tag:
                state.closed, following = end, self._text[end + len(tag) :]
                if following.strip():
                    said = (state.space if before.started else "") + state.opening + self._text[:end].rstrip()
                    self._deltas.append(ChannelDelta("reasoning", said))
                    self._text, self._state = following, before.then
                return
            state.searched = end + len(tag)
        state.searched = max(state.searched, len(self._text) - max(map(len, tags)) + 1)

    def _names_tool(self, text: str) -> bool:
        return any(name in text for name in self._tools)

    def _closed_calls(self, text: str, tag: str, in_reasoning: bool = False) -> list[Call]:
        """The calls that `tag` has closed, or that the end has: "". Those in reasoning must be calls of known tools.
        Raises Malformed."""
        assert self._format
        if self._format.close_required and tag != self._format.close_tag:
            raise Malformed
        if in_reasoning and not text.strip():
            raise Malformed
        calls = self._parsed(text)
        if in_reasoning and not all(call.name in self._tools for call in calls):
            raise Malformed
        return calls

    def _parsed(self, text: str) -> list[Call]:
        """Raises Malformed."""
        assert self._format
        try:
            return self._format.parse(text, self._tools)
        except _BEYOND_PYTHON as error:
            raise Malformed(str(error)) from None

    def _end_calls(self, state: _Calls) -> None:
        """The text ends within calls."""
        assert self._format
        before = state.before
        if state.streamed and isinstance(before, _Content):  # in the middle of a call
            self._text = ""
            self._complete(state, before, [])
            return
        try:
            in_reasoning = isinstance(before, _Reasoning)
            calls, rest = [] if state.whole else self._closed_calls(self._text, "", in_reasoning), ""
        except Malformed as fault:
            if not self._has_text_after(fault):
                self._take_for_text(state)
                return
            calls, rest = fault.calls, fault.text
        if isinstance(before, _Reasoning):
            self._end_reasoning(state, before)
            return
        self._text = rest
        self._complete(state, before, calls)

    def _end_reasoning(self, state: _Calls, before: _Reasoning) -> None:
        """Calls end it: they and what follows are read again, as an answer."""
        self._text = state.opening + self._text[: state.closed]
        self._state = before.then

    def _has_text_after(self, fault: Malformed) -> TypeGuard[TextAfterCalls]:
        """Whether the answer went on after calls that its end should close. Only calls of known tools count."""
        assert self._format
        if not isinstance(fault, TextAfterCalls) or self._format.close_tag or not fault.calls:
            return False
        return all(call.name in self._tools for call in fault.calls)

    def _complete(self, state: _Calls, before: _Content, calls: list[Call]) -> None:
        self._deltas += call_deltas(self.calls, state.streamed, calls)
        self.calls += max(len(calls), len(state.streamed))
        self._state = _Content("edge", before.after_gap(state.space))

    def _take_for_text(self, state: _Calls) -> None:
        """These are no calls: what opened them is content or reasoning, and so may be what follows it."""
        self._mentions += 1
        if self._mentions >= _MAX_MENTIONS:
            self._open_tags = ()
        if isinstance(state.before, _Reasoning):
            opened = (state.space if state.before.started else "") + state.opening
            self._deltas.append(ChannelDelta("reasoning", opened))
            self._state = _Reasoning(True, state.before.then)
            return
        assert self._format  # whose stray tags may belong to what was opened
        self._ignored_tags = tuple(tag for tag in self._ignored_tags if tag not in self._format.stray_tags)
        opened = (state.space if state.before.place == "middle" else "") + state.opening
        self._text = opened + self._text
        self._state = state.before
        self._pass_content(len(opened) if state.opening else len(self._text))
