"""Ollama's routes.

POST    /api/chat, /api/generate            answers, as NDJSON or whole; without a question they load and unload
POST    /api/embed, /api/embeddings         vectors
GET     /api/tags, /api/ps, /api/version    POST /api/show
POST    /api/pull    DELETE /api/delete     for who is trusted; --no-pull refuses both
POST    /api/create, /api/copy, /api/push, /api/blobs/DIGEST    refused
GET     /                                   "Ollama is running", which its clients look for (api/page.py)
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any, TypeVar

from litestar import MediaType, Request, Response, delete, get, post, route
from litestar.enums import HttpMethod
from msgspec import Struct
from msgspec.structs import replace

from nitro import __version__
from nitro.api import embedding_endpoint, error_responses, json_body, readers
from nitro.api.callers import check_may_unload, is_trusted, rights_of
from nitro.api.embedding_endpoint import EmbeddingEndpoint
from nitro.api.endpoint import CLIENT_CLOSED_REQUEST, Endpoint, Received, receive, respond
from nitro.api.ollama import embedding, loading, ndjson, pulling, schema
from nitro.api.ollama.model_names import listed
from nitro.api.ollama.parse import Wants, decode_wants
from nitro.api.ollama.renderer import ChatRenderer, GenerateRenderer, OllamaRenderer
from nitro.api.ollama.requests import ModelRequest, PullRequest, ShowRequest
from nitro.errors import ApiError, EngineError
from nitro.keys.refusals import check_model
from nitro.models.fetching import Fetching
from nitro.models.pool import Pool
from nitro.models.pool_entry import PoolEntry
from nitro.service import ignored_parameters, keep_alive
from nitro.service.asked import Asked
from nitro.service.disconnects import ClientDisconnected
from nitro.service.failures import as_api_error
from nitro.service.generation import GenerationService

T = TypeVar("T", bound=Struct)

RUNNING = "Ollama is running"  # Ollama's own words: some clients compare them
VERSION = "0.32.15"  # of Ollama, whose API this is; clients refuse one that is too old
MAX_BODY = 2**16  # bytes of a body that is read on the event loop
UNTRUSTED = "Only a program on this machine may fetch and remove models, unless the server has an --api-key."
REFUSED = {
    "create": "Models are not made from Modelfiles here: nitro.toml sets what a model is served with.",
    "copy": "Models are not copied here: an alias in nitro.toml gives one another name.",
    "push": "Models are not sent anywhere.",
    "blobs": "Files are not taken over HTTP: --models DIR offers what lies in a folder.",
}


def _left(_: Request, __: Exception) -> Response[bytes]:
    return Response(b"", status_code=CLIENT_CLOSED_REQUEST)


LEFT: dict[int | type[Exception], Any] = {ClientDisconnected: _left}  # of routes whose handlers let it through


@dataclass(frozen=True, slots=True)
class Kind:
    """What chat and generate differ in. `done`: the reply where there is nothing to answer."""

    reader: str
    namer: str
    prompt_param: str
    renderer: type[OllamaRenderer]
    done: Callable[..., schema.Reply]


def _no_message(**reply: Any) -> schema.ChatReply:
    return schema.ChatReply(message=schema.OllamaReplyMessage("assistant", ""), **reply)


CHAT = Kind(readers.OLLAMA_CHAT, readers.OLLAMA_CHAT_NAME, "messages", ChatRenderer, _no_message)
GENERATE = Kind(
    readers.OLLAMA_GENERATE,
    readers.OLLAMA_GENERATE_NAME,
    "prompt",
    GenerateRenderer,
    partial(schema.GenerateReply, response=""),
)


EMBED = EmbeddingEndpoint(readers.OLLAMA_EMBED, embedding.embed_reply, "input", namer=readers.NAME)
EMBEDDINGS = EmbeddingEndpoint(readers.OLLAMA_EMBEDDINGS, embedding.embeddings_reply, "prompt", namer=readers.NAME)


@get("/api/version")
async def version() -> schema.Version:
    """Whose API this is, and what serves it."""
    return schema.Version(VERSION, __version__)


@post("/api/chat", status_code=200)
async def chat(request: Request) -> Response[Any]:
    """Answer a conversation."""
    return await _answer(request, CHAT)


@post("/api/generate", status_code=200)
async def generate(request: Request) -> Response[Any]:
    """Answer a prompt, or continue it."""
    return await _answer(request, GENERATE)


async def _answer(request: Request, kind: Kind) -> Response[Any]:
    endpoint = Endpoint(
        reader=kind.reader,
        renderer=partial(kind.renderer, began=time.monotonic()),
        prompt_param=kind.prompt_param,
        namer=kind.namer,
    )
    service: GenerationService = request.app.state.service
    try:
        received = await receive(request)
        asked = await service.asked(kind.namer, received.pieces, received.principal)
        wants = decode_wants(asked.own)
        if wants.empty:
            return await _load(request, kind, asked, wants, received)
    except ClientDisconnected as gone:
        return _left(request, gone)
    except (ApiError, EngineError) as failure:
        error = as_api_error(failure)
        error_responses.refused(request.scope, error)
        return error_responses.response(error, request.scope)
    return await respond(request, endpoint, asked, received)


async def _load(request: Request, kind: Kind, asked: Asked, wants: Wants, received: Received) -> Response[Any]:
    pool: Pool = request.app.state.models
    strict = request.app.state.service.strict
    if strict:
        ignored_parameters.refuse(wants.ignored)
    if wants.keep_alive == 0:
        check_may_unload(request)
        id, reason = await loading.unload(pool, asked.model), "unload"
    else:
        id, reason = await loading.load(pool, asked.model, wants, strict, received.principal), "load"
        if wants.keep_alive is not None and not received.principal.may_keep_models:
            wants = replace(wants, ignored=[*wants.ignored, keep_alive.NAME])
    now = datetime.now(UTC)
    done = kind.done(model=listed(id), created_at=now, done=True, done_reason=reason)
    return ndjson.reply(done, ignored_parameters.header(wants.ignored))


@post("/api/embed", status_code=200)
async def embed(request: Request) -> Response[Any]:
    """Embed texts."""
    return await embedding_endpoint.respond(request, EMBED)


@post("/api/embeddings", status_code=200)
async def embeddings(request: Request) -> Response[Any]:
    """Embed one text."""
    return await embedding_endpoint.respond(request, EMBEDDINGS)


@get("/api/tags")
async def tags(request: Request) -> Response[bytes]:
    """The models that are offered."""
    entries = _allowed(request, await _pool(request).offered())
    return ndjson.reply(await asyncio.to_thread(_tags, entries))


@get("/api/ps")
async def processes(request: Request) -> Response[bytes]:
    """The models that are loaded."""
    return ndjson.reply(await asyncio.to_thread(_processes, _allowed(request, _pool(request).entries())))


@post("/api/show", status_code=200, exception_handlers=LEFT)
async def show(request: Request) -> Response[bytes]:
    """What is known of a model. Raises ApiError 404."""
    asked = _decoded(await receive(request), ShowRequest)
    rights = rights_of(request)
    entry = await _pool(request).find(asked.model, rights)
    check_model(rights, entry.id)
    return ndjson.reply(await asyncio.to_thread(_shown, entry, bool(asked.verbose)))


@post("/api/pull", status_code=200, exception_handlers=LEFT)
async def pull(request: Request) -> Response[Any]:
    """Fetch a model of the Hugging Face hub. Raises ApiError."""
    received = await receive(request)
    asked = _decoded(received, PullRequest)
    return await pulling.reply(_fetching(request), asked, received.principal)


@delete("/api/delete", status_code=200, exception_handlers=LEFT)
async def remove(request: Request) -> Response[bytes]:
    """Remove a model that Nitro has fetched. Raises ApiError."""
    asked = _decoded(await receive(request), ModelRequest)
    await _fetching(request).remove(asked.model)
    return Response(b"", media_type=MediaType.TEXT)


@route(
    ["/api/create", "/api/copy", "/api/push", "/api/blobs/{digest:str}"],
    http_method=[HttpMethod.POST],
    status_code=501,
)
async def refused(request: Request) -> Response[bytes]:
    """What changes models, and is not done here."""
    name = request.scope["path"].split("/")[2]
    error = ApiError(501, f"/api/{name} is not supported by this server. {REFUSED[name]}")
    return error_responses.response(error, request.scope)


HANDLERS = (version, chat, generate, embed, embeddings, tags, processes, show, pull, remove, refused)


# What reads models' files is imported when it is needed: it takes longer than all of this.


def _tags(entries: list[PoolEntry]) -> schema.Tags:
    from nitro.api.ollama import inventory

    return inventory.tags(entries)


def _processes(entries: list[PoolEntry]) -> schema.Processes:
    from nitro.api.ollama import inventory

    return inventory.processes(entries)


def _shown(entry: PoolEntry, verbose: bool) -> schema.Shown:
    from nitro.api.ollama import inventory

    return inventory.show(entry, verbose)


def _allowed(request: Request, entries: list[PoolEntry]) -> list[PoolEntry]:
    """Those of who asks."""
    rights = rights_of(request)
    return [entry for entry in entries if rights.has_model(entry.id)]


def _pool(request: Request) -> Pool:
    pool: Pool = request.app.state.models
    return pool


def _fetching(request: Request) -> Fetching:
    """Raises ApiError 403 for who is not trusted."""
    fetching: Fetching = request.app.state.fetching
    if not is_trusted(request):
        raise ApiError(403, UNTRUSTED, code="pull_not_allowed")
    fetching.check()
    return fetching


def _decoded(received: Received, kind: type[T]) -> T:
    """A request that is read here. Raises ApiError 400, also for a name that would have no effect, and 413."""
    body = b"".join(received.pieces)
    if len(body) > MAX_BODY:
        raise ApiError(413, f"The body of this request has at most {MAX_BODY} bytes.")
    decoded = json_body.decode(body, kind)
    for name in decoded.told:
        raise ApiError.unsupported(name, f"is none of {', '.join(kind.__struct_fields__)}")
    return decoded.request
