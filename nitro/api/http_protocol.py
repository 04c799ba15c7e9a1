"""HTTP as it comes in: uvicorn's protocol, with limits on what a client may send and on the time it may take.

It knows bytes and connections, and of a request where its head and its body end; who may call is asked later (`front`).
What is sent costs time in proportion to its length, and no more memory than the limits say.
"""

import asyncio
import logging
from collections.abc import Callable
from functools import partial
from typing import Any, cast

import httptools
import msgspec
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from nitro.api.connections import Connections, State
from nitro.errors import ApiError

log = logging.getLogger("nitro.http")

LINE = 2**13  # bytes of the URL, or of a header
HEADERS = 100
HEAD = 2**16  # bytes of all that
SLICE = 2**14  # bytes that the parser gets at once
DRAINED = 2**28  # bytes that are thrown away after a reply

TOO_LONG = f"The head of the request is longer than {HEAD} bytes."


class _Refused(Exception):
    """Raised out of the parser's callbacks."""

    def __init__(self, status: int, message: str):
        self.error = ApiError(status, message)


class HttpProtocol(HttpToolsProtocol):
    """One connection."""

    def __init__(self, connections: "Connections[HttpProtocol]", **of_uvicorn: Any):
        super().__init__(**of_uvicorn)
        self._connections = connections
        self._unread = 0  # bytes that have given nothing yet: of a head, or around the chunks of a body
        self._head = 0  # bytes of the headers
        self._receiving = False  # a head is whole, its body is not
        self._skipped = 0  # bytes still to come of a body that the parser does not see
        self._ends = False  # the last reply is written
        self._deaf = False  # what comes is not parsed any more
        self._wasted = 0  # bytes that nobody wanted

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        leaves = self._connections.add(self)
        if leaves is self:
            self._say(ApiError(503, "The server has no connection left.", type="server_error", retry_after=1))
            self.transport.close()
        elif leaves is not None:
            leaves.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._connections.remove(self)
        super().connection_lost(exc)

    def too_late(self) -> None:
        """Its time is over."""
        if self._ends or not (self._receiving or self._unread):
            self.transport.abort()
        else:
            part = "body" if self._receiving else "head"
            self._refuse(ApiError(408, f"The {part} of the request did not come in time."))

    # What comes

    def data_received(self, data: bytes) -> None:
        self._unset_keepalive_if_required()
        if self._connections.state(self) is State.REST or self._deaf:
            self._wasted += len(data)
            if self._wasted > DRAINED:
                return self.transport.abort()
        view = memoryview(data)
        for begin in range(0, len(view), SLICE):
            if self._deaf or self.transport.is_closing():
                return
            self._feed(view[begin : begin + SLICE])
        self._settle()

    def _feed(self, part: memoryview) -> None:
        if self._skipped:
            return self._past_parser(part)
        self._unread += len(part)
        try:
            self.parser.feed_data(part)
        except httptools.HttpParserUpgrade as upgrade:
            self._past_parser(part[upgrade.args[0] :])
        except httptools.HttpParserError as error:
            cause = error.__context__
            self._refuse(cause.error if isinstance(cause, _Refused) else ApiError(400, f"This is not HTTP: {error}"))
        else:
            if self._unread > HEAD:
                self._refuse(ApiError(431, TOO_LONG))

    def _past_parser(self, part: memoryview) -> None:
        """Of a request that offers to go on in another protocol (h2c, which Java's client always does) the parser takes
        the body for the other protocol. It is a body as ever, since we do not go on in one."""
        body = bytes(part[: self._skipped])
        if body:
            self._skipped -= len(body)
            self.on_body(body)
            if not self._skipped:
                self.on_message_complete()
        if rest := part[len(body) :]:
            self._feed(rest)

    # What the parser finds in it

    def on_message_begin(self) -> None:
        self._head = 0
        self._unread += 1  # it may follow the end of another one
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        super().on_url(url)
        if len(self.url) > LINE:
            raise _Refused(414, f"The URL is longer than {LINE} bytes.")

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._receiving:
            return  # it follows a body; nobody reads it
        if len(name) + len(value) > LINE:
            raise _Refused(431, f"A header is longer than {LINE} bytes.")
        if len(self.headers) == HEADERS:
            raise _Refused(431, f"The request has more than {HEADERS} headers.")
        self._head += len(name) + len(value)
        if self._head > HEAD:
            raise _Refused(431, TOO_LONG)
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._unread = 0
        super().on_headers_complete()
        self.cycle.transport = cast(asyncio.Transport, _ReplyTransport(self))
        self._receiving = True
        if self.parser.should_upgrade():
            headers = dict(self.headers)
            if b"transfer-encoding" in headers:
                raise _Refused(400, "A request with 'Upgrade' must tell its length.")
            self._skipped = int(headers.get(b"content-length", b"0"))

    def on_body(self, body: bytes) -> None:
        self._unread = 0
        super().on_body(body)
        if not self._connections.heard(self, len(body)):
            raise _Refused(408, "The body of the request comes too slowly.")

    def on_message_complete(self) -> None:
        if self._skipped:
            return
        self._unread = 0
        self._receiving = False
        super().on_message_complete()
        if self._ends:
            self.transport.close()

    # What is answered

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._settle()

    def end(self) -> None:
        """The last reply is written. A socket that is closed with something unread is reset, and a client may lose the
        reply: so it may send what it began."""
        if not self._receiving or self.transport.is_closing():
            return self.transport.close()
        self._ends = True
        self.pipeline.clear()
        self.transport.write_eof()
        self._settle()

    def _refuse(self, error: ApiError) -> None:
        """What came cannot be taken, and nothing more will be."""
        log.debug("refused: %s", error)
        cycle, self._deaf = self.cycle, True
        if cycle is not None and not cycle.response_complete:
            if not self._receiving:  # a request before it is being answered
                cycle.keep_alive = False
                return self._settle()
            if self.pipeline or cycle.response_started:
                return self.transport.abort()
            cycle.disconnected = True
            cycle.message_event.set()
        self._say(error)
        self._receiving = True
        self.end()

    def _say(self, error: ApiError) -> None:
        body = msgspec.json.encode(error.body)
        headers = [
            *self.server_state.default_headers,
            (b"content-type", b"application/json"),
            (b"content-length", b"%d" % len(body)),
            (b"connection", b"close"),
            (b"retry-after", b"%d" % error.retry_after) if error.retry_after else (b"x-should-retry", b"false"),
        ]
        lines = b"".join(b"%b: %b\r\n" % header for header in headers)
        self.transport.write(STATUS_LINE[error.status] + lines + b"\r\n" + body)

    def _settle(self) -> None:
        """Tell the others how it stands."""
        if not self.transport.is_closing():
            self._connections.move(self, self._state())

    def _state(self) -> State:
        replying = self.cycle is not None and not self.cycle.response_complete
        if self._ends or (self._receiving and not replying):
            return State.REST
        if self._receiving and not self.pipeline:
            return State.BODY
        if replying:
            return State.BUSY
        return State.HEAD if self._unread or self.cycle is None else State.IDLE


class _ReplyTransport:
    """The transport as a reply sees it."""

    def __init__(self, protocol: HttpProtocol):
        self._protocol = protocol
        self.write = protocol.transport.write
        self.is_closing = protocol.transport.is_closing
        self.close = protocol.end


def bounded(connections: Connections[HttpProtocol]) -> Callable[..., HttpProtocol]:
    """For uvicorn's `http`: protocols that share these limits."""
    return partial(HttpProtocol, connections)
