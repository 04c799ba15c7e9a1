"""A record in a line of a list: what it was about, how it went, how long it took."""

from typing import Any

from msgspec import Struct

from nitro.records import form, protocols
from nitro.records.answers.draft import table, tables, text
from nitro.records.form import Exchange

MAX_ABOUT = 160  # characters


class RecordSummary(Struct, frozen=True):
    """A record, without its texts. `created`: Unix time. `about`: how the last thing that somebody said begins.
    `bytes`: of the record."""

    id: str
    created: float
    path: str
    model: str | None
    status: int
    stream: bool
    ended: str
    deterministic: bool
    seconds: float
    first_seconds: float | None
    prompt_tokens: int | None
    cached_tokens: int | None
    completion_tokens: int | None
    finish: list[str]
    error: str | None
    about: str
    bytes: int
    object: str = "record"


def of(exchange: Exchange, size: int) -> RecordSummary:
    """`size`: of the record, in bytes."""
    served = exchange.served
    return RecordSummary(
        id=exchange.id,
        created=exchange.at,
        path=exchange.path,
        model=served.adapter or served.model,
        status=exchange.status,
        stream=exchange.stream is not None,
        ended=exchange.ended,
        deterministic=exchange.path in protocols.PATHS and protocols.is_deterministic(exchange),
        seconds=exchange.seconds,
        first_seconds=exchange.first_seconds,
        prompt_tokens=served.prompt_tokens,
        cached_tokens=served.cached_tokens,
        completion_tokens=served.completion_tokens,
        finish=served.finish,
        error=served.error,
        about=about(form.value(exchange.request)),
        bytes=size,
    )


def about(request: Any) -> str:
    """How the last text in a request begins, on one line."""
    body = table(request)
    for name in ("messages", "input", "prompt", "query", "text_1"):
        if found := _last(body.get(name)):
            return " ".join(found[: MAX_ABOUT * 2].split())[:MAX_ABOUT]
    return ""


def _last(value: Any) -> str:
    """The last text of a message, an item, or a list of such."""
    if isinstance(value, str):
        return value
    if isinstance(value, list) and value and isinstance(value[-1], str):
        return text(value[-1])
    for item in reversed(tables(value)):
        for name in ("content", "text", "output"):
            if found := _last(item.get(name)):
                return found
    return ""
