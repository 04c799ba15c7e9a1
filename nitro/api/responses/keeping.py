"""Between the renderer of a Response and whoever keeps it. Knows no database.

The renderer is made as `renderer(started, reply_options, keeping)`. It calls itself by `keeping.id`, and says in the
object whether it is stored. Once the Response has ended, as completed, incomplete or failed, it calls `keeping.keep`,
before it returns the bytes that say so: they wait until the Response is stored.
"""

import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from msgspec import Struct

from nitro.errors import ApiError
from nitro.service.events import Event, Started
from nitro.service.renderer import Answer

Status = Literal["queued", "in_progress", "completed", "incomplete", "failed", "cancelled"]


class KeptResponse(Struct, frozen=True):
    """A Response as it is kept. `body`: the object as JSON, as `GET /v1/responses/{id}` answers it."""

    id: str
    status: Status
    body: bytes


def new_id(prefix: str) -> str:
    """An id as OpenAI's are: "resp_" and so on."""
    return f"{prefix}_{secrets.token_hex(24)}"


def _forget(response: KeptResponse) -> None:
    pass


@dataclass(frozen=True, slots=True, kw_only=True)
class Keeping:
    """What one Response is to be called, and who keeps it. `store`: what its `store` says; only then it is kept.
    `created`: seconds since 1970 when it was queued; None: it begins now. `number`: of its next event: those that say
    that it is queued are told before it begins."""

    id: str = field(default_factory=lambda: new_id("resp"))
    store: bool = False
    background: bool = False
    created: int | None = None
    number: int = 0
    keep: Callable[[KeptResponse], None] = _forget


class KeepableRenderer(Protocol):
    """A Renderer (see `service/renderer.py`) whose reply can be kept."""

    media_type: str
    headers: Mapping[str, str]

    @property
    def input_items(self) -> bytes:
        """A JSON array: the request's own input items, each with an `id`; a text is a user's message."""

    def begun(self) -> KeptResponse:
        """The Response in progress, without output, before anything is rendered."""

    def queued(self) -> tuple[KeptResponse, bytes]:
        """The Response while it waits, and the events that say so."""

    def opening(self) -> bytes:
        """Before any other event, but behind those of `queued`. Each event is one frame, "event: …\\ndata: {…}\\n\\n",
        with `sequence_number` from `Keeping.number` on."""

    def events(self, burst: Sequence[Event]) -> bytes:
        """What happened together."""

    def idle(self) -> bytes:
        """A sign of life, which is no event."""

    def error(self, error: ApiError) -> bytes:
        """The Response has failed."""

    def closing(self) -> bytes:
        """After the last event."""

    def whole(self, answer: Answer) -> bytes:
        """The Response in one piece."""


MakeKeepable = Callable[[Started, bytes, Keeping], KeepableRenderer]
