"""`POST /v1/rerank` (Cohere's `/v2/rerank`, llama-server's `/v1/reranking`) and `/v1/score`: how well documents
answer a query.

A score is the sigmoid of the model's logit, from 0 to 1; with `raw_scores` it is the logit.
"""

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

import msgspec
from litestar import Request, Response, post
from msgspec import Struct

from nitro.api import readers
from nitro.api.embedding_endpoint import EmbeddingEndpoint, respond
from nitro.api.openai.schema import EmbeddingUsage
from nitro.api.rerank import schema
from nitro.api.rerank.requests import ReplyOptions, decode_options
from nitro.service.embedding import Embedded
from nitro.service.rerank_request import probability

TOGETHER = 256  # items that are written at a time

_encode = msgspec.json.Encoder().encode


@post(["/v1/rerank", "/v2/rerank", "/v1/reranking"], status_code=200)
async def rerank(request: Request) -> Response[Any]:
    """Sort documents by how well they answer a query."""
    return await respond(request, RERANK)


@post("/v1/score", status_code=200)
async def score(request: Request) -> Response[Any]:
    """Score pairs of texts."""
    return await respond(request, SCORE)


def reply(embedded: Embedded) -> Iterator[bytes]:
    """The reply in pieces, since thousands of documents take long to write: a number for each, as `form` has them."""
    options = decode_options(embedded.reply_options)
    logits = embedded.scores()
    yield from _FORMS[options.form](embedded, options, logits)


def _results(embedded: Embedded, options: ReplyOptions, logits: Sequence[float]) -> Iterator[bytes]:
    meta = {"tokens": {"input_tokens": embedded.tokens}}
    frame = _encode(schema.RerankReply(embedded.model, [], _usage(embedded), meta))
    results = (
        schema.RerankResult(place, _score(options, logits[place]), _document(options, place))
        for place in _best(options, logits)
    )
    return _filled(frame, b'"results":[', results)


def _list(embedded: Embedded, options: ReplyOptions, logits: Sequence[float]) -> Iterator[bytes]:
    ranks = (
        schema.Rank(place, _score(options, logits[place]), (_document(options, place) or {}).get("text"))
        for place in _best(options, logits)
    )
    return _filled(b"[]", b"[", ranks)


def _scores(embedded: Embedded, options: ReplyOptions, logits: Sequence[float]) -> Iterator[bytes]:
    frame = _encode(schema.ScoreReply(embedded.model, embedded.created, [], _usage(embedded)))
    data = (schema.Score(place, _score(options, logit)) for place, logit in enumerate(logits))
    return _filled(frame, b'"data":[', data)


def _filled(frame: bytes, opening: bytes, items: Iterator[Struct]) -> Iterator[bytes]:
    """`frame`: JSON with an empty list, which begins with `opening` and gets the items."""
    before, _, behind = frame.partition(opening)
    yield before + opening
    between = b""
    while some := list(islice(items, TOGETHER)):
        yield between + _encode(some)[1:-1]
        between = b","
    yield behind


def _best(options: ReplyOptions, logits: Sequence[float]) -> list[int]:
    """The places of those that are wanted, the best first; of equal ones the first first."""
    return sorted(range(len(logits)), key=lambda place: -logits[place])[: options.top]


def _score(options: ReplyOptions, logit: float) -> float:
    return logit if options.raw else probability(logit)


def _document(options: ReplyOptions, place: int) -> dict[str, Any] | None:
    if options.documents is None:
        return None
    document = options.documents[place]
    return {"text": document} if isinstance(document, str) else document


def _usage(embedded: Embedded) -> EmbeddingUsage:
    return EmbeddingUsage(embedded.tokens, embedded.tokens)


_FORMS = {"results": _results, "list": _list, "scores": _scores}
RERANK = EmbeddingEndpoint(reader=readers.RERANK, reply=reply, param="documents", namer=readers.NAME)
SCORE = EmbeddingEndpoint(reader=readers.SCORE, reply=reply, param="text_2", namer=readers.NAME)
