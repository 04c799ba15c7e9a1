"""Receives HTTP: uvicorn's protocol, with limits on what a client may send and on the time it may take.

It knows bytes, connections, and where the head and the body of a request end. `middleware` decides later who may call.
Whatever a client sends costs time in proportion to its length, and no more memory than the limits allow.
"""

import asyncio
import contextlib
import logging
import socket
from collections.abc import Callable
from functools import partial
from typing import Any, cast

import httptools
import msgspec
from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from nitro.api import reply_writer
from nitro.api.connections import Connections, ConnectionState
from nitro.api.reply_writer import ReplyWriter
from nitro.api.transport.backlog import ROOM, Backlog
from nitro.api.transport.reply_headers import POLICY
from nitro.errors import ApiError, one_line

requests = logging.getLogger("nitro.request")

LINES = 8  # the URL, or a header, may take an eighth of a head
MAX_HEADERS = 100
SLICE = 2**14  # bytes that the parser gets at once
MAX_DISCARDED = 2**28  # bytes that are received and thrown away after a reply
UNSENT = 2**17  # bytes that the kernel takes of what a client does not read, beside those on their way


class _Refused(Exception):
    """A callback of the parser raises it to refuse the request."""

    def __init__(self, error: ApiError):
        self.error = error


class HttpProtocol(HttpToolsProtocol):
    """One connection."""

    def __init__(self, connections: "Connections[Any]", stands_for: object = None, **uvicorn_options: Any):
        """`stands_for`: what was counted as this connection until now."""
        super().__init__(**uvicorn_options)
        self._connections = connections
        self._stands_for = stands_for
        self._unread = 0  # bytes that have not completed anything yet: of a head, or around the chunks of a body
        self._head = 0  # bytes of the headers
        self._receiving = False  # the head is complete, the body is not
        self._unparsed = 0  # bytes still to come of a body that the parser does not see
        self._closing = False  # the last reply is written
        self._ignoring = False  # nothing more is parsed
        self._discarded = 0  # bytes received in vain
        self._answered: RequestResponseCycle | None = None  # the one that is replied to; `cycle` may wait behind it
        self._backlog: Backlog | None = None  # of a connection with TLS
        self._ended = False  # nothing comes behind what waits there

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Count the connection; close it, or another one, if there are too many."""
        super().connection_made(transport)
        _hold_little(transport)
        self.write: Callable[[bytes], None] = transport.write
        if self.scheme == "https":
            transport.set_write_buffer_limits(ROOM)
            self._backlog = Backlog(transport.write, lambda: self.flow.write_paused)
            self.write = self._backlog.write
        self._connections.remove(self._stands_for)
        self._stands_for = None
        evicted = self._connections.add(self)
        if evicted is self:
            self._write_error(ApiError(503, "The server has no connection left.", type="server_error", retry_after=1))
            self._close()
        elif evicted is not None:
            evicted.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection, and tell the request that is being answered; uvicorn tells the last one only."""
        self._connections.remove(self)
        if self._answered and not self._answered.response_complete:
            self._disconnect(self._answered)
        super().connection_lost(exc)

    def _disconnect(self, cycle: RequestResponseCycle) -> None:
        """Tell a request that nobody waits for its reply."""
        cycle.disconnected = True
        cycle.message_event.set()
        reply_writer.of(cycle.scope).on_left()

    def too_late(self) -> None:
        """The client's time has run out: answer 408 if it still expects an answer, and close."""
        if self._closing or not (self._receiving or self._unread):
            self.transport.abort()
        else:
            part = "body" if self._receiving else "head"
            self._refuse(ApiError(408, f"The {part} of the request did not come in time."))

    @property
    def unread(self) -> int:
        """Bytes that wait until the client reads; 0 while a reply goes on that adds to them. The last that TLS has
        encrypted, less than 2 ROOM, are not seen; to close, TLS has a time of its own."""
        if self._connections.state(self) is ConnectionState.BUSY and not self.flow.write_paused:
            return 0
        return self._written

    @property
    def _written(self) -> int:
        """Bytes of replies that are not sent yet."""
        waiting = self._backlog.size if self._backlog else 0
        try:
            return waiting + self.transport.get_write_buffer_size()
        except AttributeError:  # asyncio's TLS, once it was told twice to close
            return waiting

    def does_not_read(self, how: str) -> None:
        """End the connection of a client that reads too little, and with it what is done for that client alone."""
        requests.info("- - the client does not read: %s (from %s)", how, (self.client or ("-",))[0])
        self.transport.abort()

    def hold_back(self, size: int) -> None:
        """So many bytes of a stream are held, as its client has to read before it gets more."""
        most = self._connections.limits.unread_bytes
        if size > most and not self.transport.is_closing():
            self.does_not_read(f"more than {most} bytes of a stream wait for it")

    # Receiving

    def data_received(self, data: bytes) -> None:
        """Parse in slices, so that a limit ends the work soon after it is reached."""
        self._unset_keepalive_if_required()
        if self._connections.state(self) is ConnectionState.DRAINING or self._ignoring:
            self._discarded += len(data)
            if self._discarded > MAX_DISCARDED:
                return self.transport.abort()
        view = memoryview(data)
        for begin in range(0, len(view), SLICE):
            if self._ignoring or self.transport.is_closing():
                return
            self._feed(view[begin : begin + SLICE])
        self._update_state()

    def _feed(self, part: memoryview) -> None:
        if self._unparsed:
            return self._feed_unparsed(part)
        self._unread += len(part)
        try:
            self.parser.feed_data(part)
        except httptools.HttpParserUpgrade as upgrade:
            self._feed_unparsed(part[upgrade.args[0] :])
        except httptools.HttpParserError as error:
            cause = error.__context__
            self._refuse(cause.error if isinstance(cause, _Refused) else ApiError(400, f"This is not HTTP: {error}"))
        else:
            if self._unread > self._connections.limits.head_bytes:
                self._refuse(self._head_too_long())

    def _head_too_long(self) -> ApiError:
        return ApiError(431, f"The head of the request is longer than {self._connections.limits.head_bytes} bytes.")

    def _feed_unparsed(self, part: memoryview) -> None:
        """Read a body that the parser does not see.

        If a request offers to continue in another protocol (h2c, as Java's client always does), the parser takes the
        body for that protocol. We do not switch, so it is an ordinary body.
        """
        body = bytes(part[: self._unparsed])
        if body:
            self._unparsed -= len(body)
            self.on_body(body)
            if not self._unparsed:
                self.on_message_complete()
        if len(part) > len(body):
            self._feed(part[len(body) :])

    # The parser's callbacks

    def on_message_begin(self) -> None:
        """A request begins."""
        self._head = 0
        self._unread += 1  # the message may follow the end of another one
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        """Raises _Refused 414."""
        super().on_url(url)
        most = self._connections.limits.head_bytes // LINES
        if len(self.url) > most:
            raise _Refused(ApiError(414, f"The URL is longer than {most} bytes."))

    def on_header(self, name: bytes, value: bytes) -> None:
        """Raises _Refused 431."""
        if self._receiving:
            return  # a trailer behind a body; nobody reads it
        most = self._connections.limits.head_bytes
        if len(name) + len(value) > most // LINES:
            raise _Refused(ApiError(431, f"A header is longer than {most // LINES} bytes."))
        if len(self.headers) == MAX_HEADERS:
            raise _Refused(ApiError(431, f"The request has more than {MAX_HEADERS} headers."))
        self._head += len(name) + len(value)
        if self._head > most:
            raise _Refused(self._head_too_long())
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Raises _Refused 400."""
        self._unread = 0
        super().on_headers_complete()
        transport = _ReplyTransport(self)
        self.cycle.transport = cast(asyncio.Transport, transport)
        reply_writer.offer(ReplyWriter(self.cycle, transport))
        self._receiving = True
        if self.parser.should_upgrade():
            headers = dict(self.headers)
            if b"transfer-encoding" in headers:
                raise _Refused(ApiError(400, "A request with 'Upgrade' must tell its length."))
            self._unparsed = int(headers.get(b"content-length", b"0"))

    def on_body(self, body: bytes) -> None:
        """Raises _Refused 408."""
        self._unread = 0
        super().on_body(body)
        if not self._connections.body_received(self, len(body)):
            raise _Refused(ApiError(408, "The body of the request comes too slowly."))

    def on_message_complete(self) -> None:
        """The request is complete."""
        if self._unparsed:
            return
        self._unread = 0
        self._receiving = False
        super().on_message_complete()
        if self._closing:
            self._close()

    # Replying

    def on_response_complete(self) -> None:
        """The reply is written."""
        if self._answered:
            reply_writer.of(self._answered.scope).release()
        super().on_response_complete()
        self._update_state()

    def resume_writing(self) -> None:
        """The client has read most of what it was sent."""
        super().resume_writing()
        self._connections.has_read(self)
        if self._backlog:
            self._backlog.go_on()
            if self._ended and not self._backlog.size:
                self._close()
        if self._answered and not self.flow.write_paused:
            reply_writer.of(self._answered.scope).on_room()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._answered = cycle
        super()._start_asgi_task(cycle, app)

    def end(self) -> None:
        """Close after the last reply.

        Closing a socket that holds unread data resets it, and the client may lose the reply. So the client may first
        finish what it is sending.
        """
        if self.transport.is_closing():
            return  # asyncio's transport of TLS must not be closed twice: it would forget what it closes
        if not self._receiving:
            return self._close()
        self._closing = True
        self.pipeline.clear()
        if self.transport.can_write_eof():  # TLS cannot say that it is half closed; the reply's head tells its length
            self.transport.write_eof()
        self._update_state()

    def _close(self) -> None:
        """Once what waits is written."""
        if self._backlog and self._backlog.size:
            self._ended = self._ignoring = True
        elif not self.transport.is_closing():
            self.transport.close()

    def shutdown(self) -> None:
        """The server stops: close when the reply that is under way has ended."""
        if self._backlog and self._backlog.size and self.cycle.response_complete:
            self._close()
        elif not self.transport.is_closing():
            super().shutdown()
        self._leave()

    def timeout_keep_alive_handler(self) -> None:
        """Nothing has come for so long that the client has gone."""
        if self._backlog and self._backlog.size:
            self._close()
        else:
            super().timeout_keep_alive_handler()
        self._leave()

    def _leave(self) -> None:
        """Wait for no word of a client that is between two requests: TLS has said that it ends, and that is enough
        (RFC 8446, section 6.1). What is said goes out in this turn of the event loop."""
        if self.scheme == "https" and self.transport.is_closing() and not self._written:
            self.loop.call_soon(self.transport.abort)

    def _refuse(self, error: ApiError) -> None:
        """Answer with an error, and parse nothing more from this client."""
        requests.info("- - error %d: %s (from %s)", error.status, one_line(str(error)), (self.client or ("-",))[0])
        self._ignoring = True
        cycle = self.cycle
        if cycle is not None and not cycle.response_complete:
            if not self._receiving:  # the request before it is being answered
                cycle.keep_alive = False
                return self._update_state()
            if self.pipeline or cycle.response_started:
                return self.transport.abort()
            self._disconnect(cycle)
        self._write_error(error)
        self._receiving = True
        self.end()

    def _write_error(self, error: ApiError) -> None:
        body = msgspec.json.encode(error.body)
        headers = [
            *self.server_state.default_headers,
            POLICY,
            (b"content-type", b"application/json"),
            (b"content-length", b"%d" % len(body)),
            (b"connection", b"close"),
            (b"retry-after", b"%d" % error.retry_after) if error.retry_after else (b"x-should-retry", b"false"),
        ]
        lines = b"".join(b"%b: %b\r\n" % header for header in headers)
        self.write(STATUS_LINE[error.status] + lines + b"\r\n" + body)

    def _update_state(self) -> None:
        """Report the current state to `connections`."""
        if not self.transport.is_closing():
            self._connections.move(self, self._state())

    def _state(self) -> ConnectionState:
        replying = self.cycle is not None and not self.cycle.response_complete
        if self._closing or (self._receiving and not replying):
            return ConnectionState.DRAINING
        if self._receiving and not self.pipeline:
            return ConnectionState.BODY
        if replying:
            return ConnectionState.BUSY
        return ConnectionState.HEAD if self._unread or self.cycle is None else ConnectionState.IDLE


class _ReplyTransport:
    """The transport that a reply writes to: it closes through `HttpProtocol.end`. See ReplyWriter for `hold`."""

    def __init__(self, protocol: HttpProtocol):
        self._held: list[bytes] | None = None
        self._end = protocol.end
        self.hold_back = protocol.hold_back
        self._write = protocol.write
        self.is_closing = protocol.transport.is_closing

    def write(self, data: bytes) -> None:
        if self._held is None:
            self._write(data)
        else:
            self._held.append(data)

    def close(self) -> None:
        self.release()
        self._end()

    def hold(self) -> None:
        self._held = self._held or []

    def release(self) -> None:
        held, self._held = self._held, None
        if held and not self.is_closing():
            self._write(b"".join(held))


def _hold_little(transport: asyncio.Transport) -> None:
    """Of what a client does not read the kernel would take megabytes, and nobody would notice for as long."""
    option = getattr(socket, "TCP_NOTSENT_LOWAT", None)
    sock = transport.get_extra_info("socket")
    if option is not None and sock is not None and sock.family in (socket.AF_INET, socket.AF_INET6):
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.IPPROTO_TCP, option, UNSENT)


def bounded(connections: Connections[HttpProtocol]) -> Callable[..., HttpProtocol]:
    """Return a factory for uvicorn's option `http`: its protocols share these connections and their limits."""
    return partial(HttpProtocol, connections)
