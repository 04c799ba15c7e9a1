"""Opens a GGUF: as a model that generates text, or as one that embeds."""

from pathlib import Path
from typing import Any

from nitro.engines.backends.llama.embedding_runner import LlamaEmbeddingRunner
from nitro.engines.backends.llama.model import read_header
from nitro.engines.backends.llama.runner import LlamaRunner
from nitro.engines.runner import LoadError
from nitro.engines.types import EngineSpec
from nitro.gguf import embedding


def open_model(spec: EngineSpec) -> Any:
    """A loaded ModelRunner. Raises LoadError."""
    head = read_header(Path(spec.model))
    if kind := embedding.kind_of(head):
        return LlamaEmbeddingRunner(spec, head, kind)
    if embedding.ranks(head):
        raise LoadError(f"{spec.model} is a model that ranks texts, and makes neither text nor embeddings.")
    return LlamaRunner(spec, head)
