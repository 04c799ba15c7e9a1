"""The API as an OpenAPI document, made of the structs in `openai`, the bounds in `prompts` and the words in
`parameters`. Routes read raw bodies, so the framework knows none of this.

`OPERATIONS` has a line for each route; a test compares it with the application's.
"""

import re
from collections.abc import Iterator
from functools import cache
from importlib.metadata import version
from typing import Any, NamedTuple

import msgspec
from litestar import MediaType, Response, get
from msgspec import Struct

from nitro.api import sse
from nitro.api.openai import schema as openai
from nitro.api.openai.parse import BOUNDS, COMPLETION_BOUNDS, REASONING_FORMATS, ROLES, UNLIMITED
from nitro.api.openapi.descriptions import PARAMETERS
from nitro.api.openapi.open_objects import SHAPES
from nitro.service.metrics import CONTENT_TYPE

Json = dict[str, Any]

REFERENCE = "#/components/schemas/{name}"
ABOUT = (
    "An OpenAI-compatible server. Every route answers without `/v1`, too, and with doubled slashes. Bodies may be "
    "sent as text/plain. Parameters that are not known are taken, and listed in the header x-nitro-ignored."
)


class Operation(NamedTuple):
    summary: str
    statuses: tuple[int, ...]  # of its errors
    reply: type[Struct] | str | None  # a struct, or the media type of a text
    body: type[Struct] | None = None
    chunk: type[Struct] | None = None  # what the events of a stream are
    open: bool = False  # without a key; a 503 is no error, but its answer


ANY = (401, 403, 500)
GENERATION = (400, *ANY[:2], 404, 413, 422, 429, 500, 503)
OPERATIONS: dict[tuple[str, str], Operation] = {
    ("post", "/v1/chat/completions"): Operation(
        "Answer a conversation", GENERATION, openai.ChatCompletion, openai.ChatRequest, openai.ChatCompletionChunk
    ),
    ("post", "/v1/completions"): Operation(
        "Continue a text", GENERATION, openai.Completion, openai.CompletionRequest, openai.Completion
    ),
    ("get", "/v1/models"): Operation("The models that are served", ANY, openai.ModelList),
    ("get", "/v1/models/{model_id}"): Operation("One of them", (*ANY, 404), openai.Model),
    ("get", "/health"): Operation("Whether the model is ready", (403, 500), openai.Health, open=True),
    ("get", "/healthz"): Operation("The same in the first Nitro's words", (403, 500), MediaType.HTML.value, open=True),
    ("get", "/metrics"): Operation("For Prometheus", ANY, CONTENT_TYPE.partition(";")[0]),
    ("get", "/schema"): Operation("This document", ANY, None),
    ("get", "/schema/openapi.json"): Operation("This document", ANY, None),
}
ERRORS = {
    400: "The request is at fault; `param` tells where.",
    401: "An API key is needed, or this one is wrong.",
    403: "The page that asks (Origin), or the name of this server (Host), is not allowed.",
    404: "There is no such model.",
    413: "The body is too large.",
    422: "What the model said breaks the schema that `param` names; or the engine died repeatedly at such requests.",
    429: "The queue is full.",
    500: "The server or its engine failed.",
    503: "No engine runs, or it died under the request.",
}
HEADERS: dict[str, str] = {
    "x-request-id": "This request in the server's log.",
    "x-nitro-ignored": "Parameters without effect.",
    "x-should-retry": "false: it would fail again.",
    "retry-after": "Seconds after which it may succeed.",
}
RETRIED = (429, 503)  # these have retry-after where waiting may help
CHOICES = {"role": ROLES, "reasoning_format": REASONING_FORMATS}


@get(["/schema", "/schema/openapi.json"])
async def schema() -> Response[bytes]:
    return Response(_encoded(), media_type=MediaType.JSON)


@cache
def _encoded() -> bytes:
    return msgspec.json.encode(document())


