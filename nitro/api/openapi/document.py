"""The API as an OpenAPI document, made from the structs of requests and replies and their annotations.

Routes read raw bodies, so the framework cannot make it. `OPERATIONS` has an entry for each route but the first Nitro's,
whose replies are their own; a test compares them with the application's.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from importlib.metadata import version
from typing import Any

import msgspec
from litestar import MediaType, Request, Response, get
from msgspec import Struct

from nitro.api import cache_deletion, live, rate_headers, records, sse, usage
from nitro.api.anthropic import models as anthropic_models
from nitro.api.anthropic import requests as anthropic_requests
from nitro.api.anthropic import schema as anthropic
from nitro.api.audio import form as audio_form
from nitro.api.audio import requests as audio_requests
from nitro.api.audio import schema as audio
from nitro.api.audio.renderer import TEXT_TYPE
from nitro.api.error_forms import AnthropicError
from nitro.api.llama_server import adapters as llama_adapters
from nitro.api.llama_server import requests as llama_server
from nitro.api.openai import requests, schema
from nitro.api.openai.embedding_requests import EmbeddingsRequest
from nitro.api.openapi import file_operations, ollama_operations
from nitro.api.openapi.open_objects import OWN_SHAPES, SHAPES
from nitro.api.openapi.operation import ANY, GENERATION, Operation
from nitro.api.openapi.outcomes import ERRORS, HEADERS, RETRIED
from nitro.api.prefix_cache import CacheControl
from nitro.api.rerank import schema as rerank
from nitro.api.rerank.requests import RerankBody, ScoreBody
from nitro.api.responses import events as responses_events
from nitro.api.responses import kept_schema
from nitro.api.responses.conversation_bodies import ConversationBody
from nitro.api.responses.query import INCLUDABLE
from nitro.api.responses.requests import ResponsesRequest
from nitro.api.responses.schema import Response as ResponseObject
from nitro.keys.ledger import KEPT_DAYS
from nitro.parameters import NO_LIMIT, Param, parameters
from nitro.service.live import state as live_state
from nitro.service.metrics import CONTENT_TYPE

Json = dict[str, Any]

REFERENCE = "#/components/schemas/{name}"
CAPABILITY = "x-capability"  # of a parameter: what GET /v1/models calls the ability that a model needs for it
ABOUT = (
    "An OpenAI-compatible server. Every route also works without `/v1` and with doubled slashes. Bodies may be sent as "
    "text/plain. Names of other servers are understood or refused: docs/parameters.md. Any other name, at any depth, "
    "is ignored, and listed in the header x-nitro-ignored. The first Nitro's API, below /inferences, is described in "
    "docs/first-nitro.md."
)


INCLUDE: Json = {"type": "array", "items": {"enum": list(INCLUDABLE)}}
RETRIEVAL: dict[str, Json] = {"include": INCLUDE, "include_obfuscation": {"type": "boolean"}}
PAGE: dict[str, Json] = {
    "limit": {"type": "integer", "minimum": 1, "maximum": 100, "default": 20},
    "order": {"enum": ["asc", "desc"], "default": "desc"},
    "after": {"type": "string", "description": "The id of the item before the first one."},
    "before": {"type": "string", "description": "The id of the item behind the last one."},
    "include": INCLUDE,
}
OF_MODEL: dict[str, Json] = {"model": {"type": "string", "description": "Of which model. Default: of the default one."}}
SPEECH: dict[str, Any] = {
    "events": (audio.TranscriptDelta, audio.TranscriptDone, schema.ErrorReply),
    "named": False,
    "form": True,
    "text": TEXT_TYPE,
}
KEPT = (400, *ANY[:2], 404, 413, 429, 500, 503, 507)
RECORDS = (400, *ANY[:2], 404, 500, 503)
RECORD = "/v1/records/{record_id}"
OF_RECORDS: dict[str, Json] = {
    "limit": {"type": "integer", "minimum": 1, "maximum": records.MOST, "default": 20},
    "after": {"type": "string", "description": "The id of the record before the first one."},
}
OF_USAGE: dict[str, Json] = {
    "days": {"type": "integer", "minimum": 1, "maximum": KEPT_DAYS, "default": usage.USUAL_DAYS},
    "key": {"type": "string", "description": "The name of a key. Default: of an administrator's: all; else: its own."},
}
RESPONSE, CONVERSATION = "/v1/responses/{response_id}", "/v1/conversations/{conversation_id}"
OPERATIONS: dict[tuple[str, str], Operation] = {
    ("post", "/v1/chat/completions"): Operation(
        "Answer a conversation", GENERATION, schema.ChatCompletion, requests.ChatRequest, schema.ChatCompletionChunk
    ),
    ("post", "/v1/completions"): Operation(
        "Continue a text", GENERATION, schema.Completion, requests.CompletionRequest, schema.Completion
    ),
    ("post", "/v1/embeddings"): Operation("Embed texts", GENERATION, schema.EmbeddingList, EmbeddingsRequest),
    **dict.fromkeys(
        (("post", "/v1/rerank"), ("post", "/v2/rerank"), ("post", "/v1/reranking")),
        Operation("Sort documents by how well they answer a query", GENERATION, rerank.RerankReply, RerankBody),
    ),
    ("post", "/v1/score"): Operation("Score pairs of texts", GENERATION, rerank.ScoreReply, ScoreBody),
    ("post", "/v1/audio/transcriptions"): Operation(
        "Write what is said in a sound",
        GENERATION,
        audio.Transcript,
        audio_requests.TranscriptionRequest,
        **SPEECH,
    ),
    ("post", "/v1/audio/translations"): Operation(
        "Write what is said in a sound, in another language",
        GENERATION,
        audio.Transcript,
        audio_requests.TranslationRequest,
        **SPEECH,
    ),
    ("post", "/v1/chat/completions/input_tokens"): Operation(
        "Count the tokens of a conversation", GENERATION, schema.InputTokens, requests.ChatRequest
    ),
    ("post", "/tokenize"): Operation(
        "The tokens of a text", GENERATION, llama_server.Tokens, llama_server.TokenizeRequest
    ),
    ("post", "/detokenize"): Operation(
        "The text of tokens", GENERATION, llama_server.Content, llama_server.DetokenizeRequest
    ),
    ("post", "/apply-template"): Operation(
        "The prompt of a conversation", GENERATION, llama_server.Prompt, requests.ChatRequest
    ),
    ("post", "/v1/messages"): Operation(
        "Answer a conversation, as Anthropic's API does",
        (*GENERATION, 529),
        anthropic.AnthropicMessage,
        anthropic_requests.MessagesRequest,
        events=(*anthropic.EVENTS, AnthropicError),
        error=AnthropicError,
    ),
    ("post", "/v1/messages/count_tokens"): Operation(
        "Count the tokens of a conversation, as Anthropic's API does",
        GENERATION,
        anthropic.MessageTokens,
        anthropic_requests.MessagesRequest,
        error=AnthropicError,
    ),
    ("post", "/v1/responses/input_tokens"): Operation(
        "Count the tokens of a conversation of items", (*GENERATION, 507), schema.InputTokens, ResponsesRequest
    ),
    ("post", "/v1/responses"): Operation(
        "Answer a conversation, as items",
        (*GENERATION, 507),
        ResponseObject,
        ResponsesRequest,
        events=responses_events.ALL,
    ),
    ("get", RESPONSE): Operation("A response that is kept", KEPT, ResponseObject, query=RETRIEVAL),
    ("delete", RESPONSE): Operation("Forget a response", KEPT, kept_schema.ResponseDeleted),
    ("post", f"{RESPONSE}/cancel"): Operation("End a response in the background", KEPT, ResponseObject),
    ("get", f"{RESPONSE}/input_items"): Operation("What it was made of", KEPT, kept_schema.ItemList, query=PAGE),
    ("post", "/v1/conversations"): Operation("Begin a conversation", KEPT, kept_schema.Conversation, ConversationBody),
    ("get", CONVERSATION): Operation("A conversation", KEPT, kept_schema.Conversation),
    ("post", CONVERSATION): Operation("Change its metadata", KEPT, kept_schema.Conversation, ConversationBody),
    ("delete", CONVERSATION): Operation("Forget a conversation", KEPT, kept_schema.ConversationDeleted),
    ("get", f"{CONVERSATION}/items"): Operation("Its items", KEPT, kept_schema.ItemList, query=PAGE),
    ("post", f"{CONVERSATION}/items"): Operation("Add items", KEPT, kept_schema.ItemList, ConversationBody),
    ("get", f"{CONVERSATION}/items/{{item_id}}"): Operation("One item", KEPT, None, query={"include": INCLUDE}),
    ("delete", f"{CONVERSATION}/items/{{item_id}}"): Operation("Take an item out", KEPT, kept_schema.Conversation),
    ("get", "/v1/models"): Operation(
        "List the models", (400, *ANY), schema.ModelList, anthropic=anthropic_models.AnthropicModelPage
    ),
    ("get", "/v1/models/{model_id}"): Operation(
        "Describe a model", (*ANY, 404), schema.Model, anthropic=anthropic_models.AnthropicModel
    ),
    ("post", "/v1/models/load"): Operation(
        "Load a model", (400, *ANY[:2], 404, 409, 413, 429, 500, 503), schema.Model, requests.LoadRequest
    ),
    ("post", "/v1/models/unload"): Operation(
        "Unload a model", (400, *ANY[:2], 404, 409, 413, 500), schema.Model, requests.UnloadRequest
    ),
    ("post", "/v1/load_lora_adapter"): Operation(
        "Load an adapter onto a model",
        (400, *ANY[:2], 404, 409, 413, 429, 500, 503),
        schema.Model,
        requests.LoadAdapterRequest,
    ),
    ("post", "/v1/unload_lora_adapter"): Operation(
        "Unload an adapter", (400, *ANY[:2], 404, 413, 429, 500, 503), schema.Model, requests.UnloadAdapterRequest
    ),
    ("get", "/lora-adapters"): Operation(
        "The adapters of a model",
        (400, *ANY[:2], 404, 429, 500, 503),
        llama_adapters.LoraAdapter,
        query=OF_MODEL,
        listed=True,
    ),
    ("post", "/lora-adapters"): Operation(
        "The adapters that are applied to requests that say nothing of them",
        (400, *ANY[:2], 404, 413, 429, 500, 503),
        llama_adapters.Success,
        query=OF_MODEL,
    ),
    ("get", "/v1/records"): Operation("The requests that are recorded", RECORDS, records.RecordList, query=OF_RECORDS),
    ("delete", "/v1/records"): Operation("Delete all records", RECORDS, records.RecordsDeleted),
    ("get", RECORD): Operation("A record", RECORDS, records.Record),
    ("delete", RECORD): Operation("Delete a record", RECORDS, records.RecordsDeleted),
    ("get", f"{RECORD}/file"): Operation("A record as a file of its own", RECORDS, "application/jsonl"),
    ("delete", "/v1/cache"): Operation(
        "Forget the prefixes of prompts, in memory and in files", (*ANY, 503), cache_deletion.CacheDeleted
    ),
    ("get", "/v1/usage"): Operation(
        "What keys have used, and what is left to them", RECORDS, usage.KeyUsageList, query=OF_USAGE
    ),
    ("get", "/health"): Operation("Whether the server is well", (403, 500), schema.Health, open=True),
    ("get", "/healthz"): Operation("The same, in the first Nitro's form", (403, 500), MediaType.HTML.value, open=True),
    ("get", "/metrics"): Operation("Metrics for Prometheus", ANY, CONTENT_TYPE.partition(";")[0]),
    ("get", "/v1/server/events"): Operation(
        "What the server is doing, as it changes", ANY, sse.MEDIA_TYPE, events=(live_state.Snapshot, live_state.Change)
    ),
    ("post", "/v1/server/requests/{request_id}/abort"): Operation(
        "End a request that is under way", (*ANY[:2], 404, 413, 500), live.RequestAborted
    ),
    ("get", "/schema"): Operation("This document", ANY, None),
    ("get", "/schema/openapi.json"): Operation("This document", ANY, None),
    **file_operations.OPERATIONS,
    **ollama_operations.OPERATIONS,
}
DESCRIBED = (
    requests.ChatRequest,
    requests.CompletionRequest,
    EmbeddingsRequest,
    RerankBody,
    ScoreBody,
    audio_requests.TranscriptionRequest,
    audio_requests.TranslationRequest,
    requests.Message,
    ResponsesRequest,
    requests.LoadRequest,
    requests.UnloadRequest,
    requests.LoadAdapterRequest,
    requests.UnloadAdapterRequest,
    llama_server.TokenizeRequest,
    llama_server.DetokenizeRequest,
    anthropic_requests.MessagesRequest,
    anthropic_requests.Turn,
    anthropic_requests.Block,
    anthropic_requests.ResultBlock,
    anthropic_requests.SystemBlock,
    CacheControl,
    anthropic_requests.Thinking,
    anthropic_requests.OutputConfig,
    anthropic_requests.ToolChoice,
    *file_operations.DESCRIBED,
    *ollama_operations.DESCRIBED,
)


@get(["/schema", "/schema/openapi.json"])
async def openapi_document(request: Request) -> Response[bytes]:
    """`GET /schema`, `GET /schema/openapi.json`."""
    encoded = _encoded()
    if prefix := request.scope["state"]["prefix"]:  # of the paths, for clients of a proxy
        encoded = b'{"servers":%b,%b' % (msgspec.json.encode([{"url": prefix}]), encoded[1:])
    return Response(encoded, media_type=MediaType.JSON)


@cache
def _encoded() -> bytes:
    return msgspec.json.encode(document())


def document() -> Json:
    """The OpenAPI 3.2 document of this server."""
    structs = {*_structs(), *(operation.error for operation in OPERATIONS.values())}
    _, components = msgspec.json.schema_components(sorted(structs, key=lambda s: s.__name__), ref_template=REFERENCE)
    for struct in DESCRIBED:
        shapes = OWN_SHAPES.get(struct.__name__, SHAPES)
        _describe(components[struct.__name__]["properties"], parameters(struct), shapes)
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
            "securitySchemes": {
                "key": {"type": "http", "scheme": "bearer"},
                "x-api-key": {"type": "apiKey", "in": "header", "name": "x-api-key"},
            },
        },
    }


def _errors() -> list[tuple[int, type[Struct]]]:
    """Each status with each form that an error of it has."""
    found = {
        (status, operation.error)
        for (method, _), operation in OPERATIONS.items()
        for status in _statuses(method, operation)
    }
    return sorted(found, key=lambda each: _named(*each))


def _statuses(method: str, operation: Operation) -> list[int]:
    """Of its errors. Limits of keys are about what is posted."""
    return sorted({*operation.statuses, *((429,) if method == "post" else ())})


def _named(status: int, error: type[Struct]) -> str:
    """A component's name: the status and, where it is not OpenAI's, the error's form."""
    return str(status) if error is schema.ErrorReply else f"{status}.{error.__name__}"


