"""The API as an OpenAPI document, made from the structs of requests and replies and their annotations.

Routes read raw bodies, so the framework cannot make it. `OPERATIONS` has an entry for each route but the first Nitro's,
whose replies are their own; a test compares them with the application's.
"""

import re
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.metadata import version
from typing import Any

import msgspec
from litestar import MediaType, Response, get
from msgspec import Struct

from nitro.api import sse
from nitro.api.openai import requests, schema
from nitro.api.openai.embedding_requests import EmbeddingsRequest
from nitro.api.openapi import ollama_operations
from nitro.api.openapi.open_objects import SHAPES
from nitro.api.openapi.operation import ANY, GENERATION, Operation
from nitro.parameters import NO_LIMIT, Param, parameters
from nitro.service.metrics import CONTENT_TYPE

Json = dict[str, Any]

REFERENCE = "#/components/schemas/{name}"
ABOUT = (
    "An OpenAI-compatible server. Every route also works without `/v1` and with doubled slashes. Bodies may be sent as "
    "text/plain. Names of other servers are understood or refused: docs/parameters.md. Any other name, at any depth, "
    "is ignored, and listed in the header x-nitro-ignored. The first Nitro's API, below /inferences, is described in "
    "docs/first-nitro.md."
)


OPERATIONS: dict[tuple[str, str], Operation] = {
    ("post", "/v1/chat/completions"): Operation(
        "Answer a conversation", GENERATION, schema.ChatCompletion, requests.ChatRequest, schema.ChatCompletionChunk
    ),
    ("post", "/v1/completions"): Operation(
        "Continue a text", GENERATION, schema.Completion, requests.CompletionRequest, schema.Completion
    ),
    ("post", "/v1/embeddings"): Operation("Embed texts", GENERATION, schema.EmbeddingList, EmbeddingsRequest),
    ("get", "/v1/models"): Operation("List the models", ANY, schema.ModelList),
    ("get", "/v1/models/{model_id}"): Operation("Describe a model", (*ANY, 404), schema.Model),
    ("post", "/v1/models/load"): Operation(
        "Load a model", (400, *ANY[:2], 404, 409, 413, 429, 500, 503), schema.Model, requests.LoadRequest
    ),
    ("post", "/v1/models/unload"): Operation(
        "Unload a model", (400, *ANY[:2], 404, 409, 413, 500), schema.Model, requests.UnloadRequest
    ),
    ("get", "/health"): Operation("Whether the server is well", (403, 500), schema.Health, open=True),
    ("get", "/healthz"): Operation("The same, in the first Nitro's form", (403, 500), MediaType.HTML.value, open=True),
    ("get", "/metrics"): Operation("Metrics for Prometheus", ANY, CONTENT_TYPE.partition(";")[0]),
    ("get", "/schema"): Operation("This document", ANY, None),
    ("get", "/schema/openapi.json"): Operation("This document", ANY, None),
    **ollama_operations.OPERATIONS,
}
ERRORS = {
    400: "The request is wrong; `param` says where.",
    401: "The API key is missing or wrong.",
    403: "Requests from this web page (Origin), or by this name of the server (Host), are not allowed.",
    404: "There is no such model.",
    409: "The model has requests under way, or another one has its name.",
    413: "The body is too large.",
    422: "The model's output breaks the schema that `param` names; or such requests made the engine crash repeatedly.",
    429: "The queue is full.",
    500: "The server or its engine failed.",
    501: "The server does not do this.",
    502: "The hub cannot be reached, or answers with an error.",
    503: "No engine is running, it crashed while it worked on the request, or there is no room for the model.",
    507: "The disk is full, or cannot be written.",
}
HEADERS: dict[str, str] = {
    "x-request-id": "The request's id, by which the server's log names it.",
    "x-nitro-ignored": "Parameters of the request that had no effect.",
    "x-should-retry": "false: the request would fail again.",
    "retry-after": "Seconds after which the request may succeed.",
}
RETRIED = (429, 503)  # errors with retry-after, if waiting may help
DESCRIBED = (
    requests.ChatRequest,
    requests.CompletionRequest,
    EmbeddingsRequest,
    requests.Message,
    requests.LoadRequest,
    requests.UnloadRequest,
    *ollama_operations.DESCRIBED,
)


@get(["/schema", "/schema/openapi.json"])
async def openapi_document() -> Response[bytes]:
    """`GET /schema`, `GET /schema/openapi.json`."""
    return Response(_encoded(), media_type=MediaType.JSON)


@cache
def _encoded() -> bytes:
    return msgspec.json.encode(document())


