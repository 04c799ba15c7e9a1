"""`/v1/uploads`: a file that comes in parts, in any order and at once."""

import contextlib
import hashlib
from collections.abc import Iterator
from functools import partial
from typing import Any

from litestar import Request, Response, post

from nitro.api import readers, users
from nitro.api.endpoint import CLIENT_CLOSED_REQUEST, principal_of, read_body
from nitro.api.files import part_bodies
from nitro.api.files.filing import Filing, too_many
from nitro.api.files.form_reader import FormReader
from nitro.api.files.part_bodies import ReadComplete
from nitro.api.files.pieces import TOGETHER, Pieces
from nitro.api.files.schema import UploadObject, UploadPart, upload_described
from nitro.api.files.uploads import Upload, lost
from nitro.api.responses.keeping import new_id
from nitro.api.responses.replies import json
from nitro.errors import ApiError
from nitro.service import ignored_parameters
from nitro.service.disconnects import ClientDisconnected
from nitro.service.generation import GenerationService
from nitro.state import files, uploads
from nitro.state.bounds import TooMany
from nitro.state.file_store import FileStore
from nitro.state.files import File
from nitro.state.uploads import Ended, NewUpload, NoUpload, Part, StoredUpload, TooLarge

PATH = "/v1/uploads"
UPLOAD = f"{PATH}/{{upload_id:str}}"
DATA = "data"  # the field of a part's form
LARGEST_PART = 64 * 2**20  # bytes: OpenAI's
HOUR = 3600  # seconds that an upload may take: OpenAI's


@contextlib.contextmanager
def told() -> Iterator[None]:
    """What the store does not find or take, as the ApiError for its client."""
    try:
        yield
    except NoUpload as error:
        raise ApiError(404, f"No such Upload object: {error.id}", param="upload_id") from None
    except Ended as error:
        raise ApiError(400, f"This upload is {error.status}, and takes nothing more.", param="upload_id") from None
    except TooLarge as error:
        raise ApiError.invalid(DATA, f"parts of {error.bytes} bytes in all, as 'bytes' of the upload says") from None
    except TooMany as error:
        raise too_many(error) from None


def _store(request: Request) -> FileStore:
    filing: Filing = request.app.state.filing
    return filing.store


async def _read(request: Request, reader: str) -> bytes:
    service: GenerationService = request.app.state.service
    return (await service.asked(reader, await read_body(request), principal_of(request))).own


def _reply(request: Request, reply: UploadObject | UploadPart, ignored: list[str]) -> Response[Any]:
    response = json(reply)
    response.headers.update(ignored_parameters.header(ignored))
    return response


def _check_strict(request: Request, ignored: list[str]) -> None:
    if request.app.state.service.strict:
        ignored_parameters.refuse(ignored)


@post(PATH, status_code=200)
async def create_upload(request: Request) -> Response[Any]:
    """Begin one."""
    filing: Filing = request.app.state.filing
    store = filing.store
    try:
        read = part_bodies.upload_before(await _read(request, readers.UPLOAD))
    except ClientDisconnected:
        return Response(b"", status_code=CLIENT_CLOSED_REQUEST)
    _check_strict(request, read.ignored)
    if read.bytes > filing.max_file:
        limit = f"at most {filing.max_file // 2**20} MiB; start the server with a larger --max-file"
        raise ApiError.invalid("bytes", limit)
    now = store.now
    new = NewUpload(
        id=new_id("upload"),
        created=now,
        expires=now + HOUR,
        bytes=read.bytes,
        name=read.name,
        purpose=read.purpose,
        seconds=read.seconds,
        user=users.owner_of(request.scope),
    )
    with told():
        created = await store.write(lambda db: uploads.create(db, new))
    return _reply(request, upload_described(created), read.ignored)


