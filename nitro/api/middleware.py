"""What happens to every request before it is routed: one ASGI application around the routed one.

It gives the request an id, forgives the path (doubled slashes, no `/v1`), asks the guard, limits the body, and answers
browsers and HEAD.
"""

import random
import re
from collections.abc import Iterable

import msgspec
from litestar import Litestar
from litestar.enums import ScopeType
from litestar.types import Message, Receive, ReceiveMessage, Scope, Send

from nitro.api.auth import OPEN_PATHS, Guard, Headers
from nitro.api.turns import Turns
from nitro.errors import ApiError
from nitro.service.metrics import Metrics

_SLASHES = re.compile("/{2,}")


class Front:
    """`max_body` is in bytes."""

    def __init__(self, app: Litestar, guard: Guard, metrics: Metrics, max_body: int):
        self._app, self._guard, self._metrics, self._max_body = app, guard, metrics, max_body
        methods = {route.path.partition("/{")[0]: route.methods for route in app.routes}
        self._turns = Turns()
        self._methods = {path: {*of, "HEAD"} if "GET" in of else {*of} for path, of in methods.items()}
        self._paths = sorted(self._methods, key=len, reverse=True)
        self._under_v1 = {path.split("/")[2] for path in self._paths if path.startswith("/v1/")}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP:
            return await self._app(scope, receive, send)
        request_id = f"req_{random.getrandbits(96):024x}"
        path, method, headers = self._forgive(scope["path"]), str(scope["method"]), dict(scope["headers"])
        known = self._known(path)
        allowed = self._methods.get(known, {"OPTIONS"})
        scope["path"], scope["raw_path"] = path, path.encode()
        scope["state"] = {"request_id": request_id}
        if method == "HEAD" and "GET" in allowed:  # uvicorn, which leaves the body away, keeps the scope as it was
            scope = {**scope, "method": "GET"}
        added = [(b"x-request-id", request_id.encode()), *self._guard.cors(method, headers).items()]
        body = _Body(receive, headers, self._max_body)

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                more = [(b"connection", b"close")] if body.unread else []
                if message["status"] == 405:
                    more.append((b"allow", _allow(allowed)))
                message["headers"] = [*message["headers"], *added, *more]
                self._metrics.answered(known, message["status"])
            await send(message)

        try:
            self._guard.check(method, path, headers)
            body.check()
        except ApiError as refusal:
            return await _refuse(send_with_headers, refusal)
        if method == "OPTIONS":
            return await _answer(send_with_headers, 204, {b"allow": _allow(allowed)}, b"")
        if path not in OPEN_PATHS:
            await self._turns.wait()
        await self._app(scope, body, send_with_headers)

    def _forgive(self, path: str) -> str:
        path = _SLASHES.sub("/", f"/{path}")
        first = path.split("/")[1]
        return f"/v1{path}" if first in self._under_v1 else path

    def _known(self, path: str) -> str:
        """The path as the metrics have it, one of a few: a client must not be able to make them grow."""
        return next((known for known in self._paths if path == known or path.startswith(f"{known}/")), "other")


class _Body:
    """A request's body on its way in, no longer than it may be."""

    def __init__(self, receive: Receive, headers: Headers, limit: int):
        self._receive, self._limit = receive, limit
        self._length = int(headers.get(b"content-length", b"0"))
        self.unread = self._length > 0 or b"transfer-encoding" in headers
        self._read = 0

    async def __call__(self) -> ReceiveMessage:
        message = await self._receive()
        if message["type"] == "http.request":
            self._read += len(message["body"])
            self.unread = self.unread and message["more_body"]
            self.check()
        return message

    def check(self) -> None:
        """Raises ApiError."""
        if max(self._length, self._read) > self._limit:
            limit = f"{self._limit // 2**20} MiB"
            raise ApiError(413, f"The body is larger than {limit}; start the server with a larger --max-body.")


def _allow(methods: Iterable[str]) -> bytes:
    return ", ".join(sorted(methods)).encode()


async def _refuse(send: Send, refusal: ApiError) -> None:
    headers = {b"content-type": b"application/json", b"x-should-retry": b"false"}
    if refusal.status == 401:
        headers[b"www-authenticate"] = b"Bearer"
    await _answer(send, refusal.status, headers, msgspec.json.encode(refusal.body))


async def _answer(send: Send, status: int, headers: dict[bytes, bytes], body: bytes) -> None:
    headers = {**headers, b"content-length": b"%d" % len(body)} if status != 204 else headers
    await send({"type": "http.response.start", "status": status, "headers": list(headers.items())})
    await send({"type": "http.response.body", "body": body, "more_body": False})
