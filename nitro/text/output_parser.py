"""A model's text → what it says, what it thinks, which tools it calls. Knows no tokens and no HTTP.

`feed` as text arrives, `flush` at its end. What comes out does not depend on how the text was cut, and none of it is
lost: what looks like a call and is none is said. White space around calls and reasoning is nobody's.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal, Protocol, TypeGuard

from nitro.text.reasoning import Markers
from nitro.text.tool_formats.format import Format
from nitro.text.tools import Call, Followed, Malformed, Tools, Unfinished

# What Python's own parsers raise of numbers and depths that are beyond them
BEYOND = (ValueError, RecursionError)


@dataclass(slots=True)
class Delta:
    """More of one channel. Of a call: more of its arguments; `name` comes with its first delta only."""

    channel: Literal["content", "reasoning", "call"]
    text: str
    call: int = 0  # its number
    name: str | None = None


class Parser(Protocol):
    thinking: bool  # whether the text is reasoning, at the moment
    calls: int  # that are complete

    def feed(self, text: str) -> list[Delta]: ...
    def flush(self) -> list[Delta]: ...


class Plain:
    """All text is content."""

    thinking = False
    calls = 0

    def feed(self, text: str) -> list[Delta]:
        return [Delta("content", text)] if text else []

    def flush(self) -> list[Delta]:
        return []


class ChannelParser:
    """By markers: reasoning at the beginning, then content, in which there may be calls.

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
        self._lead = markers.lead if markers and not begun else ""  # that may still come
        self.thinking = thinking
        self._fresh = not (thinking or begun)  # nothing but white space so far: reasoning may begin
        self._blank = not begun  # at the beginning of the content, or after a call: white space there is dropped
        self._answered = begun and not thinking  # there was content or a call
        self._gap = ""  # white space between content and the calls that follow it
        self._opened: str | None = None  # what opened the calls that are being read
        self._tried = 0  # up to where no end of theirs is
        self._text = ""  # not passed on yet; while calls are being read, all since their opening
        self.calls = 0
        self._shown: list[str] = []  # of the calls being read, the arguments that were passed on

    def feed(self, text: str) -> list[Delta]:
        self._text += text
        return list(joined(self._advance()))

    def flush(self) -> list[Delta]:
        return list(joined(self._end()))

    def _advance(self) -> Iterator[Delta]:
        """Pass on what is certain. Every step either takes something away from the text, or waits for more."""
        while self._text:
            step = self._think if self.thinking else self._read_calls if self._opened is not None else self._speak
            before = (self.thinking, self._opened, len(self._text))
            yield from step()
            if before == (self.thinking, self._opened, len(self._text)):
                return

    def _think(self) -> Iterator[Delta]:
        assert self._markers
        text, closes = self._text, self._markers.closes
        if self._blank:
            text = text.lstrip()
        if (end := text.find(closes)) >= 0:
            self.thinking, self._fresh, self._blank = False, False, True
            self._text = text[end + len(closes) :]
            yield Delta("reasoning", text[:end].rstrip())
            return
        border = len(text[: len(text) - held(text, (closes,))].rstrip())
        self._text = text[border:]
        if border:
            self._blank = False
            yield Delta("reasoning", text[:border])

    def _speak(self) -> Iterator[Delta]:
        if self._lead:
            if self._lead.startswith(self._text) and self._lead != self._text:
                return
            self._text, self._lead = self._text.removeprefix(self._lead), ""
        if self._fresh and self._markers and self._markers.opens:
            start, opens, closes = self._text.lstrip(), self._markers.opens, self._markers.closes
            if start.startswith(opens):
                self.thinking, self._fresh, self._text = True, False, start[len(opens) :]
                return
            if start.startswith(closes):  # of a model that does not reason this time, and says so
                self._fresh, self._text = False, start[len(closes) :]
                return
            if opens.startswith(start) or closes.startswith(start):
                return
            self._fresh = False
        if self._format is None and not self._wraps:
            yield self._say(len(self._text))
            return
        opening = self._opening(self._text)
        if opening is None:
            return
        at, mark = opening
        yield self._say(len(self._text[:at].rstrip()))
        if mark is None:
            return
        at = self._text.index(mark)
        space, self._text = self._text[:at], self._text[at + len(mark) :]
        if mark in self._wraps:
            self._text = space + self._text
        elif mark in self._again:
            self.thinking, self._blank, self._gap = True, True, "" if self._blank else self._gap + space
        else:
            self._gap += "" if self._blank else space
            self._opened, self._tried = mark, 0

    def _opening(self, text: str) -> tuple[int, str | None] | None:
        """Where calls open or a wrap lies, and which; or up to where there is neither, and None. None: not to be told
        yet."""
        if self._format and not self._answered:
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
        return len(text) - held(text, marks), None

    def _say(self, border: int) -> Delta:
        """Content up to the border."""
        text, self._text = self._text[:border], self._text[border:]
        if self._blank and (text := text.lstrip()):
            text, self._gap, self._blank = self._gap + text, "", False
        self._answered = self._answered or bool(text)
        return Delta("content", text)

    def _read_calls(self) -> Iterator[Delta]:
        assert self._format and self._opened is not None
        closes = self._format.closes
        while closes and (end := self._text.find(closes, self._tried)) >= 0:
            try:
                calls = self._parsed(self._text[:end])
            except Unfinished:  # these marks are within an argument
                self._tried = end + len(closes)
                continue
            except Malformed:
                if not self._shown:
                    yield from self._no_calls()
                    return
                calls = []
            self._text = self._text[end + len(closes) :]
            yield from self._made(calls)
            return
        self._tried = max(self._tried, len(self._text) - len(closes) + 1)
        if self._seen:
            try:
                calls = self._seen(self._text, self._tools)
            except BEYOND:
                return
            for i, call in enumerate(calls):
                yield from self._show(i, call)

    def _parsed(self, text: str) -> list[Call]:
        """Raises Malformed."""
        assert self._format
        try:
            return self._format.parse(text, self._tools)
        except BEYOND as error:
            raise Malformed(str(error)) from None

    def _made(self, calls: list[Call]) -> Iterator[Delta]:
        for i, call in enumerate(calls):
            yield from self._show(i, call)
        self.calls += max(len(calls), len(self._shown))
        self._shown, self._opened, self._blank, self._answered = [], None, True, True

    def _show(self, number: int, call: Call) -> Iterator[Delta]:
        """What has not been passed on of a call."""
        if number == len(self._shown):
            self._shown.append("")
            yield Delta("call", "", self.calls + number, _encodable(call.name))
        shown, arguments = self._shown[number], _encodable(call.arguments)
        if len(arguments) > len(shown) and arguments.startswith(shown):
            self._shown[number] = arguments
            yield Delta("call", arguments[len(shown) :], self.calls + number)

    def _no_calls(self) -> Iterator[Delta]:
        """What opened is content, and so may be what follows it."""
        opened, self._opened = self._opened, None
        assert opened is not None
        gap, self._gap = ("", self._gap) if self._blank else (self._gap, "")
        self._text, self._answered = gap + opened + self._text, True
        yield self._say(len(gap + opened) if opened else len(self._text))

    def _closed_early(self, fault: Malformed) -> TypeGuard[Followed]:
        """Whether an answer of a family that closes its calls by ending went on after them. Only known tools count."""
        assert self._format
        if not isinstance(fault, Followed) or self._format.closes or not fault.calls:
            return False
        return all(call.name in self._tools for call in fault.calls)

    def _end(self) -> Iterator[Delta]:
        yield from self._advance()
        while self._opened is not None:
            assert self._format
            if self._shown:  # cut in the middle of a call
                self._text = ""
                yield from self._made([])
                break
            try:
                if self._format.ends:
                    raise Unfinished
                calls, rest = self._parsed(self._text), ""
            except Malformed as fault:
                if not self._closed_early(fault):
                    yield from self._no_calls()
                    yield from self._advance()
                    continue
                calls, rest = fault.calls, fault.rest
            self._text = rest
            yield from self._made(calls)
            yield from self._advance()
        if self.thinking:
            yield Delta("reasoning", self._text)
            self._text = ""
        elif self._text:
            yield self._say(len(self._text))


def held(text: str, marks: Iterable[str]) -> int:
    """Length of the longest end of the text that may be the beginning of one of the marks."""
    lengths = [n for mark in marks for n in range(min(len(mark) - 1, len(text)), 0, -1) if mark.startswith(text[-n:])]
    return max(lengths, default=0)


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
