"""What happens to every request before it is routed: one ASGI application around the routed one.

It gives the request an id, forgives the path (doubled slashes, no `/v1`), asks the guard, and answers browsers.
"""

import re
import secrets

import msgspec
from litestar import Litestar
from litestar.enums import ScopeType
from litestar.types import Message, Receive, Scope, Send

from nitro.api.security import Guard
from nitro.errors import ApiError
from nitro.metrics import Metrics

_SLASHES = re.compile("/{2,}")


class Front:
    def __init__(self, app: Litestar, guard: Guard, metrics: Metrics):
        self._app, self._guard, self._metrics = app, guard, metrics
        self._paths = sorted({route.path.partition("/{")[0] for route in app.routes}, key=len, reverse=True)
        self._under_v1 = {path.split("/")[2] for path in self._paths if path.startswith("/v1/")}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP:
            return await self._app(scope, receive, send)
        request_id = f"req_{secrets.token_hex(12)}"
        path, method, headers = self._forgive(scope["path"]), str(scope["method"]), dict(scope["headers"])
        scope["path"], scope["raw_path"] = path, path.encode()
        scope["state"] = {"request_id": request_id}
        added = [(b"x-request-id", request_id.encode()), *self._guard.cors(method, headers).items()]

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *added]
                self._metrics.answered(self._label(path), message["status"])
            await send(message)

        try:
            self._guard.check(method, path, headers)
        except ApiError as refusal:
            return await _refuse(send_with_headers, refusal)
        if method == "OPTIONS":
            return await _answer(send_with_headers, 204, {b"allow": b"GET, POST, OPTIONS"}, b"")
        await self._app(scope, receive, send_with_headers)

    def _forgive(self, path: str) -> str:
        path = _SLASHES.sub("/", f"/{path}")
        first = path.split("/")[1]
        return f"/v1{path}" if first in self._under_v1 else path

    def _label(self, path: str) -> str:
        """The path as the metrics have it, one of a few: a client must not be able to make them grow."""
        return next((known for known in self._paths if path == known or path.startswith(f"{known}/")), "other")


async def _refuse(send: Send, refusal: ApiError) -> None:
    headers = {b"content-type": b"application/json", b"x-should-retry": b"false"}
    if refusal.status == 401:
        headers[b"www-authenticate"] = b"Bearer"
    await _answer(send, refusal.status, headers, msgspec.json.encode(refusal.body))


async def _answer(send: Send, status: int, headers: dict[bytes, bytes], body: bytes) -> None:
    await send({"type": "http.response.start", "status": status, "headers": list(headers.items())})
    await send({"type": "http.response.body", "body": body, "more_body": False})
