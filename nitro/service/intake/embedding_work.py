"""A request for embeddings, read: what of it the model can do, with the prefixes that its configuration asks for."""

from nitro.engines.types import EmbeddingInfo
from nitro.engines.work import EmbeddingWork, EncodedEmbeddingWork, encode_embedding_work
from nitro.errors import ApiError
from nitro.models.setup import ModelSetup
from nitro.service.embedding_request import EmbeddingRequest

# What servers and models call the same: OpenAI-like ones and sentence-transformers, Cohere, Jina, E5 and Nomic.
SYNONYMS = (
    ("query", "search_query", "retrieval.query", "web_search_query"),
    ("document", "passage", "search_document", "retrieval.passage", "retrieval.document"),
    ("classification", "classify"),
    ("clustering", "cluster", "separation"),
    ("similarity", "text-matching", "sts", "semantic_similarity"),
)


def work_of(request: EmbeddingRequest, setup: ModelSetup) -> tuple[EncodedEmbeddingWork, list[str]]:
    """What the engine is sent, and the parameters of the request without effect. Raises ApiError, PromptRejected."""
    info = setup.info.embedding
    if info is None:
        raise ApiError(
            400,
            f"The model '{setup.names[0]}' makes no embeddings.",
            param=request.param("model"),
            code="invalid_value",
        )
    _check_dimensions(request, info, setup.names[0])
    prefix, unused = _prefix(request, info)
    inputs = [prefix + given if isinstance(given, str) else given for given in request.inputs]
    work = EmbeddingWork(
        inputs,
        request.param("input"),
        request.listed,
        None if request.dimensions == info.width else request.dimensions,
        request.overflow,
    )
    return encode_embedding_work(work), unused


def _check_dimensions(request: EmbeddingRequest, info: EmbeddingInfo, model: str) -> None:
    asked, name = request.dimensions, request.param("dimensions")
    if asked is None or asked == info.width:
        return
    if info.dimensions is None:
        raise ApiError.invalid(name, f"{info.width}: '{model}' was not trained for vectors of another length")
    if info.dimensions and asked not in info.dimensions:
        known = ", ".join(map(str, sorted({*info.dimensions, info.width})))
        raise ApiError.invalid(name, f"one of {known}, for which '{model}' was trained, got {asked}")
    if not 1 <= asked <= info.width:
        raise ApiError.invalid(name, f"at most {info.width}, got {asked}")


def _prefix(request: EmbeddingRequest, info: EmbeddingInfo) -> tuple[str, list[str]]:
    """What goes before each text, and "input_type" where it has no effect. Raises ApiError for a type that the model's
    configuration does not have."""
    kind = request.input_type
    if kind is None:
        return info.default_prefix, []
    name = request.param("input_type")
    if not info.prefixes:
        return "", [name]
    found = next((prefix for known, prefix in info.prefixes.items() if _same(known, kind)), None)
    if found is None:
        raise ApiError.invalid(name, f"one of {', '.join(info.prefixes)}, which the model has, got '{kind}'")
    return found, []


def _same(known: str, asked: str) -> bool:
    one, other = known.casefold(), asked.casefold()
    return one == other or any(one in names and other in names for names in SYNONYMS)
