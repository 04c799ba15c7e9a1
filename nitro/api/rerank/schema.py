"""The replies, as structs: Jina's and Cohere's in one, text-embeddings-inference's, and vLLM's scores."""

from typing import Any, Literal

from msgspec import Struct

from nitro.api.openai.schema import EmbeddingUsage


class RerankResult(Struct, omit_defaults=True):
    """A document's score. `index`: its place in the request. `document`: if it was wanted; a text as {"text": …}."""

    index: int
    relevance_score: float
    document: dict[str, Any] | None = None


class RerankReply(Struct):
    """Results, the best first; of equal scores the one that came first."""

    model: str
    results: list[RerankResult]
    usage: EmbeddingUsage
    meta: dict[str, dict[str, Any]]  # Cohere's: {"tokens": {"input_tokens": …}}
    object: Literal["list"] = "list"


class Rank(Struct, omit_defaults=True):
    """text-embeddings-inference's result. `text`: if it was wanted."""

    index: int
    score: float
    text: str | None = None


class Score(Struct):
    """A pair's score."""

    index: int
    score: float
    object: Literal["score"] = "score"


class ScoreReply(Struct):
    """Scores, in the order of the pairs."""

    model: str
    created: int
    data: list[Score]
    usage: EmbeddingUsage
    object: Literal["list"] = "list"
