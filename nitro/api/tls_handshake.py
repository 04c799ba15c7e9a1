"""A connection before it is encrypted. It counts as one whose head is awaited, with the same time and the same place in
the queue of those that give way: a client that begins TLS and says no more costs no more than one that says nothing.

When TLS is agreed upon, an HttpProtocol takes its place.
"""

import asyncio
import logging
import ssl
from collections.abc import Callable
from typing import Any

from nitro.api.connections import Connections
from nitro.api.http_protocol import HttpProtocol
from nitro.api.transport.certificates import Certificates
from nitro.errors import one_line

requests = logging.getLogger("nitro.request")

# Seconds that a connection which is being closed has to take the rest of its reply, and to say that it closes, too.
CLOSING = 300.0
PLAIN = "HTTP_REQUEST"  # OpenSSL's name of what a client without TLS sends


class Handshake(asyncio.Protocol):
    """One connection, until `make` makes its HttpProtocol."""

    def __init__(
        self,
        connections: Connections[Any],
        open_ones: set[Any],
        certificates: Certificates,
        make: Callable[[], HttpProtocol],
    ):
        """`open_ones`: uvicorn's set of connections, which it tells of the server's end."""
        self._connections = connections
        self._open = open_ones
        self._certificates = certificates
        self._make = make
        self._came: list[bytes] = []  # the beginning of the first request: it may come with the handshake's end
        self._lost = False
        self._task: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Count the connection; close it, or another one, if there are too many."""
        self.transport = transport
        evicted = self._connections.add(self)
        if evicted is not None:
            evicted.transport.abort()
        if evicted is self:
            return
        self._open.add(self)
        transport.pause_reading()  # what comes is for TLS
        self._task = asyncio.get_running_loop().create_task(self._shake())

    def data_received(self, data: bytes) -> None:
        """Of the request, decrypted."""
        self._came.append(data)

    def connection_lost(self, exc: Exception | None) -> None:
        """Before or behind the handshake."""
        self._lost = True
        self._forget()

    def too_late(self) -> None:
        """The time for the handshake has run out."""
        self.transport.abort()

    def shutdown(self) -> None:
        """The server stops."""
        self.transport.abort()

    async def _shake(self) -> None:
        if self.transport.is_closing():
            return self._forget()
        loop = asyncio.get_running_loop()
        try:
            encrypted = await loop.start_tls(
                self.transport, self, self._certificates.context, server_side=True, ssl_shutdown_timeout=CLOSING
            )
        except OSError as error:  # ssl.SSLError is one
            requests.info("- - error: no TLS: %s (from %s)", _reason(error), _address(self.transport))
            self.transport.abort()
            return self._forget()
        self._forget()
        if self._lost or encrypted is None:
            return
        http = self._make()
        http.below = self.transport
        encrypted.set_protocol(http)
        http.connection_made(encrypted)
        for data in self._came:
            http.data_received(data)

    def _forget(self) -> None:
        self._connections.remove(self)
        self._open.discard(self)


def _reason(error: OSError) -> str:
    if isinstance(error, ssl.SSLError) and error.reason:
        return "the client speaks plain HTTP" if error.reason == PLAIN else error.reason.lower().replace("_", " ")
    return one_line(str(error) or type(error).__name__)


def _address(transport: asyncio.Transport) -> str:
    peer = transport.get_extra_info("peername")
    return str(peer[0]) if isinstance(peer, tuple) else "-"