def _structs() -> Iterator[type[Struct]]:
    for operation in OPERATIONS.values():
        for found in (operation.reply, operation.body, operation.chunk, operation.anthropic, *operation.events):
            if isinstance(found, type):
                yield found


def _operation(method: str, path: str, operation: Operation) -> Json:
    described: Json = {"summary": operation.summary, "operationId": re.sub(r"\W+", "_", f"{method}{path}").strip("_")}
    described["security"] = [{}] if operation.open else [{}, {"key": []}, {"x-api-key": []}]
    inputs: list[Json] = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in re.findall(r"{(\w+)}", path)
    ]
    inputs += [{"name": name, "in": "query", "schema": schema} for name, schema in operation.query.items()]
    if inputs:
        described["parameters"] = inputs
    if operation.body:
        kinds = (audio_form.KIND,) if operation.form else ("application/json", "text/plain")
        content = {kind: {"schema": _of(operation.body)} for kind in kinds}
        described["requestBody"] = {"required": True, "content": content}
    described["responses"] = {} if operation.fails else {"200": _reply(operation)}
    for status in _statuses(method, operation):
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
        schema = _of(operation.reply) if operation.reply else {"type": "object"}
        content["application/json"] = {"schema": {"type": "array", "items": schema} if operation.listed else schema}
    if operation.anthropic:
        content["application/json"] = {"schema": {"anyOf": [*content["application/json"].values()]}}
        content["application/json"]["schema"]["anyOf"].append(_of(operation.anthropic))
    if operation.text:
        content[operation.text] = {"schema": {"type": "string"}}
    if operation.chunk:
        content[operation.stream] = {"itemSchema": _item(operation, operation.chunk)}
    if operation.events:
        content[operation.stream] = {"itemSchema": _event(operation.events, operation.named)}
    headers = ["x-request-id", *(["x-nitro-ignored"] if operation.body else []), *rate_headers.NAMES]
    if operation.chunk or operation.events:
        headers.insert(1, "x-nitro-prefix")
    return {"description": operation.summary, "content": content, "headers": _headers(headers)}


