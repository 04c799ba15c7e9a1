"""The response of a streamed generation: its head and its end by ASGI, its frames straight onto the connection."""

from collections.abc import Mapping
from typing import Any

from litestar import Response
from litestar.response.base import ASGIResponse
from litestar.types import Receive, Scope, Send

from nitro.api import reply_writer
from nitro.api.reply_writer import ReplyWriter
from nitro.service.disconnects import ClientDisconnected, unless_disconnected
from nitro.service.generation import GenerationStream
from nitro.service.renderer import Renderer
from nitro.service.requests import Principal


class StreamResponse(Response[bytes]):
    """Streams what a renderer makes of a generation, which it releases at the end, however that comes."""

    def __init__(self, stream: GenerationStream, renderer: Renderer, headers: Mapping[str, str], principal: Principal):
        super().__init__(b"", media_type=renderer.media_type, headers={**headers, **renderer.headers})
        self._stream = stream
        self._renderer = renderer
        self._principal = principal

    def to_asgi_response(self, *_: Any, headers: Mapping[str, str] | None = None, **options: Any) -> ASGIResponse:
        """See Response."""
        response = _Streaming(
            headers={**(headers or {}), **self.headers},
            media_type=self.media_type,
            status_code=self.status_code or options.get("status_code"),
        )
        response.reply = self
        return response

    async def deliver(self, writer: ReplyWriter) -> None:
        """Write the body. Raises ClientDisconnected."""
        delivery = self._stream.stream(self._renderer, writer)
        try:
            delivery.begin()
            if not self._stream.ended:
                writer.release()
            await unless_disconnected(self._principal, delivery.ended())
        finally:  # `ended` may not have begun
            delivery.close()

    def release(self) -> None:
        """Nobody waits for more of it."""
        self._stream.release()


class _Streaming(ASGIResponse):
    _should_set_content_length = False
    reply: StreamResponse

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        writer = reply_writer.of(scope)
        try:
            writer.hold()  # the head goes out with what comes first, and the end with what comes last
            await self.start_response(send)
            await self.reply.deliver(writer)
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        except ClientDisconnected:
            pass
        finally:
            writer.release()
            self.reply.release()
