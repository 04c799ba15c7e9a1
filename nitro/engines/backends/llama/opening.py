"""Opens a GGUF: as a model that generates text, as one that embeds, or as one that ranks."""

from pathlib import Path
from typing import Any

from nitro.engines.backends.llama.embedding_runner import LlamaEmbeddingRunner
from nitro.engines.backends.llama.model import read_header
from nitro.engines.backends.llama.rank_runner import LlamaRankRunner
from nitro.engines.backends.llama.runner import NO_PROJECTOR, LlamaRunner
from nitro.engines.runner import LoadError
from nitro.engines.types import EngineSpec
from nitro.gguf import embedding, reranking
from nitro.gguf.header import Header
from nitro.gguf.reranking import RankKind


def open_model(spec: EngineSpec) -> Any:
    """A loaded ModelRunner. Raises LoadError."""
    head = read_header(Path(spec.model))
    if spec.mmproj not in (None, NO_PROJECTOR) and (reranking.is_reranker(head) or embedding.kind_of(head)):
        raise LoadError(f"--mmproj is for a model that makes text, which {spec.model} does not. Leave it out.")
    if reranking.is_reranker(head):
        return LlamaRankRunner(spec, head, _rank_kind(head))
    if kind := embedding.kind_of(head):
        return LlamaEmbeddingRunner(spec, head, kind)
    return LlamaRunner(spec, head)


def _rank_kind(head: Header) -> RankKind:
    try:
        return reranking.kind_of(head)
    except ValueError as error:
        raise LoadError(str(error)) from None
