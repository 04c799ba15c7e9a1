"""The bodies of `POST /v1/rerank` and `/v1/score`, and how they become a `RerankRequest`. Run in an intake process.

Shapes: Jina's and Cohere's API references; `raw_scores` and `truncate` are text-embeddings-inference's, `text_1` and
`text_2` vLLM's.
"""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

import msgspec
from msgspec import Struct

from nitro.api import json_body
from nitro.api.names import Known
from nitro.api.openai.model_name import seconds_of
from nitro.api.rerank import names
from nitro.engines.sampling_params import INT32
from nitro.errors import ApiError
from nitro.models.setup import ModelSetup
from nitro.parameters import Param, check_count, check_request
from nitro.service.rerank_request import MAX_DOCUMENTS, RerankRequest

MODEL = Param(
    "The name of a model. Where one is offered, any name is answered, and listed in the header x-nitro-ignored."
)
RAW = Param("true: scores are the model's logits; false: their sigmoids, from 0 to 1.")
TRUNCATE = Param(
    "true: of a document that is too long for the model the beginning counts. false: it is a 400. Default: as "
    "`--embedding-overflow` says."
)
KEEP_ALIVE = Param(
    "How long the model stays loaded once it is idle: seconds, or as in 5m; 0: not at all; -1: for ever."
)


class RerankBody(Struct, frozen=True, kw_only=True):
    """`POST /v1/rerank`."""

    known: ClassVar[Mapping[str, Known]] = names.RERANK

    query: Annotated[str, Param("What is asked.", capability="rerank")]
    documents: Annotated[
        list[str | dict[str, Any]], Param("Texts, or objects with a `text`, which alone is read.", capability="rerank")
    ]
    model: Annotated[str | None, MODEL] = None
    top_n: Annotated[int | None, Param("How many results, the best first. Default: all.", ge=1)] = None
    return_documents: Annotated[bool | None, Param("Whether each result has its document.")] = None
    max_tokens_per_doc: Annotated[int | None, Param("Tokens of a document that are read.", ge=1, le=INT32)] = None
    raw_scores: Annotated[bool | None, RAW] = None
    truncate: Annotated[bool | None, TRUNCATE] = None
    keep_alive: Annotated[float | str | None, KEEP_ALIVE] = None


class ScoreBody(Struct, frozen=True, kw_only=True):
    """`POST /v1/score`."""

    known: ClassVar[Mapping[str, Known]] = names.SCORE

    text_1: Annotated[str | list[str], Param("A query for all texts, or one for each.", capability="rerank")]
    text_2: Annotated[str | list[str], Param("The texts.", capability="rerank")]
    model: Annotated[str | None, MODEL] = None
    raw_scores: Annotated[bool | None, RAW] = None
    truncate: Annotated[bool | None, TRUNCATE] = None
    keep_alive: Annotated[float | str | None, KEEP_ALIVE] = None


class ReplyOptions(Struct, frozen=True):
    """What the reply is to be. `documents`: as they were sent, where they are wanted back."""

    form: Literal["results", "list", "scores"]
    raw: bool = False
    top: int | None = None
    documents: list[str | dict[str, Any]] | None = None


encode_options = msgspec.msgpack.Encoder().encode
decode_options = msgspec.msgpack.Decoder(ReplyOptions).decode


def read_rerank(body: bytes, setup: ModelSetup) -> RerankRequest:
    """The RerankReader of `POST /v1/rerank`. Raises ApiError 400 with `param`."""
    request, told, given = json_body.decode(body, RerankBody)
    try:
        check_request(request)
        _check_query(request.query, "query")
        check_count("documents", request.documents, MAX_DOCUMENTS, "documents")
        if not request.documents:
            raise ApiError.invalid("documents", "a list of texts, got an empty one")
        options = ReplyOptions(
            form="list" if given.get("documents") == names.TEXTS else "results",
            raw=bool(request.raw_scores),
            top=request.top_n,
            documents=request.documents if request.return_documents else None,
        )
        return RerankRequest(
            queries=[request.query],
            documents=[_text(document, place) for place, document in enumerate(request.documents)],
            model=request.model,
            document_tokens=request.max_tokens_per_doc,
            overflow=_overflow(request.truncate),
            keep_alive=seconds_of(request.keep_alive),
            reply_options=encode_options(options),
            ignored=told,
            param_names=given,
        )
    except ApiError as error:
        raise error.renamed(given) if given else error from None


def read_score(body: bytes, setup: ModelSetup) -> RerankRequest:
    """The RerankReader of `POST /v1/score`. Raises ApiError 400 with `param`."""
    request, told, given = json_body.decode(body, ScoreBody)
    try:
        queries, _ = _listed(request.text_1, "text_1")
        documents, listed = _listed(request.text_2, "text_2")
        for place, query in enumerate(queries):
            _check_query(query, f"text_1[{place}]" if isinstance(request.text_1, list) else "text_1")
        if len(queries) not in (1, len(documents)):
            raise ApiError.invalid("text_1", f"1 text, or {len(documents)} as text_2 has, got {len(queries)}")
        return RerankRequest(
            queries=queries,
            documents=documents,
            listed=listed,
            model=request.model,
            overflow=_overflow(request.truncate),
            keep_alive=seconds_of(request.keep_alive),
            reply_options=encode_options(ReplyOptions("scores", bool(request.raw_scores))),
            ignored=told,
            param_names={"documents": "text_2", "query": "text_1", **_renamed(given)},
        )
    except ApiError as error:
        raise error.renamed(given) if given else error from None


def _renamed(given: Mapping[str, str]) -> dict[str, str]:
    """The client's names, by ours of RerankRequest."""
    ours = {"text_1": "query", "text_2": "documents"}
    return {ours.get(name, name): theirs for name, theirs in given.items()}


def _text(document: str | dict[str, Any], place: int) -> str:
    if isinstance(document, str):
        return document
    text = document.get("text")
    if not isinstance(text, str):
        raise ApiError.invalid(f"documents[{place}]", "a text, or an object with a text as its `text`")
    return text


def _listed(given: str | list[str], name: str) -> tuple[list[str], bool]:
    """The texts, and whether there is a list of them."""
    if isinstance(given, str):
        return [given], False
    check_count(name, given, MAX_DOCUMENTS, "texts")
    if not given:
        raise ApiError.invalid(name, "a text, or a list of texts, got an empty one")
    return given, True


def _check_query(query: str, name: str) -> None:
    if not query.strip():
        raise ApiError.invalid(name, "a text, got an empty one")


def _overflow(truncate: bool | None) -> Literal["truncate", "error"] | None:
    return None if truncate is None else "truncate" if truncate else "error"
