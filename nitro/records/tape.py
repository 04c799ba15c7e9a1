"""One request while it is answered: what came and went, noted in as few steps as possible. `exchange` makes a record
of it later, on the recorder's thread."""

import time
from collections.abc import Callable
from typing import NamedTuple

from msgspec import Raw

from nitro.records import form
from nitro.records.form import Exchange, Served, Template
from nitro.records.secrets import Masks


class Told(NamedTuple):
    """What the server says of a request that has ended. `template`: the source of its chat template, if it took one."""

    served: Served
    template: str | None = None


class Tape:
    """Notes of one request. Seconds count from its making, which is when the request's head had come."""

    def __init__(self, id: str, path: str, query: str, headers: dict[str, str]):
        self.id, self.path, self.query, self.headers = id, path, query, headers
        self.at = time.time()
        self._began = time.perf_counter()
        self.received: list[bytes] = []
        self.sent: list[tuple[float, bytes]] = []
        self.size = 0  # bytes of both
        self.status, self.media_type = 0, ""
        self.streamed = False  # the reply came in pieces that mean something by themselves
        self.left = False
        self.history = b""
        self.told: Callable[[], Told] | None = None
        self.seconds = 0.0

    def came(self, data: bytes) -> None:
        """A piece of the request's body."""
        self.received.append(data)
        self.size += len(data)

    def went(self, data: bytes) -> None:
        """A piece of the reply's body."""
        self.sent.append((time.perf_counter() - self._began, data))
        self.size += len(data)

    def end(self) -> None:
        """Nothing more comes or goes."""
        self.seconds = time.perf_counter() - self._began


def exchange(tape: Tape, masks: Masks) -> tuple[Exchange, Template | None]:
    """The record of it, and the template that it was made with."""
    served, template = tape.told() if tape.told else Told(Served())
    kept = None
    if template is not None:
        kept = Template(form.digest(template), template)
        served = form.with_template(served, kept.digest)
    request, request_text = form.body(masks.apply(b"".join(tape.received)))
    made = Exchange(
        id=tape.id,
        at=tape.at,
        path=tape.path,
        query=tape.query,
        headers=tape.headers,
        request=request,
        request_text=request_text,
        history=Raw(masks.apply(tape.history)) if tape.history else form.NONE,
        status=tape.status,
        media_type=tape.media_type,
        ended="left" if tape.left else "whole",
        first_seconds=_rounded(tape.sent[0][0]) if tape.sent else None,
        seconds=_rounded(tape.seconds),
        served=served,
    )
    if tape.streamed:
        pieces = masks.apply_to_pieces([data for _, data in tape.sent])
        times = [_rounded(at) for at, _ in tape.sent]
        made.stream = [(at, data.decode(errors="replace")) for at, data in zip(times, pieces, strict=True)]
    else:
        made.reply, made.reply_text = form.body(masks.apply(b"".join(data for _, data in tape.sent)))
    return made, kept


def _rounded(seconds: float) -> float:
    return round(seconds, 6)
