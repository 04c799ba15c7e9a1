"""A stream on its way to its client: what the engine says is rendered and written in the call that brings it.

No task runs for a token, and what comes in one turn of the event loop is one write. A client that reads too slowly is
waited for: until there is room nothing more is taken from its generation. How much may be held for it is for the sink
to say, which ends it otherwise.
"""

import asyncio
from collections.abc import Callable
from typing import Protocol

from nitro.service.events import Event
from nitro.service.renderer import Renderer

SILENCE = 5.0  # seconds in which nothing is sent, before a stream gives a sign of life


class Sink(Protocol):
    """Where the bytes of a stream go: its client's connection. Nothing that is written may be lost but by its end."""

    on_room: Callable[[], None]  # called when it is no longer full

    @property
    def full(self) -> bool:
        """Whether the client reads too slowly to be sent more."""

    def write(self, data: bytes) -> None:
        """Send these bytes. Where the client has left, nothing happens."""

    def wait(self, held: int) -> None:
        """Called while it is full: so many bytes are held for the client. Where these are too many it is given up."""

    def hold(self) -> None:
        """What is written from now on may wait for what ends the stream, so that both are one write."""


class Source(Protocol):
    """The events of a stream."""

    listener: Callable[[], None] | None  # called when something has come

    def take(self) -> list[Event]:
        """What came together; empty where nothing has come yet. Raises nothing: a fault is an event."""

    def opening(self, renderer: Renderer) -> bytes:
        """The bytes before any event. Raises nothing: after a fault the source has `ended`."""

    def render(self, renderer: Renderer, burst: list[Event]) -> bytes:
        """The bytes of a burst. Once `ended` they close the stream. Raises nothing."""

    @property
    def ended(self) -> bool:
        """Whether the last burst was taken."""

    @property
    def held(self) -> int:
        """Bytes of memory, about, that what has come and was not taken occupies."""


class Delivery:
    """Carries events from a source to a sink, from `begin` until `ended` returns or is cancelled."""

    def __init__(self, source: Source, renderer: Renderer, sink: Sink):
        self._source = source
        self._renderer = renderer
        self._sink = sink
        self._loop = asyncio.get_running_loop()
        self._end: asyncio.Future[None] = self._loop.create_future()
        self._idle: asyncio.TimerHandle | None = None
        self._written = 0.0  # when something was last written, by the event loop's clock

    def begin(self) -> None:
        """Write what comes before any event, and whatever has come."""
        if opening := self._source.opening(self._renderer):
            self._write(opening)
        self._written = self._loop.time()
        self._idle = self._loop.call_at(self._written + SILENCE, self._give_sign)
        self._source.listener = self._sink.on_room = self._advance
        self._advance()

    async def ended(self) -> None:
        """Wait until the last byte is written. Raises what the sink does."""
        try:
            await self._end
        finally:  # nothing here may wait: the client may have left
            self.close()

    def close(self) -> None:
        """Write no more, and let source and sink go. It may be called again."""
        self._source.listener = None
        self._sink.on_room = _nothing
        self._end.cancel()
        if self._idle:
            self._idle.cancel()

    def _advance(self) -> None:
        """Write what has come, if there is room for it."""
        if self._end.done():
            return
        if self._sink.full:
            return self._sink.wait(self._source.held)
        try:
            if burst := self._source.take():
                if self._source.ended:
                    self._sink.hold()
                self._write(self._source.render(self._renderer, burst))
        except Exception as error:
            return self._end.set_exception(error)
        if self._source.ended:
            self._end.set_result(None)

    def _write(self, data: bytes) -> None:
        if data:
            self._written = self._loop.time()
            self._sink.write(data)

    def _give_sign(self) -> None:
        """Where nothing was written for too long, write what says that the stream lives."""
        if self._loop.time() >= self._written + SILENCE and not self._sink.full:
            self._write(self._renderer.idle())
        again = max(self._written, self._loop.time() - SILENCE / 2) + SILENCE
        self._idle = self._loop.call_at(again, self._give_sign)


def _nothing() -> None:
    pass