def document() -> Json:
    structs = {*_structs(), openai.ErrorReply}
    _, components = msgspec.json.schema_components(sorted(structs, key=lambda s: s.__name__), ref_template=REFERENCE)
    _describe(components, openai.ChatRequest, BOUNDS)
    _describe(components, openai.CompletionRequest, COMPLETION_BOUNDS)
    _describe(components, openai.Message, {})
    paths: dict[str, Json] = {}
    for (method, path), operation in OPERATIONS.items():
        paths.setdefault(path, {})[method] = _operation(method, path, operation)
    return {
        "openapi": "3.2.0",
        "info": {"title": "Nitro", "version": version("nitro"), "description": ABOUT},
        "paths": paths,
        "components": {
            "schemas": components,
            "headers": {name: _header(name, words) for name, words in HEADERS.items()},
            "responses": {str(status): _error(status) for status in ERRORS},
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
    }


def _structs() -> Iterator[type[Struct]]:
    for operation in OPERATIONS.values():
        for found in (operation.reply, operation.body, operation.chunk):
            if isinstance(found, type):
                yield found


def _operation(method: str, path: str, operation: Operation) -> Json:
    told: Json = {"summary": operation.summary, "operationId": re.sub(r"\W+", "_", f"{method}{path}").strip("_")}
    told["security"] = [{}] if operation.open else [{}, {"key": []}]
    if "{model_id}" in path:
        told["parameters"] = [{"name": "model_id", "in": "path", "required": True, "schema": {"type": "string"}}]
    if operation.body:
        body = {"schema": _of(operation.body)}
        told["requestBody"] = {"required": True, "content": {"application/json": body, "text/plain": body}}
    told["responses"] = {"200": _reply(operation)}
    for status in operation.statuses:
        told["responses"][str(status)] = {"$ref": f"#/components/responses/{status}"}
    if operation.open:
        told["responses"]["503"] = {**_reply(operation), "description": "No model is ready."}
    return told


def _reply(operation: Operation) -> Json:
    content: Json = {}
    if isinstance(operation.reply, str):
        content[operation.reply] = {"schema": {"type": "string"}}
    else:
        content["application/json"] = {"schema": _of(operation.reply) if operation.reply else {"type": "object"}}
    if operation.chunk:
        content[sse.MEDIA_TYPE] = {"itemSchema": _event(operation.chunk)}
    headers = ["x-request-id", *(["x-nitro-ignored"] if operation.body else [])]
    return {"description": operation.summary, "content": content, "headers": _headers(headers)}


def _event(chunk: type[Struct]) -> Json:
    """An event of a stream: a chunk, an error, or the last, which is no JSON."""
    told = {"anyOf": [_of(chunk), _of(openai.ErrorReply)]}
    data = {"type": "string", "contentMediaType": "application/json", "contentSchema": told}
    kinds = [{"properties": {"data": data}}, {"properties": {"data": {"const": "[DONE]"}}}]
    return {"type": "object", "required": ["data"], "anyOf": kinds}


def _error(status: int) -> Json:
    names = ["x-request-id", "x-should-retry", *(["retry-after"] if status in RETRIED else [])]
    content = {"application/json": {"schema": _of(openai.ErrorReply)}}
    return {"description": ERRORS[status], "content": content, "headers": _headers(names)}


def _header(name: str, words: str) -> Json:
    return {"description": words, "required": name == "x-request-id", "schema": {"type": "string"}}


def _headers(names: list[str]) -> Json:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}


def _of(struct: type[Struct]) -> Json:
    return {"$ref": REFERENCE.format(name=struct.__name__)}


def _describe(components: Json, struct: type[Struct], bounds: dict[str, tuple[float | None, float | None]]) -> None:
    """Words, bounds, choices and what is inside objects that are read as they come."""
    for name, field in components[struct.__name__]["properties"].items():
        if words := PARAMETERS.get(name) if struct is not openai.Message else None:
            field["description"] = words
        kinds = field.get("anyOf", [field])
        for kind in kinds:
            _bound(kind, *bounds.get(name, (None, None)))
            if name in CHOICES and kind.get("type") == "string":
                kind["enum"] = list(CHOICES[name])
            if kind.get("type") in SHAPES.get(name, {}):
                kind |= SHAPES[name][kind["type"]]
        if name in UNLIMITED:
            kinds.append({"const": -1, "description": "What is left of the context."})


def _bound(kind: Json, least: float | None, most: float | None) -> None:
    if kind.get("type") in ("integer", "number"):
        kind |= {key: value for key, value in (("minimum", least), ("maximum", most)) if value is not None}
