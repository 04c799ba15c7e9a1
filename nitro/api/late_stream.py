"""A stream whose model is being loaded: its head goes out at once, then signs of life, then the reply or its error.

Until a stream has waited for SILENCE its errors are HTTP errors, as all others are. Parameters without effect, which
are known only now, are named in a comment.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from litestar import Response
from litestar.response.base import ASGIResponse
from litestar.types import Receive, Scope, Send

from nitro.api import error_responses, reply_writer
from nitro.api.stream_response import StreamResponse
from nitro.errors import ApiError
from nitro.service import delivery
from nitro.service.asked import Asked
from nitro.service.disconnects import ClientDisconnected
from nitro.service.ignored_parameters import HEADER


@dataclass(frozen=True, slots=True)
class Early:
    """What a protocol's streams consist of before there is a renderer. `error`: all that ends such a stream."""

    media_type: str
    headers: Mapping[str, str]
    idle: bytes
    error: Callable[[ApiError], bytes]
    comment: Callable[[str], bytes]  # what stands in a header of other streams


class Silence:
    """Tells when a request has waited so long that its stream should give a sign of life."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self.too_long: asyncio.Future[None] = self._loop.create_future()
        self._timer: asyncio.TimerHandle | None = None

    def asked(self, asked: Asked) -> None:
        """What the request wants is known; the time counts from now on, if it is a stream."""
        if asked.stream:
            self._timer = self._loop.call_later(delivery.SILENCE, self._over)

    def _over(self) -> None:
        if not self.too_long.done():
            self.too_long.set_result(None)

    def close(self) -> None:
        """Nobody waits for it any more."""
        if self._timer:
            self._timer.cancel()
        self.too_long.cancel()


def discard(replying: "asyncio.Task[Response]") -> None:
    """Nobody wants this reply: end its making, or let go what was made."""
    if replying.cancel():
        replying.add_done_callback(_let_go)
    else:
        _let_go(replying)


def _let_go(replying: "asyncio.Task[Response]") -> None:
    if (
        not replying.cancelled()
        and replying.exception() is None
        and isinstance(made := replying.result(), StreamResponse)
    ):
        made.release()


class LateStream(Response[bytes]):
    """Streams what `replying` brings, a task that ends with the response."""

    def __init__(self, early: Early, replying: "asyncio.Task[Response]"):
        super().__init__(b"", media_type=early.media_type, headers=dict(early.headers))
        self._early = early
        self._replying = replying

    def to_asgi_response(self, *_: Any, headers: Mapping[str, str] | None = None, **options: Any) -> ASGIResponse:
        """See Response."""
        response = _Waiting(
            headers={**(headers or {}), **self.headers},
            media_type=self.media_type,
            status_code=self.status_code or options.get("status_code"),
        )
        response.reply = self
        return response

    async def deliver(self, scope: Scope) -> None:
        """Write the body. Raises ClientDisconnected."""
        writer = reply_writer.of(scope)
        try:
            while not self._replying.done():
                writer.write(self._early.idle)
                await asyncio.wait((self._replying,), timeout=delivery.SILENCE)
            stream = self._replying.result()
        except ClientDisconnected:
            raise
        except Exception as error:
            writer.write(self._early.error(error_responses.as_api_error(error)))
            return
        assert isinstance(stream, StreamResponse)
        try:
            if ignored := stream.headers.get(HEADER):
                writer.write(self._early.comment(f"{HEADER}: {ignored}"))
            await stream.deliver(writer)
        finally:
            stream.release()

    def release(self) -> None:
        """Nobody waits for it any more."""
        discard(self._replying)


class _Waiting(ASGIResponse):
    _should_set_content_length = False
    reply: LateStream

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self.start_response(send)
            await self.reply.deliver(scope)
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        except ClientDisconnected:
            pass
        finally:
            self.reply.release()
