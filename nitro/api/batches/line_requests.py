"""Has a line of a batch answered by the route that it names, as if a client had sent it: without a connection."""

import random

import msgspec
from litestar.types import ASGIApp, Message, Receive, ReceiveMessage, Scope

from nitro.api import callers, reply_writer, users
from nitro.api.endpoint import CLIENT_CLOSED_REQUEST, TIER
from nitro.batches.output_line import Reply
from nitro.batches.run import Asking
from nitro.errors import ApiError
from nitro.keys import refusals
from nitro.keys.ring import KeyRing
from nitro.state.batches import Work

LOOK_AGAIN = 60  # seconds
USER = "batch"  # that all lines share the engine as, together


class LineRequests:
    """Sends lines to the application behind the guard, which has looked at who began the batch."""

    def __init__(self, app: ASGIApp, keys: KeyRing | None = None):
        """`keys`: of a file. A line of a batch that was begun with one has its rights, as long as there is that key,
        and what it uses is counted as the key's."""
        self._app = app
        self._keys = keys

    async def __call__(self, work: Work, body: bytes, asking: Asking) -> Reply | None:
        """The reply; None where it was left meanwhile."""
        request_id = f"req_{random.getrandbits(96):024x}"
        writer = _NoConnection()
        scope = _scope(work.endpoint, len(body), request_id, writer)
        name = users.key_named(work.user)
        account = self._keys.named(name) if self._keys and name else None
        if name and account is None:
            return _refusal(request_id, refusals.gone(name))
        if account and not account.key.has_route("POST", work.endpoint):  # it may have had it when the batch began
            return _refusal(request_id, refusals.no_route(account.name, f"POST {work.endpoint}"))
        if account and account.day_is_over:  # it waits for the next one
            return _refusal(request_id, ApiError(429, "The day's limit of the key is reached.", retry_after=LOOK_AGAIN))
        if asking.left.done():
            return None
        collector = _Collector()
        use = callers.resume(scope, account) if account else None
        asking.left.add_done_callback(writer.leave)
        try:
            await self._app(scope, _once(body), collector)
        finally:
            asking.left.remove_done_callback(writer.leave)
            if use:
                use.end()
        if collector.status == CLIENT_CLOSED_REQUEST:
            return None
        retry = collector.headers.get(b"retry-after", b"").decode("latin-1")
        return Reply(
            status=collector.status,
            request_id=request_id,
            body=b"".join(collector.pieces),
            retry_after=int(retry) if retry.isdigit() else None,
        )


class _NoConnection:
    """In the place of a ReplyWriter, for a reply that is no stream."""

    def __init__(self) -> None:
        self.left = False
        self.full = False
        self.tap = None
        self.on_left = self.on_room = self.hold = self.release = _nothing

    def leave(self, _: object) -> None:
        self.left = True
        self.on_left()

    def write(self, data: bytes) -> None:
        raise AssertionError("a line of a batch is not streamed")


class _Collector:
    """Takes what the application sends."""

    def __init__(self) -> None:
        self.status = 500
        self.headers: dict[bytes, bytes] = {}
        self.pieces: list[bytes] = []

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status, self.headers = message["status"], dict(message["headers"])
        elif message["type"] == "http.response.body":
            self.pieces.append(message["body"])


def _refusal(request_id: str, error: ApiError) -> Reply:
    body = msgspec.json.encode(error.body)
    return Reply(status=error.status, request_id=request_id, body=body, retry_after=error.retry_after)


def _once(body: bytes) -> Receive:
    pieces = [body]

    async def receive() -> ReceiveMessage:
        return {"type": "http.request", "body": pieces.pop(), "more_body": False}

    return receive


def _scope(endpoint: str, length: int, request_id: str, writer: _NoConnection) -> Scope:
    return {  # type: ignore[return-value]
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": endpoint,
        "raw_path": endpoint.encode(),
        "root_path": "",
        "query_string": b"",
        "headers": [(b"content-type", b"application/json"), (b"content-length", b"%d" % length)],
        "client": (USER, 0),
        "server": None,
        "state": {"request_id": request_id, "prefix": "", TIER: "flex"},
        "extensions": {reply_writer.EXTENSION: writer},
    }


def _nothing() -> None:
    pass
