"""What parsers of a model's text tell: more of its content, its reasoning, and its calls."""

from collections.abc import Iterator, Sequence
from typing import Literal, Protocol

from msgspec import Struct

from nitro.text.tools import Call

Channel = Literal["content", "reasoning", "call"]


class ChannelDelta(Struct):
    """More of one channel. Of a call: more of its arguments; `name` comes with its first delta only."""

    channel: Channel
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

    @property
    def pending(self) -> int:
        """How many characters at the end of the text have not been read yet."""

    @property
    def passes(self) -> bool:
        """Whether all that is to come is content as it is, so that it need not be fed."""

    def feed(self, text: str) -> list[ChannelDelta]:
        """What is certain after this much more text."""

    def flush(self) -> list[ChannelDelta]:
        """What is left at the end of the text."""


class PlainParser:
    """All text is content."""

    thinking = False
    calls = 0
    pending = 0
    passes = True

    def feed(self, text: str) -> list[ChannelDelta]:
        """The text itself."""
        return [ChannelDelta("content", text)] if text else []

    def flush(self) -> list[ChannelDelta]:
        """Nothing: no text is held back."""
        return []


def call_deltas(first: int, streamed: list[str], calls: Sequence[Call]) -> Iterator[ChannelDelta]:
    """What has not been passed on of these calls. `first`: the number of the first one in the answer. `streamed`: the
    arguments of each that were passed on, which are kept up to date."""
    for i, call in enumerate(calls):
        if i == len(streamed):
            streamed.append("")
            yield ChannelDelta("call", "", first + i, _encodable(call.name))
        before, arguments = streamed[i], _encodable(call.arguments)
        if len(arguments) > len(before) and arguments.startswith(before):
            streamed[i] = arguments
            yield ChannelDelta("call", arguments[len(before) :], first + i)


def _encodable(text: str) -> str:
    """Without lone surrogates, which JSON can write and UTF-8 cannot."""
    return text.encode("utf-8", "replace").decode()


def merged(deltas: list[ChannelDelta]) -> list[ChannelDelta]:
    """Neighbours in a channel as one; nothing that adds nothing."""
    if len(deltas) == 1 and deltas[0].text:
        return deltas
    found: list[ChannelDelta] = []
    last: ChannelDelta | None = None
    for delta in deltas:
        if not delta.text and delta.name is None:
            continue
        if last and last.channel == delta.channel and last.call == delta.call and delta.name is None:
            last.text += delta.text
        else:
            found.append(delta)
            last = delta
    return found
