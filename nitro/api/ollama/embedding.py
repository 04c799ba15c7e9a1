"""`POST /api/embed` and `POST /api/embeddings`: requests (read in an intake process) and replies.

A request with nothing to embed loads its model, and gets no vectors.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from nitro.api import json_body
from nitro.api.ollama import ndjson, parse, schema
from nitro.api.ollama.model_names import listed
from nitro.api.ollama.requests import EmbedRequest, OllamaEmbeddingsRequest, OllamaOptions
from nitro.api.openai.embedding_requests import inputs_of, overflow_of
from nitro.api.openai.model_name import seconds_of
from nitro.errors import ApiError
from nitro.models.setup import ModelSetup
from nitro.parameters import check_request
from nitro.service.embedding import Embedded
from nitro.service.embedding_request import EmbeddingRequest

SECOND = 10**9  # nanoseconds


def read_embed(body: bytes, setup: ModelSetup) -> EmbeddingRequest:
    """The EmbeddingReader of `POST /api/embed`. Raises ApiError 400 with `param`."""
    request, told, given = json_body.decode(body, EmbedRequest)
    try:
        check_request(request)
        inputs, many = inputs_of(request.input, "input") if request.input else ([], True)  # type: ignore[arg-type]
        return EmbeddingRequest(
            inputs=inputs,
            listed=many,
            dimensions=request.dimensions or None,
            overflow=overflow_of(request.truncate),
            param_names={"inputs": "input"},
            **_common(request, told, given, setup),
        )
    except ApiError as error:
        raise error.renamed(given) from None


def read_embeddings(body: bytes, setup: ModelSetup) -> EmbeddingRequest:
    """The EmbeddingReader of `POST /api/embeddings`. Raises ApiError 400 with `param`."""
    request, told, given = json_body.decode(body, OllamaEmbeddingsRequest)
    try:
        return EmbeddingRequest(
            inputs=[request.prompt] if request.prompt else [],
            listed=False,
            param_names={"inputs": "prompt", "input": "prompt"},
            **_common(request, told, given, setup),
        )
    except ApiError as error:
        raise error.renamed(given) from None


def _common(
    request: EmbedRequest | OllamaEmbeddingsRequest, told: list[str], given: Mapping[str, str], setup: ModelSetup
) -> dict[str, Any]:
    """What both set alike. Sampling options change no vector. Raises ApiError 400."""
    parse.check_options(request.options or OllamaOptions(), setup.info.context)
    return {"model": request.model, "keep_alive": seconds_of(request.keep_alive), "ignored": told}


def embed_reply(embedded: Embedded) -> Iterator[bytes]:
    """The reply to /api/embed in pieces, one vector in each."""
    yield b'{"model":' + ndjson.encode(listed(embedded.model)) + b',"embeddings":['
    for place in range(len(embedded.vectors)):
        yield (b"," if place else b"") + ndjson.encode(embedded.numbers(place).tolist())
    figures = schema.EmbedFigures(
        total_duration=int(embedded.seconds * SECOND),
        load_duration=int(embedded.load_seconds * SECOND),
        prompt_eval_count=embedded.tokens,
    )
    yield b"]," + ndjson.encode(figures)[1:]


def embeddings_reply(embedded: Embedded) -> Iterator[bytes]:
    """The reply to /api/embeddings."""
    yield ndjson.encode(schema.EmbeddingsReply(embedded.numbers(0).tolist() if embedded.vectors else []))
