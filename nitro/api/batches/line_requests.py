"""Has a line of a batch answered by the route that it names, as if a client had sent it: without a connection."""

import random

from litestar.types import ASGIApp, Message, Receive, ReceiveMessage, Scope

from nitro.api import reply_writer
from nitro.api.endpoint import CLIENT_CLOSED_REQUEST, TIER
from nitro.batches.output_line import Reply
from nitro.batches.run import Asking

USER = "batch"  # that all lines share the engine as, together


class LineRequests:
    """Sends lines to the application behind the guard, which has looked at who began the batch."""

    def __init__(self, app: ASGIApp):
        self._app = app

    async def __call__(self, endpoint: str, body: bytes, asking: Asking) -> Reply | None:
        """The reply; None where it was left meanwhile."""
        request_id = f"req_{random.getrandbits(96):024x}"
        writer = _NoConnection()
        asking.left.add_done_callback(writer.leave)
        try:
            if asking.left.done():
                return None
            collector = _Collector()
            scope = _scope(endpoint, len(body), request_id, writer)
            await self._app(scope, _once(body), collector)
        finally:
            asking.left.remove_done_callback(writer.leave)
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


def _once(body: bytes) -> Receive:
    pieces = [body]

    async def receive() -> ReceiveMessage:
        return {"type": "http.request", "body": pieces.pop(), "more_body": False}

    return receive


def _scope(endpoint: str, length: int, request_id: str, writer: _NoConnection) -> Scope:
    return {  # type: ignore[return-value,typeddict-item,misc]
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
        "state": {"request_id": request_id, TIER: "flex"},
        "extensions": {reply_writer.EXTENSION: writer},
    }


def _nothing() -> None:
    pass
