"""An embedding model on llama.cpp: it makes vectors, and no text."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from nitro.engines.backends.llama import embedding_info
from nitro.engines.backends.llama.causal_embedder import CausalEmbedder
from nitro.engines.backends.llama.encoder import Encoder
from nitro.engines.backends.llama.model import LlamaModel
from nitro.engines.embedder import EmbedsOnly, Found, More
from nitro.engines.runner import LoadError
from nitro.engines.types import EmbeddingInfo, EngineSpec
from nitro.gguf.embedding import EmbeddingKind
from nitro.gguf.header import Header


class LlamaEmbeddingRunner(EmbedsOnly):
    """The model, and what embeds with it."""

    def __init__(self, spec: EngineSpec, head: Header, kind: EmbeddingKind):
        """`head`: the file's. Raises LoadError."""
        if spec.draft:
            raise LoadError(f"--draft is for models that generate text, and {spec.model} embeds. Leave it out.")
        self._model = LlamaModel(spec, head)
        self._embedder: CausalEmbedder | Encoder | None = None
        self.tokenizer = self._model.tokenizer
        trained = self._model.trained_context
        try:
            self._embedder = (CausalEmbedder if kind.causal else Encoder)(self._model, kind.pooling, spec)
            about = self._embedder.describe(min(spec.context or trained, trained))
            self.info = embedding_info.without_text(self._model, spec, about)
            self._warm_up(about)
        except LoadError:
            self.close()
            raise

    def embed(self, sequences: list[list[int]], meanwhile: Callable[[], None] = lambda: None) -> list[bytes]:
        """See Embedder."""
        assert self._embedder
        if isinstance(self._embedder, Encoder):
            return self._embedder.embed(sequences)
        return self._embedder.embed(sequences, meanwhile)

    def embed_in_lanes(self, sequences: list[list[int]], found: Found, more: More) -> None:
        """See LanedEmbedder."""
        assert isinstance(self._embedder, Encoder)
        self._embedder.embed_in_lanes(sequences, found, more)

    def release_idle_memory(self) -> None:
        """Give back what a long input took."""
        if self._embedder:
            self._embedder.rest()

    def close(self) -> None:
        """Free context and model, in this order."""
        if self._embedder:
            self._embedder.free()
        self._model.close()

    def _warm_up(self, about: EmbeddingInfo) -> None:
        """Raises LoadError where it gives no numbers."""
        tokens = [*about.before, *self.tokenizer.encode(embedding_info.SAMPLE), *about.after]
        vector: Any = np.frombuffer(self.embed([tokens[: about.longest]])[0], "<f4")
        if not math.isfinite(float(np.abs(vector).sum())):
            raise LoadError(f"{self._model.path} computes what is no number: its weights are damaged.")
