"""Writes the body of a streamed reply onto its connection, past ASGI, whose calls cost more than a frame.

Head and end of the reply are sent as ASGI says. A writer is an extension of the request's scope.
"""

from collections.abc import Callable, Mapping
from typing import Any, Protocol, cast

from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

EXTENSION = "nitro.reply_writer"  # in the scope's `extensions`


class HoldingTransport(Protocol):
    """What the writer needs of its connection."""

    def hold(self) -> None:
        """Write nothing before `release`."""

    def release(self) -> None:
        """Write what was held back."""

    def hold_back(self, size: int) -> None:
        """See ReplyWriter.wait."""


class ReplyWriter:
    """A Sink. Use it between the head of a reply that tells no length and its end."""

    def __init__(self, cycle: RequestResponseCycle, transport: HoldingTransport):
        self.on_room: Callable[[], None] = _nothing
        self.on_left: Callable[[], None] = _nothing  # called when the client has left before it has the reply
        self.hold = transport.hold
        self.release = transport.release
        self.wait = transport.hold_back
        self.tap: Callable[[bytes], None] | None = None  # is told of what is written
        self._cycle = cycle

    @property
    def left(self) -> bool:
        """Whether the client has left."""
        return self._cycle.disconnected

    @property
    def full(self) -> bool:
        """Whether the connection holds so much that the client has not read that no more should be written."""
        return self._cycle.flow.write_paused

    def write(self, data: bytes) -> None:
        """Write a chunk of the body, which is not empty. Where the client has left, nothing happens."""
        cycle = self._cycle
        if not cycle.disconnected:
            if self.tap:
                self.tap(data)
            cycle.transport.write(b"%x\r\n%b\r\n" % (len(data), data))


def offer(writer: ReplyWriter) -> None:
    """Put the writer into the scope of its request."""
    cast(dict[str, Any], writer._cycle.scope)["extensions"] = {EXTENSION: writer}


def of(scope: Mapping[str, Any]) -> ReplyWriter:
    """The writer of a request's reply."""
    writer: ReplyWriter = scope["extensions"][EXTENSION]
    return writer


def hold_head(scope: Mapping[str, Any]) -> None:
    """A head goes out with the body that follows. Another server than ours sends it by itself."""
    writer = (scope.get("extensions") or {}).get(EXTENSION)
    if writer is not None:
        writer.hold()


def _nothing() -> None:
    pass
