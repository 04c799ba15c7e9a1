"""How a protocol writes replies: events → bytes. Its counterpart, bytes → request, is a `Reader`."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from nitro.errors import ApiError
from nitro.service.choices import ChoiceAssembler
from nitro.service.events import Done, Event, Started


@dataclass(frozen=True, slots=True)
class Answer:
    """A generation that has ended well."""

    started: Started
    choices: Sequence[ChoiceAssembler]
    done: Done


class Renderer(Protocol):
    """Writes one reply, as a stream (`opening`, `events`, …, `closing`) or `whole`.

    `media_type` and `headers` are those of a stream. What is returned empty is not sent.
    """

    media_type: str
    headers: Mapping[str, str]

    def opening(self) -> bytes:
        """Before any event."""

    def events(self, burst: Sequence[Event]) -> bytes:
        """What happened together; the last burst of a stream has Done in it."""

    def idle(self) -> bytes:
        """Nothing was sent for a while: a sign of life that clients skip."""

    def error(self, error: ApiError) -> bytes:
        """A fault after the reply has begun, in place of further events."""

    def closing(self) -> bytes:
        """After the last event, or the error."""

    def whole(self, answer: Answer) -> bytes:
        """The reply in one piece."""


# Made of the event that started the generation, and of the request's `reply_options`.
MakeRenderer = Callable[[Started, bytes], Renderer]
