"""Ollama's routes in the OpenAPI document."""

from functools import partial

from litestar import MediaType

from nitro.api.error_forms import OllamaError
from nitro.api.ollama import ndjson, requests, schema
from nitro.api.openapi.operation import ANY, GENERATION
from nitro.api.openapi.operation import Operation as Described

Operation = partial(Described, error=OllamaError, stream=ndjson.MEDIA_TYPE)
REFUSED = Operation("Refused: models are not made, copied or taken over HTTP", (401, 403, 501), None, fails=True)
BODY = (400, *ANY[:2], 404, 413, 500)

OPERATIONS: dict[tuple[str, str], Described] = {
    ("get", "/"): Operation("Whether there is a server, in Ollama's words", ANY, MediaType.TEXT.value),
    ("get", "/api/version"): Operation("Whose API this is, and what serves it", ANY, schema.Version),
    ("post", "/api/chat"): Operation(
        "Answer a conversation, as Ollama does",
        GENERATION,
        schema.ChatReply,
        requests.OllamaChatRequest,
        schema.ChatReply,
    ),
    ("post", "/api/generate"): Operation(
        "Answer or continue a prompt, as Ollama does",
        GENERATION,
        schema.GenerateReply,
        requests.OllamaGenerateRequest,
        schema.GenerateReply,
    ),
    ("post", "/api/embed"): Operation(
        "Embed texts, as Ollama does", GENERATION, schema.EmbedReply, requests.EmbedRequest
    ),
    ("post", "/api/embeddings"): Operation(
        "Embed a text, as Ollama did", GENERATION, schema.EmbeddingsReply, requests.OllamaEmbeddingsRequest
    ),
    ("get", "/api/tags"): Operation("List the models, as Ollama does", ANY, schema.Tags),
    ("get", "/api/ps"): Operation("List the models that are loaded, as Ollama does", ANY, schema.Processes),
    ("post", "/api/show"): Operation("Describe a model, as Ollama does", BODY, schema.Shown, requests.ShowRequest),
    ("post", "/api/pull"): Operation(
        "Fetch a model of the Hugging Face hub",
        (*BODY, 429, 502, 503, 507),
        schema.Progress,
        requests.PullRequest,
        schema.Progress,
    ),
    ("delete", "/api/delete"): Operation(
        "Remove a model that Nitro has fetched", (*BODY, 409), MediaType.TEXT.value, requests.ModelRequest
    ),
    **{("post", f"/api/{name}"): REFUSED for name in ("create", "copy", "push", "blobs/{digest}")},
}
DESCRIBED = (
    requests.OllamaChatRequest,
    requests.OllamaGenerateRequest,
    requests.OllamaMessage,
    requests.OllamaOptions,
    requests.EmbedRequest,
    requests.OllamaEmbeddingsRequest,
    requests.ShowRequest,
    requests.PullRequest,
    requests.ModelRequest,
)
