"""`/v1/batches`: begun, looked at, cancelled."""

from typing import Any

from litestar import Request, Response, get, post

from nitro.api import callers, queries, readers, users
from nitro.api.batches import bodies
from nitro.api.batches.schema import BatchList, described
from nitro.api.batches.serving import default_of
from nitro.api.endpoint import CLIENT_CLOSED_REQUEST, principal_of, read_body
from nitro.api.files.filing import Filing, told
from nitro.api.responses.keeping import new_id
from nitro.api.responses.replies import json
from nitro.batches.runner import Batches
from nitro.keys import refusals
from nitro.service import ignored_parameters
from nitro.service.disconnects import ClientDisconnected
from nitro.service.generation import GenerationService
from nitro.state import batches
from nitro.state.batches import NewBatch

PATH = "/v1/batches"
BATCH = f"{PATH}/{{batch_id:str}}"


def _batches(request: Request) -> Batches:
    filing: Filing = request.app.state.filing
    return filing.batches


@post(PATH, status_code=200)
async def create_batch(request: Request) -> Response[Any]:
    """Begin one. Its lines are checked afterwards."""
    kept = _batches(request)
    service: GenerationService = request.app.state.service
    try:
        body = await read_body(request)
        read = bodies.read_before(await service.asked(readers.BATCH, body, principal_of(request)))
    except ClientDisconnected:
        return Response(b"", status_code=CLIENT_CLOSED_REQUEST)
    if service.strict:
        ignored_parameters.refuse(read.ignored)
    account = callers.account_of(request.scope)
    if account and not account.key.has_route("POST", read.endpoint):
        raise refusals.no_route(account.name, f"POST {read.endpoint}")
    now = kept.store.now
    new = NewBatch(
        id=new_id("batch"),
        created=now,
        expires=now + read.window,
        window=read.asked_window,
        endpoint=read.endpoint,
        metadata=read.metadata,
        input=read.input,
        ids=(new_id("file"), new_id("file")),
        output_seconds=read.output_seconds,
        served=default_of(request.app.state.models),
        owner=await kept.store.owner(),
        user=users.owner_of(request.scope),
    )
    sees = users.sees_of(request.scope)
    with told("input_file_id"):
        created = await kept.store.write(lambda db: batches.create(db, new, sees))
    await kept.add(new.id)
    response = json(described(created))
    response.headers.update(ignored_parameters.header(read.ignored))
    return response


@get(PATH)
async def list_batches(request: Request) -> Response[Any]:
    """All of them, the newest first, in pages."""
    kept = _batches(request)
    query = request.query_params.dict()
    limit, after = queries.number(query, "limit", 20, 1, 100), queries.one(query, "after")
    sees = users.sees_of(request.scope)
    with told("after"):
        found, more = await kept.store.read(lambda db: batches.page(db, limit, after, sees))
    data = [described(batch) for batch in found]
    first, last = (data[0].id, data[-1].id) if data else (None, None)
    return json(BatchList(data, first, last, more))


@get(BATCH)
async def get_batch(request: Request) -> Response[Any]:
    """How far it is."""
    kept, batch_id, sees = _batches(request), str(request.path_params["batch_id"]), users.sees_of(request.scope)
    with told():
        return json(described(await kept.store.read(lambda db: batches.get(db, batch_id, sees))))


@post(f"{BATCH}/cancel", status_code=200)
async def cancel_batch(request: Request) -> Response[Any]:
    """End it. What it has answered is kept."""
    kept, batch_id, sees = _batches(request), str(request.path_params["batch_id"]), users.sees_of(request.scope)
    with told():
        return json(described(await kept.cancel(batch_id, sees)))


HANDLERS = [create_batch, list_batches, get_batch, cancel_batch]
