"""`/v1/files`: uploaded, listed, read, deleted."""

from collections.abc import AsyncIterator
from functools import partial
from typing import Any

from litestar import Request, Response, delete, get, post
from litestar.response import Stream

from nitro.api import queries, reply_writer, users
from nitro.api.endpoint import CLIENT_CLOSED_REQUEST
from nitro.api.files.filing import Filing, told
from nitro.api.files.schema import FileDeleted, FileList, described
from nitro.api.files.uploads import Upload
from nitro.api.reply_writer import ReplyWriter
from nitro.api.responses.replies import json
from nitro.service import ignored_parameters
from nitro.service.disconnects import ClientDisconnected
from nitro.state import files
from nitro.state.file_store import FileStore
from nitro.state.files import File, Wanted

PATH = "/v1/files"
MOST = 10_000  # in a list
TOGETHER = 2**20  # bytes that are read together
CONTENT_TYPE = "application/octet-stream"


def _store(request: Request) -> FileStore:
    filing: Filing = request.app.state.filing
    return filing.store


@post(PATH, status_code=200)
async def upload_file(request: Request) -> Response[Any]:
    """Keep a file."""
    filing: Filing = request.app.state.filing
    upload = Upload(filing.store, filing.max_file, request.app.state.service.strict)
    try:
        file = await upload.receive(request)
    except ClientDisconnected:
        return Response(b"", status_code=CLIENT_CLOSED_REQUEST)
    response = json(described(file))
    response.headers.update(ignored_parameters.header(upload.ignored))
    return response


@get(PATH)
async def list_files(request: Request) -> Response[Any]:
    """Those that are kept, in pages."""
    query = request.query_params.dict()
    limit = queries.number(query, "limit", MOST, 1, MOST)
    order = queries.choice(query, "order", ("asc", "desc")) or "desc"
    after, purpose = queries.one(query, "after"), queries.one(query, "purpose")
    wanted = Wanted(users.sees_of(request.scope), limit, order == "desc", after, purpose)
    store = _store(request)
    with told("after"):
        found, more = await store.read(lambda db: files.page(db, store.now, wanted))
    data = [described(file) for file in found]
    first, last = (data[0].id, data[-1].id) if data else (None, None)
    return json(FileList(data, first, last, more))


async def _file(request: Request) -> File:
    id, store, user = str(request.path_params["file_id"]), _store(request), users.sees_of(request.scope)
    with told():
        return await store.read(lambda db: files.get(db, id, store.now, user))


@get(f"{PATH}/{{file_id:str}}")
async def get_file(request: Request) -> Response[Any]:
    """What a file is."""
    return json(described(await _file(request)))


@delete(f"{PATH}/{{file_id:str}}", status_code=200)
async def delete_file(request: Request) -> Response[Any]:
    """Forget a file."""
    id, store, user = str(request.path_params["file_id"]), _store(request), users.sees_of(request.scope)
    with told():
        await store.write(lambda db: files.delete(db, id, store.now, user))
    return json(FileDeleted(id))


@get(f"{PATH}/{{file_id:str}}/content")
async def get_content(request: Request) -> Response[Any]:
    """What is in it, byte for byte."""
    file = await _file(request)
    headers = {"content-length": str(file.bytes), "x-content-type-options": "nosniff"}
    content = _content(_store(request), file, reply_writer.of(request.scope))
    return Stream(content, media_type=CONTENT_TYPE, headers=headers, status_code=200)


async def _content(store: FileStore, file: File, writer: ReplyWriter) -> AsyncIterator[bytes]:
    """All of it, as it comes from the database. Where it is deleted meanwhile, the reply is cut, and tells so by its
    length."""
    writer.release()  # the head has gone out, and nothing is to be held back for it
    after = -1
    while found := await store.read(partial(files.pieces, number=file.number, after=after, size=TOGETHER)):
        after = found[-1][0]
        yield b"".join(body for _, body in found)


HANDLERS = [upload_file, list_files, get_file, delete_file, get_content]
