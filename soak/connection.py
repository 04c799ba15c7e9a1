"""HTTP/1.1 spoken byte by byte, for requests that no client library would send: what goes out is the caller's, what
comes back is parsed. Knows nothing of what is asked."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import httptools

from bench.processes import HOST

PIECE = 2**18  # bytes that are written before the socket is asked whether it takes more


@dataclass
class Reply:
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)  # names in lower case
    body: bytes = b""
    whole: bool = False  # False: the connection ended in it


class Unanswered(Exception):
    """The connection ended, or the time was up, before the replies that were asked for had come. Says which."""


class Connection:
    """One connection to a server on this machine. Replies are read from its beginning on, also while bytes go out.

    `heard` is set whenever bytes have come, `received` counts them. `bodiless`: what comes is the reply to HEAD.
    """

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter):
        self.replies: list[Reply] = []
        self.received = 0
        self.bodiless = False
        self.heard = asyncio.Event()
        self._writer = writer
        self._parser = httptools.HttpResponseParser(self)
        self._open: Reply | None = None
        self._over: str | None = None  # why nothing more comes
        self._reading = asyncio.create_task(self._read(reader))

    # Called by the parser

    def on_message_begin(self) -> None:
        self._open = Reply()

    def on_header(self, name: bytes, value: bytes) -> None:
        assert self._open
        self._open.headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        assert self._open
        self._open.status = self._parser.get_status_code()
        if self.bodiless:
            self._end(self._open)

    def on_body(self, body: bytes) -> None:
        if self._open:
            self._open.body += body

    def on_message_complete(self) -> None:
        if self._open:
            self._end(self._open)

    # For the caller

    async def send(self, data: bytes, pause: float = 0.0, piece: int = PIECE) -> None:
        """In pieces, with so many seconds after each. A server that has closed its side takes no more; no error."""
        view = memoryview(data)
        try:
            for at in range(0, len(view), piece):
                self._writer.write(view[at : at + piece])
                await self._writer.drain()
                if pause:
                    await asyncio.sleep(pause)
                if self._over:
                    return
        except OSError:
            return

    async def answers(self, count: int, ceiling: float) -> list[Reply]:
        """The first `count` replies, each whole. Raises Unanswered."""
        try:
            async with asyncio.timeout(ceiling):
                while len(self.replies) < count and not self._over:
                    self.heard.clear()
                    await self.heard.wait()
        except TimeoutError:
            raise Unanswered(f"no whole reply within {ceiling:.0f} s") from None
        if len(self.replies) < count or not all(reply.whole for reply in self.replies[:count]):
            raise Unanswered(self._over or "a reply is cut")
        return self.replies[:count]

    async def wait_for(self, received: int) -> None:
        """Until so many bytes have come, or nothing more does."""
        while self.received < received and not self._over:
            self.heard.clear()
            await self.heard.wait()

    async def _read(self, reader: asyncio.StreamReader) -> None:
        try:
            while data := await reader.read(65536):
                self.received += len(data)
                if not (self.bodiless and self.replies):
                    self._parser.feed_data(data)
                self.heard.set()
            self._over = "the connection was closed before a whole reply"
        except OSError as error:
            self._over = f"the connection was reset before a whole reply ({type(error).__name__})"
        except httptools.HttpParserError as error:
            self._over = f"what came is no HTTP: {error}"
        if self._open and self._open.status and not self._framed(self._open):
            self._end(self._open)
        self.heard.set()

    def _framed(self, reply: Reply) -> bool:
        """Whether its end is told by anything but the end of the connection."""
        return "content-length" in reply.headers or "chunked" in reply.headers.get("transfer-encoding", "")

    def _end(self, reply: Reply) -> None:
        self._open = None
        reply.whole = True
        if reply.status >= 200:  # below: it goes on
            self.replies.append(reply)

    async def close(self) -> None:
        self._reading.cancel()
        self._writer.transport.abort()
        await asyncio.gather(self._reading, return_exceptions=True)


@asynccontextmanager
async def connected(port: int) -> AsyncIterator[Connection]:
    """Raises OSError."""
    connection = Connection(*await asyncio.open_connection(HOST, port))
    try:
        yield connection
    finally:
        await connection.close()


def head(path: str, *headers: str, method: str = "POST", port: int = 0) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", f"Host: {HOST}:{port}", "Content-Type: application/json", *headers]
    return "\r\n".join([*lines, "", ""]).encode()


def post(path: str, body: bytes, *headers: str, port: int = 0) -> bytes:
    """A whole request."""
    return head(path, f"Content-Length: {len(body)}", *headers, port=port) + body


async def ask(port: int, path: str, body: bytes, ceiling: float) -> Reply:
    """One request on a connection of its own. Raises OSError, Unanswered."""
    async with connected(port) as connection:
        await connection.send(post(path, body, port=port))
        return (await connection.answers(1, ceiling))[0]
