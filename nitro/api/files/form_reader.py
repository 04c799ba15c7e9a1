"""Reads the form of an upload while it comes: the file is handed on in parts, and never held as a whole. Pure."""

from collections.abc import Iterator
from typing import Any

from multipart import MultipartError, MultipartSegment, PushMultipartParser, parse_options_header

from nitro.api.audio.form import FILE, KIND, MAX_BYTES, MAX_FIELDS, put, text
from nitro.errors import ApiError

MAX_NAME = 255  # characters of a file's name; what is before them is cut
NAMELESS = "file"


class FormReader:
    """One form. `fields`: those that have come; `name`: the file's, None: it has not begun. Raises ApiError 400."""

    def __init__(self, content_type: str, field: str = FILE):
        """`field`: the file's."""
        self._file_field = field
        kind, options = parse_options_header(content_type)
        if kind.lower() != KIND or not options.get("boundary"):
            got = f"got '{kind[:100]}'" if kind.lower() != KIND else "got no boundary"
            raise ApiError(400, f"The body must be {KIND} with the file in its field '{field}': {got}.", param=field)
        self.fields: dict[str, Any] = {}
        self.name: str | None = None
        self._parser = PushMultipartParser(options["boundary"], max_segment_count=MAX_FIELDS)
        self._field: str | None = None  # that comes; None: the file does
        self._value = b""
        self._left = MAX_BYTES

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The parts of the file in the next piece of the body."""
        try:
            for event in self._parser.parse(data):
                if isinstance(event, MultipartSegment):
                    self._begin(event)
                elif event is None:
                    self._end()
                elif self._field is None:
                    yield bytes(event)
                else:
                    self._add(bytes(event))
        except MultipartError as error:
            raise _bad(error) from None

    def close(self) -> None:
        """It has come. Raises ApiError 400 where that is not all of it, or it has no file."""
        try:
            self._parser.close()
        except MultipartError as error:
            raise _bad(error) from None
        if self.name is None:
            raise ApiError.missing(self._file_field)

    def _begin(self, segment: MultipartSegment) -> None:
        self._value = b""
        self._field = segment.name
        if segment.name != self._file_field:
            self._spend(segment.name.encode())
            return
        if self.name is not None:
            raise ApiError.invalid(self._file_field, "one file, got several")
        self._field = None
        self.name = printable(segment.filename or NAMELESS)

    def _add(self, data: bytes) -> None:
        self._spend(data)
        self._value += data

    def _spend(self, data: bytes) -> None:
        self._left -= len(data)
        if self._left < 0:
            limit = f"fields of at most {MAX_BYTES} bytes together, without the file"
            raise ApiError.invalid((self._field or self._file_field)[:100], limit)

    def _end(self) -> None:
        if self._field is not None and self._value:
            put(self.fields, self._field, text(self._field, self._value))
        self._field, self._value = None, b""


def printable(name: str) -> str:
    """A name without a path, as it may stand in a header or a terminal."""
    last = name.replace("\\", "/").rpartition("/")[2] or NAMELESS
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in last)[-MAX_NAME:]


def _bad(error: MultipartError) -> ApiError:
    return ApiError(400, f"The body is not valid {KIND}: {error}.")
