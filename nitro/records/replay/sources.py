"""The requests that are to be sent: files of records, in the order in which they came."""

from collections.abc import Iterable
from pathlib import Path

from nitro.errors import RecordError
from nitro.records import folder, form, protocols
from nitro.records.form import Exchange, Head, Template


def read(path: Path) -> list[form.Line]:
    """The lines of a file, or of all files of a folder. Raises RecordError."""
    try:
        found = folder.files(path) if path.is_dir() else [path]
        if not found:
            raise RecordError(f"{path} holds no records ({folder.PATTERN}).")
        return [line for file in found for line in _lines(file)]
    except OSError as error:
        raise RecordError(f"{path} cannot be read: {error.strerror or error}.") from None


def _lines(file: Path) -> Iterable[form.Line]:
    """Raises RecordError, OSError."""
    with file.open("rb") as data:
        first = True
        for line in form.read_lines((each for each in data if each.endswith(b"\n") or each.endswith(b"}")), str(file)):
            if first and not isinstance(line, Head):
                raise RecordError(f"{file} is no file of records: its first line says nothing of it.")
            first = False
            yield line


def exchanges(lines: Iterable[form.Line]) -> list[Exchange]:
    """Those that can be sent, oldest first. Raises RecordError where there is none."""
    found = [line for line in lines if isinstance(line, Exchange) and (line.is_json or line.request_text is not None)]
    found = [each for each in found if each.path in protocols.PATHS]
    if not found:
        raise RecordError("there is no request in it.")
    return sorted(found, key=lambda each: each.at)


def templates(lines: Iterable[form.Line]) -> dict[str, Template]:
    """By their digests."""
    return {line.digest: line for line in lines if isinstance(line, Template)}
