"""What the renderer of responses needs to know of the request. Travels as bytes that only it opens."""

from typing import Any

import msgspec
from msgspec import Raw, Struct


class CalledTool(Struct, frozen=True):
    """A tool as the client knows it, whatever the model calls it. `custom`: its input is text."""

    name: str
    namespace: str | None = None
    custom: bool = False


class ReplyOptions(Struct, frozen=True, kw_only=True):
    """`echoed`: fields of schema.Response that come from the request; those that are bytes are JSON."""

    echoed: dict[str, Any] = {}
    called: dict[str, CalledTool] = {}  # by the name that the model knows
    summarizes: bool = False  # what the model thinks is a summary; else it is the reasoning's content
    encrypts: bool = False  # the reasoning goes out once more, in one text that clients hand back
    logprobs: int | None = None  # so many of the likeliest tokens beside each; None: no logprobs at all
    input_items: bytes = b"[]"  # what the response answers, as JSON, each item with its id; for the store

    @property
    def fields(self) -> dict[str, Any]:
        """`echoed`, as the struct takes it."""
        return {name: Raw(value) if isinstance(value, bytes) else value for name, value in self.echoed.items()}


encode = msgspec.msgpack.Encoder().encode
decode = msgspec.msgpack.Decoder(ReplyOptions).decode
