"""`POST /v1/embeddings`: vectors of texts or token ids."""

import binascii
from collections.abc import Iterator
from typing import Any

import msgspec
from litestar import Request, Response, post

from nitro.api import readers
from nitro.api.embedding_endpoint import EmbeddingEndpoint, respond
from nitro.api.openai import schema
from nitro.service.embedding import Embedded

_encode = msgspec.json.Encoder().encode


@post("/v1/embeddings", status_code=200)
async def embeddings(request: Request) -> Response[Any]:
    """Embed texts."""
    return await respond(request, EMBEDDINGS)


def reply(embedded: Embedded) -> Iterator[bytes]:
    """The reply in pieces, one vector in each, since thousands of them take long to write."""
    as_text = embedded.reply_options == b"base64"
    yield b'{"object":"list","data":['
    for place, vector in enumerate(embedded.vectors):
        numbers: str | list[float]
        if as_text:
            numbers = binascii.b2a_base64(vector, newline=False).decode()
        else:
            numbers = embedded.numbers(place).tolist()
        yield (b"," if place else b"") + _encode(schema.Embedding(embedding=numbers, index=place))
    usage = schema.EmbeddingUsage(embedded.tokens, embedded.tokens)
    yield b'],"model":' + _encode(embedded.model) + b',"usage":' + _encode(usage) + b"}"


EMBEDDINGS = EmbeddingEndpoint(reader=readers.EMBEDDINGS, reply=reply, param="input", namer=readers.NAME)
