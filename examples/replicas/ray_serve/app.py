"""Nitro as a deployment of Ray Serve: each replica starts a server of its own and passes requests on to it.

serve run config.yaml. See README.md.
"""

import asyncio
import os
import shlex
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
from ray import serve
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

COMMAND = os.environ.get("NITRO_COMMAND", "nitro serve")
HOPS = ("connection", "keep-alive", "transfer-encoding", "content-length", "host")  # of one connection, not of the next
START = 600  # seconds that a model may take to load
METHODS = ["GET", "POST", "DELETE"]


class Server:
    """The server of this replica, on a Unix socket."""

    client: httpx.AsyncClient
    process: asyncio.subprocess.Process

    async def start(self) -> None:
        """Returns once its model is loaded."""
        socket = str(Path(tempfile.mkdtemp(prefix="nitro-")) / "nitro.sock")
        # setpriv: it ends with this process, however that ends
        command = ["setpriv", "--pdeathsig", "TERM", *shlex.split(COMMAND), "--uds", socket]
        self.process = await asyncio.create_subprocess_exec(*command)
        transport = httpx.AsyncHTTPTransport(uds=socket, limits=httpx.Limits(max_connections=None))
        self.client = httpx.AsyncClient(transport=transport, base_url="http://localhost", timeout=None)
        async with asyncio.timeout(START):
            while not await self.is_well():
                if self.process.returncode is not None:
                    raise RuntimeError(f"{COMMAND} ended with status {self.process.returncode}")
                await asyncio.sleep(0.1)

    async def is_well(self) -> bool:
        """Whether it takes requests."""
        try:
            return (await self.client.get("/health", timeout=5)).status_code == 200
        except httpx.HTTPError:
            return False

    async def stop(self) -> None:
        """It finishes what it has begun."""
        if self.process.returncode is None:
            self.process.terminate()
        await self.process.wait()
        await self.client.aclose()

    async def forward(self, request: Request) -> Response:
        """Pass a request on, and its reply back as it comes. A client that leaves ends the work."""
        sent = self.client.build_request(
            request.method,
            request.url.path,
            params=request.query_params,
            headers=[(name, value) for name, value in request.headers.items() if name not in HOPS],
            content=await request.body(),
        )
        try:
            reply = await self.client.send(sent, stream=True)
        except httpx.HTTPError as error:
            return JSONResponse({"error": {"message": f"The server has no reply: {error}"}}, 503)
        headers = {name: value for name, value in reply.headers.items() if name not in HOPS}
        return StreamingResponse(reply.aiter_raw(), reply.status_code, headers, background=BackgroundTask(reply.aclose))


server = Server()  # of the replica, whose process is its own


def build() -> Starlette:
    """The application of a replica, made there: Ray takes no bare ASGI function."""

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        await server.start()
        yield
        await server.stop()

    return Starlette(routes=[Route("/{path:path}", server.forward, methods=METHODS)], lifespan=lifespan)


@serve.deployment
@serve.ingress(build)
class Nitro:
    """A replica. How many there are is said in config.yaml."""

    async def check_health(self) -> None:
        """Ray asks from time to time, and replaces a replica that raises."""
        if server.process.returncode is not None:
            raise RuntimeError("the server of this replica has ended")


app = Nitro.bind()
