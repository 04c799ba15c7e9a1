"""A reranker on llama.cpp: it scores pairs of texts, and makes no text.

An encoder's score is its logit. Of a Qwen3 reranker llama.cpp gives the shares of "yes" and "no"; the logit is the
logarithm of their quotient, of which the sigmoid is the share of "yes".
"""

import math
from typing import Any

import llama_cpp.llama_cpp as lib
import numpy as np

from nitro.engines.backends.llama import embedding_info
from nitro.engines.backends.llama.causal_embedder import CausalEmbedder
from nitro.engines.backends.llama.encoder import STEP_INPUTS, Encoder
from nitro.engines.backends.llama.model import LlamaModel
from nitro.engines.embedder import EmbedsOnly, Pair
from nitro.engines.runner import LoadError
from nitro.engines.types import EngineSpec, RerankInfo
from nitro.gguf.header import Header
from nitro.gguf.reranking import RankKind

STEP_TOKENS = 512  # of several pairs together, where each is computed alone
LEAST = 1e-30  # a share that is smaller is taken for this


class LlamaRankRunner(EmbedsOnly):
    """The model, and what scores with it."""

    def __init__(self, spec: EngineSpec, head: Header, kind: RankKind):
        """`head`: the file's. Raises LoadError."""
        if spec.draft:
            raise LoadError(f"--draft is for models that generate text, and {spec.model} is a reranker. Leave it out.")
        self._model = LlamaModel(spec, head)
        self._kind = kind
        self._ranker: _CausalRanker | Encoder | None = None
        self.tokenizer = self._model.tokenizer
        trained = self._model.trained_context
        try:
            self._check_labels()
            self._ranker = _CausalRanker(self._model, spec) if kind.causal else Encoder(self._model, "rank", spec)
            about = self._rerank(min(spec.context or trained, trained))
            self.info = embedding_info.without_text(self._model, spec, about)
            self._warm_up()
        except LoadError:
            self.close()
            raise

    def score(self, pairs: list[Pair]) -> list[float]:
        """See Scorer."""
        assert self._ranker
        found = self._ranker.embed([pair.tokens for pair in pairs])
        return [self._logit(np.frombuffer(numbers, "<f4")) for numbers in found]

    def release_idle_memory(self) -> None:
        """Give back what a long pair took."""
        if self._ranker:
            self._ranker.rest()

    def close(self) -> None:
        """Free context and model, in this order."""
        if self._ranker:
            self._ranker.free()
        self._model.close()

    def _logit(self, numbers: Any) -> float:
        if not self._kind.causal:
            return float(numbers[0])
        yes, no = (max(float(share), LEAST) for share in numbers)
        return math.log(yes) - math.log(no) if math.isfinite(yes + no) else math.nan

    def _check_labels(self) -> None:
        count, wanted = lib.llama_model_n_cls_out(self._model.pointer), 2 if self._kind.causal else 1
        if count != wanted:
            raise LoadError(f"{self._model.path} is a classifier with {count} labels; a reranker has {wanted}.")

    def _warm_up(self) -> None:
        """Raises LoadError where it gives no numbers."""
        about = self.info.rerank
        assert about
        word = self.tokenizer.encode(embedding_info.SAMPLE)
        tokens = [*about.before, *word, *about.between, *word, *about.after][: about.longest]
        if not math.isfinite(self.score([Pair(tokens, len(tokens))])[0]):
            raise LoadError(f"{self._model.path} computes what is no number: its weights are damaged.")

    def _rerank(self, longest: int) -> RerankInfo:
        encoder = self._ranker if isinstance(self._ranker, Encoder) else None
        room: dict[str, Any] = {
            "longest": longest,
            "step_tokens": encoder.step_tokens if encoder else STEP_TOKENS,
            "step_inputs": min(STEP_INPUTS, lib.llama_max_parallel_sequences()),
            "lanes": encoder.lanes if encoder else 1,
        }
        if self._kind.causal:
            text, _, after = self._kind.template.partition("{document}")
            return RerankInfo(text=text + "{document}", after=self.tokenizer.encode(after), **room)
        before, after_one = embedding_info.around(self._model)
        separator = lib.llama_vocab_sep(self._model.vocab)
        twice = lib.llama_vocab_get_add_eos(self._model.vocab) and lib.llama_vocab_get_add_sep(self._model.vocab)
        between = [*after_one, *([separator] if twice else [])]
        return RerankInfo(before=before, between=between, after=after_one, **room)


class _CausalRanker(CausalEmbedder):
    """Scores read at the last token of a text, by llama.cpp: it keeps those of the last call."""

    def __init__(self, model: LlamaModel, spec: EngineSpec):
        super().__init__(model, "last", spec)
        self._alone = True
        self._labels = lib.llama_model_n_cls_out(model.pointer)

    def _compute(self, sequences: list[list[int]]) -> list[bytes]:
        (tokens,) = sequences
        try:
            for start, rows in self._pieces(tokens):
                self._call([(0, start, rows)])
            found = lib.llama_get_embeddings_seq(self._pointer, 0)
            return [np.ctypeslib.as_array(found, (self._labels,)).tobytes()]
        finally:
            self._clear()

    def _parameters(self, cells: int) -> Any:
        made = super()._parameters(cells)
        made.pooling_type = lib.LLAMA_POOLING_TYPE_RANK
        return made