def _item(operation: Operation, chunk: type[Struct]) -> Json:
    """An event of a stream: a chunk, an error, or [DONE], which is not JSON; or a line, which is one of the first."""
    content = {"anyOf": [_of(chunk), _of(operation.error)]}
    if operation.stream != sse.MEDIA_TYPE:
        return content
    data = {"type": "string", "contentMediaType": "application/json", "contentSchema": content}
    kinds = [{"properties": {"data": data}}, {"properties": {"data": {"const": "[DONE]"}}}]
    return {"type": "object", "required": ["data"], "anyOf": kinds}


def _event(events: Sequence[type[Struct]], named: bool) -> Json:
    """An event of a stream whose data says of what kind it is. `named`: so does its name."""
    content = {"anyOf": [_of(each) for each in events]}
    data = {"type": "string", "contentMediaType": "application/json", "contentSchema": content}
    properties = {"event": {"type": "string"}, "data": data} if named else {"data": data}
    return {"type": "object", "required": list(properties), "properties": properties}


def _error(status: int, error: type[Struct]) -> Json:
    names = ["x-request-id", "x-should-retry", *(["retry-after"] if status in RETRIED else []), *rate_headers.NAMES]
    content = {"application/json": {"schema": _of(error)}}
    return {"description": ERRORS[status], "content": content, "headers": _headers(names)}


def _header(name: str, description: str) -> Json:
    return {"description": description, "required": name == "x-request-id", "schema": {"type": "string"}}


def _headers(names: list[str]) -> Json:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}


def _of(struct: type[Struct]) -> Json:
    return {"$ref": REFERENCE.format(name=struct.__name__)}


def _describe(properties: Json, params: Mapping[str, Param], shapes: Mapping[str, Json]) -> None:
    """Add descriptions, bounds, choices, and what is inside objects that are read as they come."""
    for name, field in properties.items():
        param = params.get(name)
        kinds = field.get("anyOf", [field])
        for kind in kinds:
            if kind.get("type") in shapes.get(name, {}):
                kind |= shapes[name][kind["type"]]
            if param:
                kind |= _limits(param, kind.get("type"))
        if param:
            field["description"] = param.description
            if param.older:
                field["deprecated"] = True
            if param.capability:
                field[CAPABILITY] = param.capability
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
