"""`POST /v1/rerank` (Cohere's `/v2/rerank`, llama-server's `/v1/reranking`) and `/v1/score`: how well documents
answer a query.

A score is the sigmoid of the model's logit, from 0 to 1; with `raw_scores` it is the logit.
"""

from collections.abc import Iterator
from typing import Any

import msgspec
from litestar import Request, Response, post

from nitro.api import readers
from nitro.api.embedding_endpoint import EmbeddingEndpoint, respond
from nitro.api.openai.schema import EmbeddingUsage
from nitro.api.rerank import schema
from nitro.api.rerank.requests import ReplyOptions, decode_options
from nitro.service.embedding import Embedded
from nitro.service.rerank_request import probability

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
    """The reply, in one piece: a number for each document."""
    options = decode_options(embedded.reply_options)
    logits = [embedded.numbers(place)[0] for place in range(len(embedded.vectors))]
    scores = logits if options.raw else [probability(logit) for logit in logits]
    best = sorted(range(len(logits)), key=lambda place: -logits[place])[: options.top]
    yield _encode(_FORMS[options.form](embedded, options, scores, best))


def _results(embedded: Embedded, options: ReplyOptions, scores: list[float], best: list[int]) -> schema.RerankReply:
    results = [schema.RerankResult(place, scores[place], _document(options, place)) for place in best]
    meta = {"tokens": {"input_tokens": embedded.tokens}}
    return schema.RerankReply(embedded.model, results, _usage(embedded), meta)


def _list(embedded: Embedded, options: ReplyOptions, scores: list[float], best: list[int]) -> list[schema.Rank]:
    texts = [(_document(options, place) or {}).get("text") for place in best]
    return [schema.Rank(place, scores[place], text) for place, text in zip(best, texts, strict=True)]


def _scores(embedded: Embedded, options: ReplyOptions, scores: list[float], best: list[int]) -> schema.ScoreReply:
    data = [schema.Score(place, score) for place, score in enumerate(scores)]
    return schema.ScoreReply(embedded.model, embedded.created, data, _usage(embedded))


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
