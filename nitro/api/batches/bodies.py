"""The body of `POST /v1/batches`. It is read in an intake process, by the way of a Namer: see `read`.

Shape: `openai/types/batch_create_params.py` of the Python SDK 3.54.
"""

import re
from typing import Annotated, Any

import msgspec
from msgspec import Struct

from nitro.api import json_body
from nitro.api.files import expiry
from nitro.api.files.schema import ExpiresAfter
from nitro.api.responses.metadata import check_metadata
from nitro.batches.line_form import ENDPOINTS
from nitro.errors import ApiError
from nitro.parameters import Param
from nitro.service.asked import Asked

HOUR, DAY = 3600, 86400  # seconds
LONGEST = 30 * DAY  # seconds that a batch may take
_WINDOW = re.compile(r"([1-9][0-9]{0,3})([hd])", re.ASCII)
_SECONDS = {"h": HOUR, "d": DAY}


class BatchBody(Struct, frozen=True, kw_only=True):
    """`POST /v1/batches`."""

    input_file_id: Annotated[str, Param("A file of lines, which was uploaded with the purpose `batch`.")]
    endpoint: Annotated[str, Param("What all its lines ask, as their `url`.", choices=ENDPOINTS)]
    completion_window: Annotated[
        str, Param("How long it may take: `24h`, or other hours or days up to `30d`. What is left then has failed.")
    ]
    metadata: Annotated[dict[str, Any] | None, Param("Up to 16 texts, by names.")] = None
    output_expires_after: Annotated[
        ExpiresAfter | None,
        Param("When its output is deleted: `anchor` is `created_at`, `seconds` 3600 to 2592000. Default: 30 days."),
    ] = None


class ReadBatch(Struct, frozen=True):
    """`window`, `output_seconds`: in seconds. `ignored`: names without effect."""

    input: str
    endpoint: str
    asked_window: str
    window: int
    metadata: bytes
    output_seconds: int
    ignored: list[str]


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(ReadBatch).decode


def read(body: bytes) -> Asked:
    """A Namer whose `own` is a ReadBatch. Raises ApiError 400 with `param`."""
    request, told, _ = json_body.decode(body, BatchBody)
    if request.endpoint not in ENDPOINTS:
        raise ApiError.invalid("endpoint", f"one of {', '.join(ENDPOINTS)}, got '{request.endpoint[:100]}'")
    check_metadata(request.metadata)
    expires = request.output_expires_after
    given = None if expires is None else {"anchor": expires.anchor, "seconds": expires.seconds}
    seconds = expiry.seconds(given, "output_expires_after") or expiry.MOST
    read = ReadBatch(
        input=request.input_file_id,
        endpoint=request.endpoint,
        asked_window=request.completion_window,
        window=_window(request.completion_window),
        metadata=msgspec.json.encode(request.metadata),
        output_seconds=seconds,
        ignored=told,
    )
    return Asked(own=_encode(read))


def read_before(asked: Asked) -> ReadBatch:
    """What `read` has put into it."""
    return _decode(asked.own)


def _window(given: str) -> int:
    found = _WINDOW.fullmatch(given)
    seconds = int(found[1]) * _SECONDS[found[2]] if found else 0
    if not 0 < seconds <= LONGEST:
        expected = f"hours or days, as in 24h or 7d, of at most 30d, got '{given[:100]}'"
        raise ApiError.invalid("completion_window", expected)
    return seconds
