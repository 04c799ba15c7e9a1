"""HTTP/1.1 byte by byte, for requests that no client library would send. The caller writes the request; the replies are
parsed. Knows nothing of the API."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import httptools

from bench.processes import HOST

PIECE_SIZE = 2**18  # bytes that are written before waiting for the socket


@dataclass
class Reply:
    """One HTTP reply."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)  # names in lower case
    body: bytes = b""
    complete: bool = False  # False: the connection ended before its end


class Unanswered(Exception):
    """The connection ended, or the time was up, before the expected replies had arrived. The message says which."""


class Connection:
    """A connection to a server on this machine. Replies are read all the time, also while bytes are sent.

    `heard` is set whenever bytes have arrived, `received` counts them. `bodiless`: the reply is one to HEAD.
    """

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter):
        self.replies: list[Reply] = []
        self.received = 0
        self.bodiless = False
        self.heard = asyncio.Event()
        self._writer = writer
        self._parser = httptools.HttpResponseParser(self)
        self._open: Reply | None = None
        self._end_reason: str | None = None  # why no more bytes will arrive
        self._reading = asyncio.create_task(self._read(reader))

    # Callbacks of the parser

    def on_message_begin(self) -> None:
        """A reply begins."""
        self._open = Reply()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header."""
        assert self._open
        self._open.headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        """Keep the status. A reply to HEAD ends here."""
        assert self._open
        self._open.status = self._parser.get_status_code()
        if self.bodiless:
            self._end(self._open)

    def on_body(self, body: bytes) -> None:
        """Keep a part of the body."""
        if self._open:
            self._open.body += body

    def on_message_complete(self) -> None:
        """The reply is complete."""
        if self._open:
            self._end(self._open)

    # For the caller

    async def send(self, data: bytes, pause: float = 0.0, piece_size: int = PIECE_SIZE) -> None:
        """Send in pieces, with a pause in seconds after each. If the server has closed its side, the rest is
        dropped."""
        view = memoryview(data)
        try:
            for at in range(0, len(view), piece_size):
                self._writer.write(view[at : at + piece_size])
                await self._writer.drain()
                if pause:
                    await asyncio.sleep(pause)
                if self._end_reason:
                    return
        except OSError:
            return

    async def answers(self, count: int, timeout: float) -> list[Reply]:
        """The first `count` replies, all complete. `timeout`: seconds. Raises Unanswered."""
        try:
            async with asyncio.timeout(timeout):
                while len(self.replies) < count and not self._end_reason:
                    self.heard.clear()
                    await self.heard.wait()
        except TimeoutError:
            raise Unanswered(f"no complete reply within {timeout:.0f} s") from None
        if len(self.replies) < count or not all(reply.complete for reply in self.replies[:count]):
            raise Unanswered(self._end_reason or "a reply is cut")
        return self.replies[:count]

    @property
    def so_far(self) -> bytes:
        """The body of the reply that is coming, or of the last one."""
        reply = self._open or (self.replies[-1] if self.replies else None)
        return reply.body if reply else b""

    async def wait_for(self, received: int) -> None:
        """Wait until so many bytes have arrived, or the connection has ended."""
        while self.received < received and not self._end_reason:
            self.heard.clear()
            await self.heard.wait()

    async def _read(self, reader: asyncio.StreamReader) -> None:
        try:
            while data := await reader.read(65536):
                self.received += len(data)
                if not (self.bodiless and self.replies):
                    self._parser.feed_data(data)
                self.heard.set()
            self._end_reason = "the connection was closed before a complete reply"
        except OSError as error:
            self._end_reason = f"the connection was reset before a complete reply ({type(error).__name__})"
        except httptools.HttpParserError as error:
            self._end_reason = f"the reply is not HTTP: {error}"
        if self._open and self._open.status and not self._framed(self._open):
            self._end(self._open)
        self.heard.set()

    def _framed(self, reply: Reply) -> bool:
        """Does a header say where the body ends?"""
        return "content-length" in reply.headers or "chunked" in reply.headers.get("transfer-encoding", "")

    def _end(self, reply: Reply) -> None:
        self._open = None
        reply.complete = True
        if reply.status >= 200:  # an interim reply is followed by the real one
            self.replies.append(reply)

    async def close(self) -> None:
        """Reset the connection, and stop reading."""
        self._reading.cancel()
        self._writer.transport.abort()
        await asyncio.gather(self._reading, return_exceptions=True)


@asynccontextmanager
async def connected(port: int) -> AsyncIterator[Connection]:
    """A connection to this port. Raises OSError."""
    connection = Connection(*await asyncio.open_connection(HOST, port))
    try:
        yield connection
    finally:
        await connection.close()


def head(path: str, *headers: str, method: str = "POST", port: int = 0, kind: str = "application/json") -> bytes:
    """The head of a request."""
    lines = [f"{method} {path} HTTP/1.1", f"Host: {HOST}:{port}", f"Content-Type: {kind}", *headers]
    return "\r\n".join([*lines, "", ""]).encode()


def post(path: str, body: bytes, *headers: str, port: int = 0) -> bytes:
    """A complete request."""
    return head(path, f"Content-Length: {len(body)}", *headers, port=port) + body


async def get(port: int, path: str, timeout: float) -> Reply:
    """Get this on a new connection. `timeout`: seconds. Raises OSError, Unanswered."""
    async with connected(port) as connection:
        await connection.send(head(path, method="GET", port=port))
        return (await connection.answers(1, timeout))[0]


async def ask(port: int, path: str, body: bytes, timeout: float) -> Reply:
    """Send one request on a new connection. `timeout`: seconds. Raises OSError, Unanswered."""
    async with connected(port) as connection:
        await connection.send(post(path, body, port=port))
        return (await connection.answers(1, timeout))[0]
