"""Notes requests and replies for records: an application around the one that answers, and only where --record is."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from litestar.types import ASGIApp, Message, Receive, ReceiveMessage, Scope, Send

from nitro.api import reply_writer
from nitro.records.form import Served
from nitro.records.protocols import PATHS, is_stream
from nitro.records.recorder import Recorder
from nitro.records.tape import Tape, Told
from nitro.service.request_log import RequestLog

HEADERS = (b"content-type", b"anthropic-version", b"anthropic-beta", b"openai-beta")  # nothing else is recorded
QUERY = ("beta", "api-version")
_TAPE = "tape"  # in the scope's state


class Recording:
    """An ASGI application: requests of PATHS are recorded while `app` answers them."""

    def __init__(self, app: ASGIApp, recorder: Recorder):
        self._app = app
        self._recorder = recorder

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request, as ASGI specifies."""
        if scope.get("method") != "POST" or scope["path"] not in PATHS:
            return await self._app(scope, receive, send)
        tape = _tape(scope)
        scope["state"][_TAPE] = tape
        writer = reply_writer.of(scope)
        writer.tap = tape.went

        async def receive_noted() -> ReceiveMessage:
            message = await receive()
            if message["type"] == "http.request":
                if message["body"]:
                    tape.came(message["body"])
            else:
                tape.left = True
            return message

        async def send_noted(message: Message) -> None:
            if message["type"] == "http.response.start":
                tape.status = message["status"]
                tape.media_type = dict(message["headers"]).get(b"content-type", b"").decode("latin-1")
                tape.streamed = is_stream(tape.media_type)
            elif message["type"] == "http.response.body" and message["body"]:
                tape.went(message["body"])
            await send(message)

        try:
            await self._app(scope, receive_noted, send_noted)
        finally:
            tape.left = tape.left or writer.left
            tape.end()
            self._recorder.put(tape)


def of(scope: Mapping[str, Any]) -> Tape | None:
    """The tape of a request that is recorded."""
    tape: Tape | None = scope["state"].get(_TAPE)
    return tape


def follower(scope: Mapping[str, Any]) -> Callable[[RequestLog], None] | None:
    """What is told of the log of a request; None where it is not recorded."""
    tape = of(scope)
    return partial(_follow, tape) if tape else None


def _follow(tape: Tape, log: RequestLog) -> None:
    tape.told = partial(_told, log)


def _told(log: RequestLog) -> Told:
    """Of a request that has ended."""
    usage = log.choices.usage if log.choices else None
    served = Served(
        model=None if log.model == "-" else log.model,
        adapter=log.adapter,
        fingerprint=log.fingerprint,
        queue_seconds=log.queue_seconds,
        first_token_seconds=log.first_token_seconds,
        prompt_tokens=usage.prompt_tokens if usage else log.embedded_tokens,
        cached_tokens=usage.cached_tokens if usage else None,
        completion_tokens=usage.completion_tokens if usage else None,
        finish=[choice.finish or "" for choice in log.choices.choices] if log.choices else [],
        error=None if log.how == "left" else log.how,
    )
    return Told(served, log.template)


def _tape(scope: Scope) -> Tape:
    given = dict(scope["headers"])
    headers = {name.decode(): given[name].decode("latin-1") for name in HEADERS if name in given}
    query = "&".join(
        pair for pair in scope["query_string"].decode("latin-1").split("&") if pair.partition("=")[0] in QUERY
    )
    return Tape(scope["state"]["request_id"], scope["path"], query, headers)
