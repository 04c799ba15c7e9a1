"""The first Nitro's routes, and the names that its successor cortex-cpp gave them. The paths are taken in any case.

POST     /inferences/llamacpp/loadmodel        GET, POST  …/unloadmodel, …/modelstatus
POST     …/chat_completion, …/embedding        GET        /inferences/server/models, …/engines
DELETE   /processmanager/destroy
"""

from typing import Any

from litestar import HttpMethod, Request, Response, delete, get, post, route
from litestar.background_tasks import BackgroundTask

from nitro.api import embedding_endpoint
from nitro.api.callers import is_trusted, rights_of
from nitro.api.endpoint import CLIENT_CLOSED_REQUEST, read_body, respond
from nitro.api.first_nitro import replies, status
from nitro.api.first_nitro.embeddings import EMBEDDING
from nitro.api.first_nitro.model import CurrentModel, FirstNitro, LoadFailed
from nitro.api.first_nitro.renderer import encode
from nitro.api.middleware import CHANGES
from nitro.api.openai import models
from nitro.errors import ApiError
from nitro.service import ignored_parameters
from nitro.service.asked import Asked
from nitro.service.disconnects import ClientDisconnected

PREFIXES = ("/inferences/llamacpp", "/inferences/server")
ASKING = [HttpMethod.GET, HttpMethod.POST]  # GET was the first Nitro's, POST is cortex-cpp's
MAX_LOAD = 2**16  # bytes of a loadmodel's body, which is read on the event loop


def _first(request: Request) -> FirstNitro:
    first: FirstNitro = request.app.state.first_nitro
    return first


def _current(request: Request) -> CurrentModel | None:
    """The model, as far as who asks may know of it; None: none is ready."""
    model = _first(request).current()
    return model if model and rights_of(request).has_model(model.id) else None


@post([f"{prefix}/loadmodel" for prefix in PREFIXES], status_code=200)
async def load_model(request: Request) -> Response[bytes]:
    """Load a model, unless one is. Replies when it is ready."""
    first = _first(request)
    if first.taken:
        return replies.message(409, replies.ALREADY_LOADED)
    trusted = is_trusted(request)
    try:
        body = await _load_body(request)
        if first.taken:  # another load has begun while this body came
            return replies.message(409, replies.ALREADY_LOADED)
        told = await first.load(body, files=trusted)
    except LoadFailed as failure:
        reason = {replies.REASON: ignored_parameters.escaped(str(failure))} if trusted else None
        return replies.message(500, replies.LOAD_FAILED, reason)
    except ApiError as error:
        return replies.error(error)
    except ClientDisconnected:
        return Response(b"", status_code=CLIENT_CLOSED_REQUEST)
    return replies.message(200, replies.LOADED, ignored_parameters.header(told))


@route([f"{prefix}/unloadmodel" for prefix in PREFIXES], http_method=ASKING, status_code=200, opt={CHANGES: True})
async def unload_model(request: Request) -> Response[bytes]:
    """Unload what is loaded. A body is not read."""
    if request.headers.get("sec-fetch-site") == "cross-site" and "origin" not in request.headers:
        return replies.message(403, "A web page of another site may not do this")  # as the address of a picture, say
    if await _first(request).unload():
        return replies.message(200, replies.UNLOADED)
    return replies.message(409, replies.NOT_LOADED)


@route([f"{prefix}/modelstatus" for prefix in PREFIXES], http_method=ASKING, status_code=200)
async def model_status(request: Request) -> Response[bytes]:
    """Whether a model is loaded, and how it was last sampled from."""
    first, model = _first(request), _current(request)
    if model is None:
        return replies.message(409, replies.NOT_LOADED)
    data = status.model_data(model.path, model.context, model.load.grammar, first.last)
    return replies.reply({"model_data": data, "model_loaded": True})


@post([f"{prefix}/chat_completion" for prefix in PREFIXES], status_code=200)
async def chat_completion(request: Request) -> Response[Any]:
    """Answer a conversation."""
    first, model = _first(request), _current(request)
    if model is None:
        return replies.message(409, replies.NOT_LOADED)
    if not model.load.chats:
        return replies.message(400, replies.NO_CHAT)
    return await respond(request, first.chat, Asked(model.id))


@post([f"{prefix}/embedding" for prefix in PREFIXES], status_code=200)
async def embedding(request: Request) -> Response[Any]:
    """Vectors of texts."""
    model = _current(request)
    if model is None:
        return replies.message(409, replies.NOT_LOADED)
    return await embedding_endpoint.respond(request, EMBEDDING, Asked(model.id))


@get("/inferences/server/models")
async def list_models(request: Request) -> Any:
    """As `GET /v1/models`."""
    return await models.offered(request)


@get("/inferences/server/engines")
async def list_engines(request: Request) -> Response[bytes]:
    """The engines that hold a model."""
    names = _first(request).engines()
    return replies.reply({"data": [{"id": name, "object": "engine"} for name in names], "object": "list"})


@delete("/processmanager/destroy", status_code=200)
async def destroy(request: Request) -> Response[bytes]:
    """Stop the server, once this reply is sent. Only for who has the key; where there is none, for this machine."""
    if not is_trusted(request):
        return replies.message(403, "Only a program on this machine may stop the server, unless it has an --api-key")
    body = encode({"message": replies.STOPPING})
    return Response(body, media_type="application/json", background=BackgroundTask(_first(request).destroy))


HANDLERS = (
    load_model,
    unload_model,
    model_status,
    chat_completion,
    embedding,
    list_models,
    list_engines,
    destroy,
)


async def _load_body(request: Request) -> bytes:
    """Raises ApiError 413, and ClientDisconnected."""
    body = b"".join(await read_body(request))
    if len(body) > MAX_LOAD:
        raise ApiError(413, f"The body of a load has at most {MAX_LOAD} bytes")
    return body
