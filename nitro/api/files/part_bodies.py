"""Bodies of the routes of uploads in parts. They are read in an intake process, by the way of a Namer.

Shapes: `openai/types/upload_create_params.py` and `upload_complete_params.py` of the Python SDK 3.54.
"""

import re
from typing import Annotated

import msgspec
from msgspec import Struct

from nitro.api import json_body
from nitro.api.files import expiry
from nitro.api.files.form_reader import MAX_NAME, printable
from nitro.api.files.schema import PURPOSES, ExpiresAfter
from nitro.errors import ApiError
from nitro.parameters import Param
from nitro.service.asked import Asked
from nitro.state.uploads import MAX_PARTS

_MD5 = re.compile("[0-9a-fA-F]{32}")
_TYPE = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+/[!#$%&'*+.^_`|~0-9A-Za-z-]+( *;.*)?")


class UploadBody(Struct, frozen=True, kw_only=True):
    """`POST /v1/uploads`."""

    bytes: Annotated[int, Param("Of the whole file. Its parts must have as many.", ge=0)]
    filename: Annotated[str, Param("Its name.")]
    mime_type: Annotated[str, Param("Its type, as `application/jsonl`. It is checked, and not kept: files have none.")]
    purpose: Annotated[str, Param("As of `POST /v1/files`.", choices=PURPOSES)]
    expires_after: Annotated[
        ExpiresAfter | None,
        Param("When the file is deleted, as with `POST /v1/files`, counted from when it is whole."),
    ] = None


class CompleteBody(Struct, frozen=True, kw_only=True):
    """`POST /v1/uploads/{upload_id}/complete`."""

    part_ids: Annotated[list[str], Param("The parts, in their order in the file.")]
    md5: Annotated[
        str | None, Param("Of the whole file, as hexadecimal digits. Where it differs, nothing is made.")
    ] = None


class ReadUpload(Struct, frozen=True):
    """An UploadBody. `seconds`: that the file is kept; None: for ever."""

    bytes: int
    name: str
    purpose: str
    seconds: int | None
    ignored: list[str]


class ReadComplete(Struct, frozen=True):
    """A CompleteBody."""

    ids: list[str]
    md5: str | None
    ignored: list[str]


_encode = msgspec.msgpack.Encoder().encode
upload_before = msgspec.msgpack.Decoder(ReadUpload).decode
complete_before = msgspec.msgpack.Decoder(ReadComplete).decode


def read_upload(body: bytes) -> Asked:
    """A Namer whose `own` is a ReadUpload. Raises ApiError 400 with `param`."""
    request, told, _ = json_body.decode(body, UploadBody)
    if request.bytes < 0:
        raise ApiError.invalid("bytes", "a number of bytes")
    if not request.filename or len(request.filename) > 4 * MAX_NAME:
        raise ApiError.invalid("filename", f"a name of at most {MAX_NAME} characters")
    if not _TYPE.fullmatch(request.mime_type[:300]):
        raise ApiError.invalid("mime_type", "a type and a subtype, as application/jsonl")
    expires = request.expires_after
    given = None if expires is None else {"anchor": expires.anchor, "seconds": expires.seconds}
    usual = expiry.usual_seconds(request.purpose)
    seconds = expiry.seconds(given, "expires_after") or usual
    read = ReadUpload(request.bytes, printable(request.filename), request.purpose, seconds, told)
    return Asked(own=_encode(read))


def read_complete(body: bytes) -> Asked:
    """A Namer whose `own` is a ReadComplete. Raises ApiError 400 with `param`."""
    request, told, _ = json_body.decode(body, CompleteBody)
    if not 0 < len(request.part_ids) <= MAX_PARTS:
        raise ApiError.invalid("part_ids", f"1 to {MAX_PARTS} ids of parts")
    if len(set(request.part_ids)) < len(request.part_ids):
        raise ApiError.invalid("part_ids", "each part once")
    if request.md5 is not None and not _MD5.fullmatch(request.md5):
        raise ApiError.invalid("md5", "32 hexadecimal digits")
    return Asked(own=_encode(ReadComplete(request.part_ids, request.md5, told)))