def document() -> Json:
    """The OpenAPI 3.2 document of this server."""
    structs = {*_structs(), *(operation.error for operation in OPERATIONS.values())}
    _, components = msgspec.json.schema_components(sorted(structs, key=lambda s: s.__name__), ref_template=REFERENCE)
    for struct in DESCRIBED:
        _describe(components[struct.__name__]["properties"], parameters(struct))
    paths: dict[str, Json] = {}
    for (method, path), operation in OPERATIONS.items():
        paths.setdefault(path, {})[method] = _operation(method, path, operation)
    return {
        "openapi": "3.2.0",
        "info": {"title": "Nitro", "version": version("nitro"), "description": ABOUT},
        "paths": paths,
        "components": {
            "schemas": components,
            "headers": {name: _header(name, description) for name, description in HEADERS.items()},
            "responses": {_named(status, error): _error(status, error) for status, error in _errors()},
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
    }


def _errors() -> list[tuple[int, type[Struct]]]:
    """Each status with each form that an error of it has."""
    found = {(status, operation.error) for operation in OPERATIONS.values() for status in operation.statuses}
    return sorted(found, key=lambda each: _named(*each))


def _named(status: int, error: type[Struct]) -> str:
    """A component's name: the status and, where it is not OpenAI's, the error's form."""
    return str(status) if error is schema.ErrorReply else f"{status}.{error.__name__}"


def _structs() -> Iterator[type[Struct]]:
    for operation in OPERATIONS.values():
        for found in (operation.reply, operation.body, operation.chunk):
            if isinstance(found, type):
                yield found


def _operation(method: str, path: str, operation: Operation) -> Json:
    described: Json = {"summary": operation.summary, "operationId": re.sub(r"\W+", "_", f"{method}{path}").strip("_")}
    described["security"] = [{}] if operation.open else [{}, {"key": []}]
    if names := re.findall(r"{(\w+)}", path):
        described["parameters"] = [
            {"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in names
        ]
    if operation.body:
        body = {"schema": _of(operation.body)}
        described["requestBody"] = {"required": True, "content": {"application/json": body, "text/plain": body}}
    described["responses"] = {} if operation.fails else {"200": _reply(operation)}
    for status in operation.statuses:
        named = _named(status, operation.error)
        described["responses"][str(status)] = {"$ref": f"#/components/responses/{named}"}
    if operation.open:
        described["responses"]["503"] = {**_reply(operation), "description": "No model is ready."}
    return described


def _reply(operation: Operation) -> Json:
    content: Json = {}
    if isinstance(operation.reply, str):
        content[operation.reply] = {"schema": {"type": "string"}}
    else:
        content["application/json"] = {"schema": _of(operation.reply) if operation.reply else {"type": "object"}}
    if operation.chunk:
        content[operation.stream] = {"itemSchema": _item(operation, operation.chunk)}
    headers = ["x-request-id", *(["x-nitro-ignored"] if operation.body else [])]
    return {"description": operation.summary, "content": content, "headers": _headers(headers)}


def _item(operation: Operation, chunk: type[Struct]) -> Json:
    """An event of a stream: a chunk, an error, or [DONE], which is not JSON; or a line, which is one of the first."""
    content = {"anyOf": [_of(chunk), _of(operation.error)]}
    if operation.stream != sse.MEDIA_TYPE:
        return content
    data = {"type": "string", "contentMediaType": "application/json", "contentSchema": content}
    kinds = [{"properties": {"data": data}}, {"properties": {"data": {"const": "[DONE]"}}}]
    return {"type": "object", "required": ["data"], "anyOf": kinds}


def _error(status: int, error: type[Struct]) -> Json:
    names = ["x-request-id", "x-should-retry", *(["retry-after"] if status in RETRIED else [])]
    content = {"application/json": {"schema": _of(error)}}
    return {"description": ERRORS[status], "content": content, "headers": _headers(names)}


def _header(name: str, description: str) -> Json:
    return {"description": description, "required": name == "x-request-id", "schema": {"type": "string"}}


def _headers(names: list[str]) -> Json:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}


def _of(struct: type[Struct]) -> Json:
    return {"$ref": REFERENCE.format(name=struct.__name__)}


def _describe(properties: Json, params: Mapping[str, Param]) -> None:
    """Add descriptions, bounds, choices, and what is inside objects that are read as they come."""
    for name, field in properties.items():
        param = params.get(name)
        kinds = field.get("anyOf", [field])
        for kind in kinds:
            if kind.get("type") in SHAPES.get(name, {}):
                kind |= SHAPES[name][kind["type"]]
            if param:
                kind |= _limits(param, kind.get("type"))
        if param:
            field["description"] = param.description
            if param.unlimited:
                kinds.append({"const": NO_LIMIT, "description": "No limit but the context."})


def _limits(param: Param, type: str | None) -> Json:
    """The bounds of a number, the choices of a string."""
    if type == "string" and param.choices:
        return {"enum": list(param.choices)}
    if type not in ("integer", "number"):
        return {}
    limits = {"minimum": param.ge, "maximum": param.le}
    return {key: limit for key, limit in limits.items() if limit is not None}
