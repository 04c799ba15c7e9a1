"""What happens to every request before it is routed: one ASGI application around the routed one.

It gives the request an id, corrects the path (doubled slashes, a missing or doubled `/v1`, capitals in the first
Nitro's), asks the guard, limits the body, and answers browsers and HEAD. It counts what a server that ends finishes.
"""

import random
import re
from collections.abc import Iterable, Mapping
from contextlib import nullcontext

from litestar import Litestar
from litestar.enums import ScopeType
from litestar.routes import BaseRoute, HTTPRoute
from litestar.types import ASGIApp, Message, Receive, ReceiveMessage, Scope, Send

from nitro.api import callers, error_forms, error_responses, page, rate_headers, reply_writer
from nitro.api.auth import OPEN_PATHS, Guard, Headers
from nitro.api.drain import Drain
from nitro.api.error_forms import ErrorForm
from nitro.api.recording import Recording
from nitro.api.request_turns import Turns
from nitro.api.transport import reply_headers
from nitro.api.transport.forwarded import Proxies
from nitro.errors import ApiError
from nitro.keys.account import Account
from nitro.records.recorder import Recorder
from nitro.service.metrics import Metrics

CHANGES = "changes"  # option of a route whose GET is no mere look: a HEAD must not do the same
ENDLESS = "endless"  # option of a route whose reply ends with the server: it waits for none of them
_SLASHES = re.compile("/{2,}")
_ANY_CASE = re.compile("/(inferences|processmanager)/.*", re.IGNORECASE)  # paths of the first Nitro's API
_PARAMETER = re.compile(r"\{[^:}]+:([^}]+)\}")  # of a route's path
_V1S = re.compile("(/v1)+/")  # a base URL that ends with /v1, given to a program that adds it


