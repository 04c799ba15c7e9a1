"""A body of `multipart/form-data`: a file, and fields, which become an object as JSON has it.

    model=a                             {"model": "a"}
    include[]=a, include[]=b            {"include": ["a", "b"]}
    chunking_strategy[type]=auto        {"chunking_strategy": {"type": "auto"}}

Values are texts; what reads the object makes numbers and switches of them. A field with an empty value counts as not
sent, which is how SDKs write null. Source of the form: RFC 7578; of names with brackets: `_qs.py` of OpenAI's SDK.
"""

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from multipart import MultipartError, MultipartSegment, PushMultipartParser, parse_options_header

from nitro.errors import ApiError

FILE = "file"  # the field that has it
KIND = "multipart/form-data"
MAX_FIELDS = 256
MAX_BYTES = 2**20  # of all fields together, without the file
_BRACKETS = re.compile(r"([^\[\]]+)\[([^\[\]]*)\]")


class Form(NamedTuple):
    """A body that was read. `file`: None where it has none."""

    fields: dict[str, Any]
    file: bytes | None


def with_type(content_type: str, pieces: list[bytes]) -> list[bytes]:
    """The pieces of a body behind its Content-Type, without which it cannot be read."""
    return [content_type.encode("latin-1", "replace").replace(b"\n", b" ") + b"\n", *pieces]


def read(body: bytes) -> Form:
    """A body that `with_type` has put together. Raises ApiError 400, for a field by its name."""
    end = body.index(b"\n")
    kind, options = parse_options_header(body[:end].decode("latin-1"))
    if kind.lower() != KIND or not options.get("boundary"):
        got = f"got '{kind}'" if kind.lower() != KIND else "got no boundary"
        raise ApiError(400, f"The body must be {KIND} with the sound in its field '{FILE}': {got}.", param=FILE)
    fields: dict[str, Any] = {}
    file: bytes | None = None
    left = MAX_BYTES
    try:
        for name, value in _parts(body[end + 1 :], options["boundary"]):
            if name == FILE:
                if file is not None:
                    raise ApiError.invalid(FILE, "one file, got several")
                file = value
                continue
            left -= len(name) + len(value)
            if left < 0:
                raise ApiError.invalid(name, f"fields of at most {MAX_BYTES} bytes together, without the file")
            if value:
                _put(fields, name, _text(name, value))
    except MultipartError as error:
        raise ApiError(400, f"The body is not valid {KIND}: {error}.") from None
    return Form(fields, file)


def _parts(content: bytes, boundary: str) -> Iterator[tuple[str, bytes]]:
    """Name and value of each. Raises MultipartError."""
    name, value = "", b""
    with PushMultipartParser(boundary, max_segment_count=MAX_FIELDS) as parser:
        for event in parser.parse(content):
            if isinstance(event, MultipartSegment):
                name, value = event.name, b""
            elif event is None:
                yield name, value
            else:
                value = value + event if value else bytes(event)


def _text(name: str, value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise ApiError.invalid(name, "a text in UTF-8") from None


def _put(fields: dict[str, Any], name: str, value: str) -> None:
    """Raises ApiError 400 where a name is used in two ways."""
    found = _BRACKETS.fullmatch(name)
    if found is None:
        if name in fields:
            raise ApiError.invalid(name, f"one value; the names of a list end with [], as in '{name}[]'")
        fields[name] = value
        return
    name, key = found.groups()
    there = fields.setdefault(name, {} if key else [])
    if isinstance(there, dict) and key:
        there[key] = value
    elif isinstance(there, list) and not key:
        there.append(value)
    else:
        raise ApiError.invalid(name, "a value, a list or an object, got more than one of them")
