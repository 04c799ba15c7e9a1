"""Nitro as a deployment of Ray Serve: each replica starts a server of its own and passes requests on to it.

serve run config.yaml. See README.md.
"""

import asyncio
import os
import shlex
import tempfile
from collections.abc import AsyncIterator

import httpx
from ray import serve
from starlette.requests import Request
from starlette.responses import StreamingResponse

COMMAND = os.environ.get("NITRO_COMMAND", "nitro serve")
# of one connection, not of the next; Ray writes its own
HOPS = ("connection", "keep-alive", "transfer-encoding", "content-length", "host", "date", "server")
START = 600  # seconds that a model may take to load


@serve.deployment
class Nitro:
    """A replica, and the server of its own, on a Unix socket. How many there are is said in config.yaml."""

    async def __init__(self) -> None:
        """Returns once the model is loaded: Ray sends nothing before."""
        self.folder = tempfile.TemporaryDirectory(prefix="nitro-")
        socket = f"{self.folder.name}/nitro.sock"
        transport = httpx.AsyncHTTPTransport(uds=socket, limits=httpx.Limits(max_connections=None))
        self.client = httpx.AsyncClient(transport=transport, base_url="http://localhost", timeout=None)
        # setpriv: it ends with this process, however that ends. --trust-proxy: who calls is no program of this machine
        start = ["setpriv", "--pdeathsig", "TERM", *shlex.split(COMMAND), "--uds", socket, "--trust-proxy", "unix"]
        self.process = await asyncio.create_subprocess_exec(*start)
        async with asyncio.timeout(START):
            while not await self.is_well():
                if self.process.returncode is not None:
                    raise RuntimeError(f"{COMMAND} ended with status {self.process.returncode}")
                await asyncio.sleep(0.1)
        self.ending = asyncio.create_task(self.end_with_server())

    async def is_well(self) -> bool:
        """Whether the server takes requests."""
        try:
            return (await self.client.get("/health", timeout=5)).status_code == 200
        except httpx.HTTPError:
            return False

    async def end_with_server(self) -> None:
        """A replica without a server ends at once, so that Ray sends it nothing more, and starts another."""
        await self.process.wait()
        os._exit(1)

    async def __call__(self, request: Request) -> StreamingResponse:
        """Pass a request on, and its reply back as it comes. A client that leaves ends this, and with it the work."""
        headers = [(name, value) for name, value in request.headers.items() if name not in HOPS]
        if request.client:
            headers.append(("x-forwarded-for", request.client.host))
        sent = self.client.build_request(
            request.method,
            request.url.path,
            params=request.query_params,
            headers=headers,
            content=await request.body(),
        )
        reply = await self.client.send(sent, stream=True)
        kept = {name: value for name, value in reply.headers.items() if name not in HOPS}
        return StreamingResponse(parts(reply), reply.status_code, kept)


async def parts(reply: httpx.Response) -> AsyncIterator[bytes]:
    """What comes of a reply. Where nobody wants it any more, its connection is closed."""
    try:
        async for part in reply.aiter_raw():
            yield part
    finally:
        await reply.aclose()


app = Nitro.bind()
