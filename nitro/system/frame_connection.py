"""Frames of a socket pair on an event loop: what arrives is handed over in the call that brings it.

An asyncio.StreamReader would wake a task for each frame, which costs more than what the task does.
"""

import asyncio
import socket
from collections.abc import Callable, Iterable
from typing import Self, cast

from nitro.system import frames

PAYLOADS_PER_TURN = 16  # handed over in one turn of the event loop: others have one in between


class FrameConnection(asyncio.Protocol):
    """This process's end. Made by `connect`.

    Payloads are waited for with `burst`, or go to the receiver that `listen` is given.
    """

    def __init__(self) -> None:
        self._begun = bytearray()  # of a frame that has not come in full
        self._wanted = 0  # bytes that it must have before it is looked at again
        self._came: list[bytes] = []  # payloads that nobody has taken
        self._receive: Callable[[list[bytes]], None] | None = None
        self._news: asyncio.Future[None] | None = None  # whoever waits, waits for it
        self._closed = False
        self._paused = False

    @classmethod
    async def connect(cls, sock: socket.socket) -> Self:
        """On the running event loop. Raises OSError."""
        _, connection = await asyncio.get_running_loop().create_connection(cls, sock=sock)
        return connection

    def send(self, pieces: Iterable[bytes]) -> None:
        """Send bytes, which are not copied. Nothing happens where the other side has closed."""
        if not self._transport.is_closing():
            self._transport.writelines(pieces)

    def close(self) -> None:
        """Close the socket once all is sent."""
        self._transport.close()

    def abort(self) -> None:
        """Close the socket, whatever is not sent yet."""
        self._transport.abort()

    async def burst(self) -> list[bytes]:
        """The payloads that came together, as soon as there are some; none: the other side has closed."""
        if not self._came and not self._closed:
            self._news = asyncio.get_running_loop().create_future()
            await self._news
        burst, self._came = self._came, []
        return burst

    async def listen(self, receive: Callable[[list[bytes]], None]) -> None:
        """Hand payloads that come together to `receive` until the other side closes. Raises what `receive` raises."""
        self._receive = receive
        self._news = asyncio.get_running_loop().create_future()
        try:
            self._hand_over()
            await self._news
        finally:
            self._receive = None

    # Called by the event loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio.Protocol."""
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """See asyncio.Protocol."""
        self._came += self._payloads(data)
        if self._came and not self._paused:
            self._hand_over()

    def connection_lost(self, error: Exception | None) -> None:
        """See asyncio.Protocol. Which error ended it does not matter."""
        self._closed = True
        if not self._paused:
            self._hand_over()

    def _payloads(self, data: bytes) -> list[bytes]:
        """The payloads that are there in full with `data`. The rest is kept."""
        if self._begun:
            self._begun += data
            if len(self._begun) < self._wanted:
                return []
            data = bytes(self._begun)
        payloads = []
        start = 0
        while (begin := start + frames.HEADER) <= len(data):
            end = begin + frames.size(data[start:begin])
            if end > len(data):
                break
            payloads.append(data[begin:end])
            start = end
        self._begun = bytearray(data[start:])
        self._wanted = (end if begin <= len(data) else begin) - start
        return payloads

    def _hand_over(self) -> None:
        """Give the receiver what came, if there is one. Of much it gets some now; nothing is read before it has all."""
        if self._receive:
            burst, self._came = self._came[:PAYLOADS_PER_TURN], self._came[PAYLOADS_PER_TURN:]
            self._pause(bool(self._came))
            try:
                if burst:
                    self._receive(burst)
            except Exception as error:
                self._receive = None
                return self._wake(error)
            if self._came or not self._closed:
                return
        self._wake()

    def _pause(self, wanted: bool) -> None:
        if wanted:
            asyncio.get_running_loop().call_soon(self._hand_over)
        if wanted != self._paused and not self._closed:
            (self._transport.pause_reading if wanted else self._transport.resume_reading)()
        self._paused = wanted

    def _wake(self, error: Exception | None = None) -> None:
        if self._news and not self._news.done():
            if error:
                self._news.set_exception(error)
            else:
                self._news.set_result(None)
