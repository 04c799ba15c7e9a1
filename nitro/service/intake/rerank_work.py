"""A request for scores, read: the engine's work."""

from nitro.engines.work import EmbeddingWork, EncodedEmbeddingWork, encode_embedding_work
from nitro.errors import ApiError
from nitro.models.setup import ModelSetup
from nitro.service.rerank_request import RerankRequest


def work_of(request: RerankRequest, setup: ModelSetup) -> EncodedEmbeddingWork:
    """What the engine is sent. Raises ApiError, PromptRejected."""
    if setup.info.rerank is None:
        raise ApiError(
            400,
            f"The model '{setup.names[0]}' is no reranker: it cannot score documents for a query.",
            param=request.param("model"),
            code="invalid_value",
        )
    work = EmbeddingWork(
        list(request.documents),
        request.param("documents"),
        request.listed,
        overflow=request.overflow,
        queries=request.queries,
        query_param=request.param("query"),
        document_tokens=request.document_tokens,
    )
    return encode_embedding_work(work)
