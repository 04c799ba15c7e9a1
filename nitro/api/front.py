"""What happens to every request before it is routed: one ASGI application around the routed one.

It gives the request an id, forgives the path (doubled slashes, no `/v1`), and asks for the API key.
"""

import re
import secrets

import msgspec
from litestar import Litestar
from litestar.enums import ScopeType
from litestar.types import Message, Receive, Scope, Send

from nitro.api.security import may_call
from nitro.errors import ApiError

_SLASHES = re.compile("/{2,}")
_NO_KEY = ApiError(401, "Missing or incorrect API key: send it as 'Authorization: Bearer KEY'.", code="invalid_api_key")


class Front:
    def __init__(self, app: Litestar, api_key: str | None):
        self._app, self._api_key = app, api_key or None
        routed = (route.path.split("/") for route in app.routes)
        self._under_v1 = {parts[2] for parts in routed if parts[1] == "v1" and len(parts) > 2}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP:
            return await self._app(scope, receive, send)
        request_id = f"req_{secrets.token_hex(12)}"

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (b"x-request-id", request_id.encode())]
            await send(message)

        path = self._forgive(scope["path"])
        scope["path"], scope["raw_path"] = path, path.encode()
        scope["state"] = {"request_id": request_id}
        headers = dict(scope["headers"])
        if may_call(path, headers.get(b"authorization", b"").decode("latin-1"), self._api_key):
            await self._app(scope, receive, send_with_id)
        else:
            await _refuse(send_with_id)

    def _forgive(self, path: str) -> str:
        path = _SLASHES.sub("/", f"/{path}")
        first = path.split("/")[1]
        return f"/v1{path}" if first in self._under_v1 else path


async def _refuse(send: Send) -> None:
    headers = [(b"content-type", b"application/json"), (b"www-authenticate", b"Bearer")]
    await send({"type": "http.response.start", "status": _NO_KEY.status, "headers": headers})
    await send({"type": "http.response.body", "body": msgspec.json.encode(_NO_KEY.body), "more_body": False})