@post(f"{UPLOAD}/parts", status_code=200)
async def add_part(request: Request) -> Response[Any]:
    """Keep a part."""
    store, upload_id = _store(request), str(request.path_params["upload_id"])
    sees, now, part_id = users.sees_of(request.scope), store.now, new_id("part")
    receiving = Upload(store, LARGEST_PART, request.app.state.service.strict)

    async def finish(reader: FormReader, number: int) -> None:
        receiving.note(reader.fields, ())
        await store.write(lambda db: uploads.add(db, upload_id, part_id, number, store.now))

    limit = f"A part has at most {LARGEST_PART // 2**20} MiB."
    with told():
        await store.read(lambda db: uploads.pending(db, upload_id, now, sees))
        try:
            await receiving.taken(request, DATA, limit, finish)
        except ClientDisconnected:
            return Response(b"", status_code=CLIENT_CLOSED_REQUEST)
    return _reply(request, UploadPart(part_id, now, upload_id), receiving.ignored)


@post(f"{UPLOAD}/complete", status_code=200)
async def complete_upload(request: Request) -> Response[Any]:
    """Make one file of its parts."""
    store, upload_id = _store(request), str(request.path_params["upload_id"])
    sees = users.sees_of(request.scope)
    try:
        read = part_bodies.complete_before(await _read(request, readers.UPLOAD_COMPLETE))
    except ClientDisconnected:
        return Response(b"", status_code=CLIENT_CLOSED_REQUEST)
    _check_strict(request, read.ignored)
    with told():
        upload = await store.read(lambda db: uploads.pending(db, upload_id, store.now, sees))
        file = await _assembled(store, upload, await _parts(store, upload, read), read.md5)
        done = await store.read(lambda db: uploads.get(db, upload_id, store.now))
    return _reply(request, upload_described(done, file), read.ignored)


@post(f"{UPLOAD}/cancel", status_code=200)
async def cancel_upload(request: Request) -> Response[Any]:
    """Forget its parts."""
    store, upload_id = _store(request), str(request.path_params["upload_id"])
    sees = users.sees_of(request.scope)
    with told():
        ended = await store.write(lambda db: uploads.cancel(db, upload_id, store.now, sees))
    return json(upload_described(ended))


async def _parts(store: FileStore, upload: StoredUpload, read: ReadComplete) -> list[Part]:
    """In their order. Raises ApiError 400."""
    there = await store.read(lambda db: uploads.parts(db, upload.number))
    try:
        found = uploads.ordered(there, read.ids)
    except KeyError as error:
        raise ApiError.invalid(
            "part_ids", f"ids of this upload's parts; '{str(error.args[0])[:100]}' is none"
        ) from None
    total = sum(part.bytes for part in found)
    if total != upload.bytes:
        raise ApiError.invalid(
            "part_ids", f"parts of {upload.bytes} bytes in all, as the upload says; these have {total}"
        )
    return found


async def _assembled(store: FileStore, upload: StoredUpload, parts: list[Part], md5: str | None) -> File:
    """One file of them. Until it is whole its bytes are there twice, which is no reason to refuse it. Raises ApiError,
    Ended."""
    owner, id = await store.owner(), new_id("file")
    number = await store.write(lambda db: files.begin(db, id, owner, upload.user))
    pieces = Pieces(store, number, store.size + upload.bytes)
    digest = hashlib.md5(usedforsecurity=False)
    try:
        for part in parts:
            after = -1
            while found := await store.read(partial(files.pieces, number=part.file, after=after, size=TOGETHER)):
                after = found[-1][0]
                data = b"".join(body for _, body in found)
                digest.update(data)
                await pieces.add(data)
        await pieces.end()
        if md5 is not None and digest.hexdigest() != md5.lower():
            await store.read(lambda db: uploads.pending(db, upload.id, store.now))  # else the parts went meanwhile
            raise ApiError.invalid("md5", f"that of the file; the parts have {digest.hexdigest()}")
        file = await store.write(lambda db: uploads.complete(db, upload.id, number, store.now))
        if file is None:
            raise lost()
        return file
    except BaseException:
        store.begin_write(lambda db: files.remove(db, number))
        raise


HANDLERS = [create_upload, add_part, complete_upload, cancel_upload]
