"""A body of `multipart/form-data`: a file, and fields, which become an object as JSON has it.

    model=a                             {"model": "a"}
    include[]=a, include[]=b            {"include": ["a", "b"]}; the same without the brackets
    chunking_strategy[type]=auto        {"chunking_strategy": {"type": "auto"}}; or JSON, see `objects`

Values are texts; what reads the object makes numbers and switches of them. A field with an empty value counts as not
sent, which is how SDKs write null. Source of the form: RFC 7578; of names with brackets: `_qs.py` of OpenAI's SDK.
"""

import re
from collections.abc import Collection, Iterator
from typing import Any, NamedTuple

import msgspec
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


def read(body: bytes, objects: Collection[str] = ()) -> Form:
    """A body that `with_type` has put together. `objects`: fields that hold objects. Raises ApiError 400, for a field
    by its name."""
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
                put(fields, name, text(name, value))
    except MultipartError as error:
        raise ApiError(400, f"The body is not valid {KIND}: {error}.") from None
    for name in objects:
        if isinstance(fields.get(name), str):
            fields[name] = _object(name, fields[name])
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


def text(name: str, value: bytes) -> str:
    """A field's value. Raises ApiError 400."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise ApiError.invalid(name, "a text in UTF-8") from None


def _object(name: str, json: str) -> Any:
    try:
        return msgspec.json.decode(json)
    except (msgspec.DecodeError, RecursionError):
        raise ApiError.invalid(name, f"JSON, or fields with names such as '{name}[a]'") from None


def put(fields: dict[str, Any], name: str, value: str) -> None:
    """Add a field. A value that comes again makes a list. Raises ApiError 400 where a name has values and keys."""
    found = _BRACKETS.fullmatch(name)
    name, key = found.groups() if found else (name, None)
    there = fields.get(name)
    if isinstance(there, dict) != bool(key) and there is not None:
        raise ApiError.invalid(name, "values or keys, got both")
    if key:
        fields.setdefault(name, {})[key] = value
    elif there is None:
        fields[name] = value if key is None else [value]
    else:
        fields[name] = [*there, value] if isinstance(there, list) else [there, value]
