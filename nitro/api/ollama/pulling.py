"""`POST /api/pull`: what happens while a model is fetched, in Ollama's words (server/images.go, PullModel)."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from litestar import Response
from litestar.response import Stream

from nitro.api.ollama import ndjson
from nitro.api.ollama.model_names import of_hub
from nitro.api.ollama.requests import PullRequest
from nitro.api.ollama.schema import Progress
from nitro.errors import ApiError
from nitro.models.fetching import Fetching
from nitro.models.pull.command import Event
from nitro.service.disconnects import unless_disconnected
from nitro.service.requests import Principal

BEGINNING, SUCCESS = "pulling manifest", "success"
ENDING = ("verifying sha256 digest", "writing manifest", SUCCESS)  # both are done by then
SHOWN = 12  # digits of a digest


async def reply(fetching: Fetching, asked: PullRequest, principal: Principal) -> Response[Any]:
    """The pull, as lines of progress or as one reply at its end. What refuses it at once is an error of its own. Raises
    ApiError and ClientDisconnected."""
    events = fetching.pull(of_hub(asked.model))
    if asked.stream is False:
        await unless_disconnected(principal, _all(events))
        return ndjson.reply(Progress(SUCCESS))
    first = await unless_disconnected(principal, anext(events))
    return Stream(_lines(first, events), media_type=ndjson.MEDIA_TYPE, headers=ndjson.HEADERS)


async def _all(events: AsyncGenerator[Event, None]) -> None:
    async for _ in events:
        pass


async def _lines(first: Event, rest: AsyncGenerator[Event, None]) -> AsyncGenerator[bytes, None]:
    told = _Telling()
    async with aclosing(rest):
        try:
            for progress in (Progress(BEGINNING), *told.of(first)):
                yield ndjson.line(progress)
            async for event in rest:
                for progress in told.of(event):
                    yield ndjson.line(progress)
        except ApiError as error:
            yield ndjson.error_line(error)


class _Telling:
    """Makes lines of the events of one pull. Each file is a layer, with its SHA-256."""

    def __init__(self) -> None:
        self._files: dict[str, dict[str, Any]] = {}
        self._have: dict[str, int] = {}

    def of(self, event: Event) -> list[Progress]:
        """The lines for an event."""
        match event["event"]:
            case "begin":
                self._files = {file["file"]: file for file in event["files"]}
                return []
            case "progress":
                changed = [(file, have) for file, have in event["files"].items() if self._have.get(file) != have]
                self._have |= changed
                return [self._layer(file, have) for file, have in changed]
            case "message":
                return [Progress(event["text"])]
            case "done":
                return [Progress(status) for status in ENDING]
        return []

    def _layer(self, name: str, have: int) -> Progress:
        file = self._files[name]
        digest = file["sha256"]
        progress = Progress(f"pulling {digest[:SHOWN] if digest else name}", total=file["size"], completed=have)
        if digest:
            progress.digest = f"sha256:{digest}"
        return progress
