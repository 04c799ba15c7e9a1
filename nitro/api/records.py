"""`/v1/records`: the requests that are recorded, for who has the key or, where there is none, for this machine."""

import asyncio
from collections.abc import Callable
from itertools import islice
from typing import TypeVar

from litestar import Request, Response, delete, get
from msgspec import Raw, Struct

from nitro.api.callers import is_trusted
from nitro.errors import ApiError
from nitro.records import folder, form, protocols, summary
from nitro.records.form import Answer, Exchange, Line
from nitro.records.recorder import Recorder
from nitro.records.summary import RecordSummary

T = TypeVar("T")

MOST = 100  # of a list


class RecordList(Struct):
    """Records, the newest first. `after` of the next request: the last one's id."""

    data: list[RecordSummary]
    has_more: bool
    folder: str
    object: str = "list"


class Record(Struct):
    """The lines of a record's file: docs/records.md. `template`: null where it took none. `answer`: what the reply
    says, in one form for all protocols."""

    file: Raw
    template: Raw
    exchange: Raw
    answer: Answer
    object: str = "record"


class RecordsDeleted(Struct):
    """How many there were."""

    deleted: int
    object: str = "records.deleted"


@get("/v1/records")
async def list_records(request: Request) -> RecordList:
    """The newest first, so many, from behind one on."""
    recorder = await _recorder(request)
    limit, after = _limit(request), request.query_params.get("after")
    found = await _told(recorder, lambda: _page(recorder, limit + 1, after))
    if found is None:
        raise ApiError.invalid("after", "the id of a record")
    return RecordList(found[:limit], len(found) > limit, str(recorder.folder))


@get("/v1/records/{record_id:str}")
async def get_record(request: Request) -> Record:
    """One of them, whole."""
    lines = await _found(request)
    by_kind = {str(line.__struct_config__.tag): form.raw(line) for line in lines}
    (answer,) = (protocols.answer_of(line) for line in lines if isinstance(line, Exchange))
    return Record(by_kind["file"], by_kind.get("template", form.NONE), by_kind["exchange"], answer)


@get("/v1/records/{record_id:str}/file")
async def get_record_file(request: Request) -> Response[bytes]:
    """The same as a file of its own, which `nitro replay` takes."""
    lines = b"".join(map(form.encode, await _found(request)))
    name = f"{request.path_params['record_id']}.jsonl"
    headers = {"content-disposition": f'attachment; filename="{name}"'}
    return Response(lines, media_type="application/jsonl", headers=headers)


@delete("/v1/records/{record_id:str}", status_code=200)
async def delete_record(request: Request) -> RecordsDeleted:
    """Delete one."""
    recorder = await _recorder(request)
    id = str(request.path_params["record_id"])
    removed = await _writing(recorder, id)
    if not removed:
        raise _not_there(id)
    return RecordsDeleted(removed)


@delete("/v1/records", status_code=200)
async def delete_records(request: Request) -> RecordsDeleted:
    """Delete all of them."""
    recorder = await _recorder(request)
    return RecordsDeleted(await _writing(recorder, None))


HANDLERS = [list_records, get_record, get_record_file, delete_record, delete_records]


async def _recorder(request: Request) -> Recorder:
    """Raises ApiError for who may not see records, and where there are none."""
    if not is_trusted(request):
        why = "Only who has the key may see records or, where there is none, a program on this machine."
        raise ApiError(403, why, code="not_allowed")
    recorder: Recorder | None = request.app.state.recorder
    if recorder is None:
        raise ApiError(404, "Nothing is recorded here: start the server with --record DIR.", code="not_recorded")
    return recorder


def _limit(request: Request) -> int:
    given = request.query_params.get("limit", "20")
    if not (given.isascii() and given.isdecimal() and 1 <= int(given[:9]) <= MOST):
        raise ApiError.invalid("limit", f"a number from 1 to {MOST}")
    return int(given)


async def _found(request: Request) -> list[Line]:
    recorder = await _recorder(request)
    id = str(request.path_params["record_id"])
    lines = await _told(recorder, lambda: folder.find(recorder.folder, id))
    if lines is None:
        raise _not_there(id)
    return lines


def _not_there(id: str) -> ApiError:
    return ApiError(404, f"There is no record with id '{id}'.")


async def _told(recorder: Recorder, look: Callable[[], T]) -> T:
    """What a look at the folder finds, with all that has ended before. Raises ApiError 503."""
    try:
        await recorder.written()
        return await asyncio.to_thread(look)
    except OSError as error:
        raise _unreadable(recorder, error) from None


async def _writing(recorder: Recorder, id: str | None) -> int:
    try:
        return await recorder.remove(id)
    except OSError as error:
        raise _unreadable(recorder, error) from None


def _unreadable(recorder: Recorder, error: OSError) -> ApiError:
    why = f"{recorder.folder} cannot be read or written: {error.strerror or error}."
    return ApiError(503, why, type="server_error")


def _page(recorder: Recorder, most: int, after: str | None) -> list[RecordSummary] | None:
    """So many, or fewer; None where there is no `after`."""
    found = folder.newest_first(recorder.folder)
    if after is not None and not any(exchange.id == after for exchange, _, _ in found):
        return None
    return [summary.of(exchange, size) for exchange, _, size in islice(found, most)]