class RequestMiddleware:
    """The ASGI application that uvicorn calls. `inner`: the one behind it, for requests of the server's own."""

    proxies = Proxies()  # in front of the server

    def __init__(
        self,
        app: Litestar,
        guard: Guard,
        metrics: Metrics,
        max_body: int,
        recorder: Recorder | None = None,
        larger: Mapping[str, tuple[int, str]] | None = None,
        drain: Drain | None = None,
    ):
        """`max_body` is in bytes; `larger`: of some paths (regular expressions), with what to do about a larger one.
        `recorder`: of what the guard lets in. `drain`: tells whether the server ends."""
        self.inner: ASGIApp = Recording(app, recorder) if recorder else app
        self._guard = guard
        self._metrics = metrics
        self._max_body = (max_body, "start the server with a larger --max-body")
        self._larger = {re.compile(pattern): limit for pattern, limit in (larger or {}).items()}
        self._turns = Turns()
        self._drain = drain or Drain()
        # For OPTIONS, HEAD and 405 alike. The `Allow` that Litestar puts into its exceptions knows no HEAD.
        self._routes = _Routes(app.routes)
        self._unfinished = {*OPEN_PATHS, *_with_option(app.routes, ENDLESS)}
        self._under_v1 = {path.split("/")[2] for path in self._routes.names if path.startswith("/v1/")}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request, as ASGI specifies."""
        if scope["type"] != ScopeType.HTTP:
            return await self.inner(scope, receive, send)
        request_id = f"req_{random.getrandbits(96):024x}"
        caller = self.proxies.caller(scope)
        scope["client"] = caller.client
        path = self._correct(caller.inner(scope["path"]))
        method = str(scope["method"])
        headers = dict(scope["headers"])
        asked_host = headers.get(b"host", b"")
        if caller.host:
            headers[b"host"] = caller.host
        route, allowed = self._routes.of(path)
        to_page = caller.is_bare_prefix(scope["path"]) and page.is_asked(path, headers)
        scope["path"] = path
        scope["raw_path"] = path.encode()
        scope["state"] = {"request_id": request_id, "prefix": caller.prefix}
        if method == "HEAD" and "HEAD" in allowed:  # uvicorn keeps the original scope, and so leaves out the body
            scope = {**scope, "method": "GET"}
        form = error_forms.of(path, headers)
        added = [(b"x-request-id", request_id.encode()), *self._guard.cors(method, headers, caller.scheme).items()]
        if form.id_header:
            added.append((form.id_header, request_id.encode()))
        limits = (limit for pattern, limit in self._larger.items() if pattern.fullmatch(path))
        body = _Body(receive, headers, *next(limits, self._max_body))
        account: Account | None = None

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                more = [(b"connection", b"close")] if body.unread or self._drain.active else []
                if message["status"] == 405:
                    more.append((b"allow", _allow(allowed)))
                if account:
                    more += rate_headers.of(account)
                more += reply_headers.policy(message["headers"])
                message["headers"] = [*message["headers"], *added, *more]
                if any(name == b"content-length" for name, _ in message["headers"]):
                    reply_writer.hold_head(scope)
                self._metrics.answered(route, message["status"])
            await send(message)

        try:
            caller.check()
            self._guard.check_host(asked_host)  # a proxy may tell another one, and both must be known
            account = self._guard.check(method, path, headers, caller.scheme)
            self._drain.check(method, path)
            body.check()
            use = callers.begin(scope, account)
        except ApiError as refusal:
            error_responses.refused(scope, refusal)
            return await _refuse(send_with_headers, refusal, form, request_id)
        if method == "OPTIONS":
            return await _answer(send_with_headers, 204, {b"allow": _allow(allowed)}, b"")
        try:
            if to_page:  # the page names its files from where it lies
                return await _answer(send_with_headers, 308, {b"location": f"{caller.prefix}/".encode()}, b"")
            with nullcontext() if path in self._unfinished else self._drain.request():
                if path not in OPEN_PATHS:
                    await self._turns.wait()
                await self.inner(scope, body, send_with_headers)
        finally:
            if use:
                use.end()

    def _correct(self, path: str) -> str:
        path = _SLASHES.sub("/", f"/{path}")
        if _ANY_CASE.fullmatch(path):
            return path.lower()
        if doubled := _V1S.match(path):
            path = "/v1/" + path[doubled.end() :]
        first = path.split("/")[1]
        return f"/v1{path}" if first in self._under_v1 else path


class _Routes:
    """The paths that there are, and the methods of each. A path's name is what stands before its first parameter: what
    metrics count must not grow with what clients send."""

    def __init__(self, routes: Iterable[BaseRoute]):
        self._plain: dict[str, set[str]] = {}
        self._patterns: list[tuple[re.Pattern[str], str, set[str]]] = []
        for route in routes:
            name = route.path.partition("/{")[0]
            if name == route.path:
                self._plain[name] = _methods(route)
            else:
                pattern = _PARAMETER.sub(lambda found: ".*" if found[1] == "path" else "[^/]+", route.path)
                self._patterns.append((re.compile(pattern), name, _methods(route)))
        self.names = sorted({*self._plain, *(name for _, name, _ in self._patterns)}, key=len, reverse=True)

    def of(self, path: str) -> tuple[str, set[str]]:
        """Its name, or "other", and its methods."""
        if plain := self._plain.get(path):
            return path, plain
        for pattern, name, methods in self._patterns:
            if pattern.fullmatch(path):
                return name, methods
        name = next((name for name in self.names if path.startswith(f"{name}/")), "other")
        return name, self._plain.get(name, {"OPTIONS"})


class _Body:
    """A request's body while it is received. It raises ApiError once it is longer than `limit`, in bytes. `cure`:
    what to do about it."""

    def __init__(self, receive: Receive, headers: Headers, limit: int, cure: str):
        self._receive = receive
        self._limit = limit
        self._cure = cure
        self._length = int(headers.get(b"content-length", b"0"))
        self.unread = self._length > 0 or b"transfer-encoding" in headers
        self._received = 0

    async def __call__(self) -> ReceiveMessage:
        message = await self._receive()
        if message["type"] == "http.request":
            self._received += len(message["body"])
            self.unread = self.unread and message["more_body"]
            self.check()
        return message

    def check(self) -> None:
        """Raises ApiError 413."""
        if max(self._length, self._received) > self._limit:
            limit = f"{self._limit // 2**20} MiB"
            raise ApiError(413, f"The body is larger than {limit}; {self._cure}.")


def _with_option(routes: Iterable[BaseRoute], option: str) -> list[str]:
    """The paths of routes that have it."""
    return [
        route.path
        for route in routes
        if isinstance(route, HTTPRoute) and any(option in handler.opt for handler in route.route_handlers)
    ]


def _methods(route: BaseRoute) -> set[str]:
    """The methods of a route, with HEAD where there is GET, unless that one changes something."""
    handlers = route.route_handlers if isinstance(route, HTTPRoute) else ()
    head = {"HEAD"} if "GET" in route.methods and not any(CHANGES in handler.opt for handler in handlers) else set()
    return {*route.methods, *head}


def _allow(methods: Iterable[str]) -> bytes:
    return ", ".join(sorted(methods)).encode()


async def _refuse(send: Send, refusal: ApiError, form: ErrorForm, request_id: str) -> None:
    headers = {b"content-type": b"application/json", **error_responses.retry_headers(refusal)}
    if refusal.status == 401:
        headers[b"www-authenticate"] = b"Bearer"
    await _answer(send, form.status(refusal), headers, form.body(refusal, request_id))


async def _answer(send: Send, status: int, headers: dict[bytes, bytes], body: bytes) -> None:
    headers = {**headers, b"content-length": b"%d" % len(body)} if status != 204 else headers
    await send({"type": "http.response.start", "status": status, "headers": list(headers.items())})
    await send({"type": "http.response.body", "body": body, "more_body": False})
