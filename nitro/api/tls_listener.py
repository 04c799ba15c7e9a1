"""Takes connections that begin with TLS. It knows certificates and handshakes, and no HTTP but one sentence.

Until TLS is agreed upon a connection counts as one whose head is awaited, with the same time and the same place among
those that give way: a client that begins TLS and says no more costs no more than one that says nothing. Event loops
tell nobody of a connection before that, so it is accepted here.
"""

import asyncio
import contextlib
import logging
import socket
import ssl
from collections.abc import Callable
from typing import Any

from nitro.api.connections import Connections
from nitro.api.http_protocol import HttpProtocol
from nitro.api.transport.certificates import Certificates
from nitro.errors import one_line

requests = logging.getLogger("nitro.request")
log = logging.getLogger("nitro")

# Seconds that a connection which is being closed has to take the rest of its reply, and to say that it closes, too.
CLOSING = 300.0
PAUSE = 1.0  # seconds until the next try to accept, where there is no descriptor left
HANDSHAKE = b"\x16"  # the first byte of TLS: RFC 8446, section 5.1
WORDS = b"This port speaks TLS: the URL begins with https://.\n"
PLAIN = (
    b"HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain\r\nx-content-type-options: nosniff\r\nconnection: close\r\n"
    b"content-length: %d\r\n\r\n%b" % (len(WORDS), WORDS)
)


class TlsListener:
    """A socket that listens, and the handshakes that have begun. It is closed like an asyncio.Server."""

    def __init__(
        self,
        sock: socket.socket,
        connections: Connections[Any],
        open_ones: set[Any],
        certificates: Certificates,
        make: Callable[[object], HttpProtocol],
    ):
        """`open_ones`: uvicorn's set of connections, which it tells of the server's end. `make`: the protocol that
        takes the place of a handshake among the connections. `sock` listens already."""
        self._sock = sock
        self.connections, self.open_ones = connections, open_ones
        self.certificates, self.make = certificates, make
        sock.setblocking(False)
        self._task = asyncio.get_running_loop().create_task(self._accept())

    def close(self) -> None:
        """Take no more."""
        self._task.cancel()

    async def wait_closed(self) -> None:
        """Until the socket is closed."""
        with contextlib.suppress(asyncio.CancelledError):
            await self._task

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        with self._sock:
            while True:
                try:
                    sock, _ = await loop.sock_accept(self._sock)
                except ConnectionError:
                    continue  # it was gone already
                except OSError as error:
                    log.error("no connection can be accepted: %s", error.strerror or error)
                    await asyncio.sleep(PAUSE)
                    continue
                Handshake(sock, self).begin()


class Handshake:
    """One connection, until it has its HttpProtocol."""

    def __init__(self, sock: socket.socket, listener: TlsListener):
        self._sock = sock
        self._listener = listener
        self._address = _address(sock)
        self._is_ours = True  # the socket

    @property
    def transport(self) -> "Handshake":
        """Of a connection that gives way to another one: what to abort."""
        return self

    def begin(self) -> None:
        """Count it, and shake hands; or close it, or another one, if there are too many."""
        evicted = self._listener.connections.add(self)
        if evicted is self:
            return self._sock.close()
        if evicted is not None:
            evicted.transport.abort()
        self._listener.open_ones.add(self)
        self._task = asyncio.get_running_loop().create_task(self._shake())
        self._task.add_done_callback(self._ended)  # also where it is cancelled before it begins

    def abort(self) -> None:
        """Close it at once."""
        self._task.cancel()

    too_late = shutdown = abort  # the time has run out; the server stops

    async def _shake(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            if await self._speaks_tls():
                context, make = self._listener.certificates.context, self._listener.make
                self._is_ours = False  # whatever comes of it
                await loop.connect_accepted_socket(
                    lambda: make(self), self._sock, ssl=context, ssl_shutdown_timeout=CLOSING
                )
        except OSError as error:  # ssl.SSLError is one
            requests.info("- - error: no TLS: %s (from %s)", _reason(error), self._address)

    def _ended(self, _: asyncio.Task[None]) -> None:
        self._listener.connections.remove(self)
        self._listener.open_ones.discard(self)
        if self._is_ours:
            self._sock.close()

    async def _speaks_tls(self) -> bool:
        """Whether the first byte is TLS's; if not, say so. Raises OSError."""
        await self._readable()
        first = self._sock.recv(1, socket.MSG_PEEK)
        if first and first != HANDSHAKE:
            requests.info("- - error: no TLS: the client speaks plain HTTP (from %s)", self._address)
            self._sock.recv(2**16)  # what is unread when a socket is closed takes the reply away
            self._sock.send(PLAIN)
        return first == HANDSHAKE

    async def _readable(self) -> None:
        loop = asyncio.get_running_loop()
        there: asyncio.Future[None] = loop.create_future()
        loop.add_reader(self._sock, lambda: there.done() or there.set_result(None))
        try:
            await there
        finally:
            loop.remove_reader(self._sock)


def _reason(error: OSError) -> str:
    if isinstance(error, ssl.SSLError) and error.reason:
        return error.reason.lower().replace("_", " ")
    return one_line(str(error) or type(error).__name__)


def _address(sock: socket.socket) -> str:
    try:
        peer = sock.getpeername()
    except OSError:  # it has gone
        return "-"
    return str(peer[0]) if isinstance(peer, tuple) else "-"
