"""`/v1/conversations`: lists of items that responses go on with and add to."""

import time
from typing import Any

from litestar import Request, Response, delete, get, post
from msgspec import Raw

from nitro.api import readers, users
from nitro.api.endpoint import CLIENT_CLOSED_REQUEST, principal_of, read_body
from nitro.api.responses import conversation_bodies, query
from nitro.api.responses.conversation_bodies import ReadConversation
from nitro.api.responses.keeping import new_id
from nitro.api.responses.kept_schema import Conversation, ConversationDeleted
from nitro.api.responses.memory import Memory, told
from nitro.api.responses.replies import json
from nitro.errors import ApiError
from nitro.service.disconnects import ClientDisconnected
from nitro.service.generation import GenerationService
from nitro.state import conversations
from nitro.state.conversations import NewConversation, NoItem
from nitro.state.items import Page
from nitro.state.store import Store


def _store(request: Request) -> Store:
    memory: Memory = request.app.state.memory
    return memory.store


async def _read(request: Request) -> ReadConversation:
    """Raises ApiError, ClientDisconnected."""
    service: GenerationService = request.app.state.service
    body = await read_body(request)
    asked = await service.asked(readers.CONVERSATION, body, principal_of(request))
    return conversation_bodies.read_before(asked)


def _described(found: conversations.Conversation) -> Conversation:
    return Conversation(found.id, found.created, found.metadata)


@post("/v1/conversations", status_code=200)
async def create_conversation(request: Request) -> Response[Any]:
    """A new one, with its first items."""
    store = _store(request)
    try:
        read = await _read(request)
    except ClientDisconnected:
        return Response(b"", status_code=CLIENT_CLOSED_REQUEST)
    new = NewConversation(new_id("conv"), int(time.time()), bytes(read.metadata), users.owner_of(request.scope))
    await store.write(lambda db: conversations.create(db, new, read.items))
    return json(Conversation(new.id, new.created, read.metadata))


@get("/v1/conversations/{conversation_id:str}")
async def get_conversation(request: Request) -> Response[Any]:
    """What it is, without its items."""
    conversation_id = str(request.path_params["conversation_id"])
    sees = users.sees_of(request.scope)
    with told():
        return json(_described(await _store(request).read(lambda db: conversations.get(db, conversation_id, sees))))


@post("/v1/conversations/{conversation_id:str}", status_code=200)
async def update_conversation(request: Request) -> Response[Any]:
    """Give it other metadata."""
    conversation_id = str(request.path_params["conversation_id"])
    store = _store(request)
    try:
        read = await _read(request)
    except ClientDisconnected:
        return Response(b"", status_code=CLIENT_CLOSED_REQUEST)
    if read.items:
        raise ApiError.unsupported("items", "is added at /v1/conversations/{id}/items")
    if not read.changes:
        raise ApiError.missing("metadata")
    metadata, sees = bytes(read.metadata), users.sees_of(request.scope)
    with told():
        return json(_described(await store.write(lambda db: conversations.update(db, conversation_id, metadata, sees))))


@delete("/v1/conversations/{conversation_id:str}", status_code=200)
async def delete_conversation(request: Request) -> Response[Any]:
    """Forget it and its items. Responses that it was given to are kept."""
    conversation_id = str(request.path_params["conversation_id"])
    sees = users.sees_of(request.scope)
    with told():
        await _store(request).write(lambda db: conversations.delete(db, conversation_id, sees))
    return json(ConversationDeleted(conversation_id))


@post("/v1/conversations/{conversation_id:str}/items", status_code=200)
async def create_items(request: Request) -> Response[Any]:
    """Add items; the reply lists them."""
    conversation_id = str(request.path_params["conversation_id"])
    store = _store(request)
    query.check_include(request.query_params.dict())
    try:
        read = await _read(request)
    except ClientDisconnected:
        return Response(b"", status_code=CLIENT_CLOSED_REQUEST)
    if not read.items:
        raise ApiError.missing("items")
    sees = users.sees_of(request.scope)
    with told():
        added = await store.write(lambda db: conversations.add(db, conversation_id, read.items, sees))
    return json(query.as_list(Page([id for id, _ in added], [Raw(body) for _, body in added], False)))


@get("/v1/conversations/{conversation_id:str}/items")
async def list_items(request: Request) -> Response[Any]:
    """Its items, in pages."""
    conversation_id = str(request.path_params["conversation_id"])
    sees = users.sees_of(request.scope)
    with told():
        _, items = await _store(request).read(lambda db: conversations.of(db, conversation_id, sees))
    return json(query.items_page(request.query_params.dict(), items))


@get("/v1/conversations/{conversation_id:str}/items/{item_id:str}")
async def get_item(request: Request) -> Response[Any]:
    """One item."""
    conversation_id = str(request.path_params["conversation_id"])
    item_id = str(request.path_params["item_id"])
    query.check_include(request.query_params.dict())
    sees = users.sees_of(request.scope)
    with told():
        _, items = await _store(request).read(lambda db: conversations.of(db, conversation_id, sees))
        for id, body in items:
            if id == item_id:
                return json(Raw(body))
        raise NoItem(item_id)


@delete("/v1/conversations/{conversation_id:str}/items/{item_id:str}", status_code=200)
async def delete_item(request: Request) -> Response[Any]:
    """Take one item out of it; the reply is the conversation."""
    conversation_id = str(request.path_params["conversation_id"])
    item_id = str(request.path_params["item_id"])
    store, sees = _store(request), users.sees_of(request.scope)
    with told():
        return json(_described(await store.write(lambda db: conversations.remove(db, conversation_id, item_id, sees))))


HANDLERS = [
    create_conversation,
    get_conversation,
    update_conversation,
    delete_conversation,
    create_items,
    list_items,
    get_item,
    delete_item,
]
