"""uvicorn's server, for a server that starts and ends as ours does. It knows sockets and connections, and no route.

uvicorn's own looks ten times a second whether it is to stop, and pauses on its way. This one is told.
"""

import asyncio
import contextlib
import socket
import time
from collections.abc import Callable, Iterator
from typing import Any

from uvicorn.config import Config
from uvicorn.server import Server as UvicornServer

from nitro.api.connections import Connections
from nitro.api.http_protocol import HttpProtocol
from nitro.api.tls_listener import TlsListener
from nitro.api.transport.certificates import Certificates

TICK = 0.1  # seconds; uvicorn's, which counts ten of them to renew the date of its replies
MAX_POLL_INTERVAL = 0.02  # seconds between two looks whether all connections have closed


class HttpServer(UvicornServer):
    """Leaves the signals to us: streams must end before it waits for them. Closes connections of slow clients."""

    def __init__(
        self, config: Config, connections: Connections[HttpProtocol], certificates: Certificates | None = None
    ):
        """With `certificates` every connection is TLS."""
        super().__init__(config)
        self._connections = connections
        self._certificates = certificates
        self._ticked = time.monotonic()
        self._told_to_stop = asyncio.Event()

    def stop(self) -> None:
        """Begin to stop: no new connections, and those that are open close when they have their replies."""
        self.should_exit = True
        self._told_to_stop.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Of uvicorn: takes the signals for as long as it serves. This one does not."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Take connections from these sockets, TCP's or Unix's."""
        loop = asyncio.get_running_loop()
        self.servers = []
        open_ones: set[Any] = self.server_state.connections
        for each in sockets or ():
            if self._certificates:
                server: Any = TlsListener(each, self._connections, open_ones, self._certificates, self._protocol)
            else:
                listen = loop.create_unix_server if each.family == socket.AF_UNIX else loop.create_server
                server = await listen(self._protocol, sock=each, backlog=self.config.backlog)
            self.servers.append(server)
        self.started = True

    def _protocol(self, stands_for: object = None) -> HttpProtocol:
        make: Callable[..., HttpProtocol] = self.config.http_protocol_class  # type: ignore[assignment]
        return make(stands_for=stands_for, config=self.config, server_state=self.server_state, app_state={})

    async def main_loop(self) -> None:
        """Tick until `stop`."""
        ticks = 0
        while not await self.on_tick(ticks):
            ticks = (ticks + 1) % 10
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._told_to_stop.wait(), TICK)

    async def on_tick(self, counter: int) -> bool:
        """Close the connections whose time has run out. Returns whether to stop."""
        now = time.monotonic()
        for late in self._connections.tick(now - self._ticked):
            late.too_late()
        self._ticked = now
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Close what listens, and the connections as their replies end. Requests that take too long are cancelled."""
        for server in self.servers:
            server.close()
        for connection in list(self.server_state.connections):
            connection.shutdown()
        try:
            async with asyncio.timeout(self.config.timeout_graceful_shutdown):
                await self._all_closed()
        except TimeoutError:
            for task in list(self.server_state.tasks):
                task.cancel()

    async def _all_closed(self) -> None:
        pause = MAX_POLL_INTERVAL / 16
        while self.server_state.connections or self.server_state.tasks:
            await asyncio.sleep(pause)
            pause = min(2 * pause, MAX_POLL_INTERVAL)
        for server in self.servers:
            await server.wait_closed()
