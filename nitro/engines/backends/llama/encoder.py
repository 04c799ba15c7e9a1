"""Vectors of a model that sees to both sides (BERT and its kin): llama.cpp pools them itself.

Such a model takes all tokens of a call at a time: an ubatch that is smaller ends the process (llama-context.cpp:1503).
A context allocates what its largest call may take, and clears logits that no encoder has, for each token of a call
(llama-context.cpp:2141): 120 kB each of BERT's vocabulary, 1 MB of XLM-RoBERTa's. So it begins with few tokens, is made
anew for a longer input, and small again when it is idle. To make one takes milliseconds: it holds nothing.
"""

import logging
from typing import Any, Literal

import llama_cpp.llama_cpp as lib
import numpy as np

from nitro.engines.backends.llama import embedding_info
from nitro.engines.backends.llama.embedding_batch import EmbeddingBatch
from nitro.engines.backends.llama.model import LlamaModel
from nitro.engines.backends.llama.parameters import FLASH_ATTENTION
from nitro.engines.hardware import memory
from nitro.engines.runner import LoadError
from nitro.engines.types import EmbeddingInfo, EngineSpec, Pooling

log = logging.getLogger("llama.cpp")

STEP_TOKENS = 512  # of several inputs together: each is compared with all of them, masked or not
STEP_INPUTS = 64
POOLING_TYPES: dict[Pooling | Literal["rank"], int] = {
    "mean": lib.LLAMA_POOLING_TYPE_MEAN,
    "cls": lib.LLAMA_POOLING_TYPE_CLS,
    "last": lib.LLAMA_POOLING_TYPE_LAST,
    "rank": lib.LLAMA_POOLING_TYPE_RANK,
}


class Encoder:
    """A model and its context."""

    def __init__(self, model: LlamaModel, pooling: Pooling | Literal["rank"], spec: EngineSpec):
        """`pooling`: with "rank" vectors are the scores of a reranker's labels. Raises LoadError."""
        self._model = model
        self._pooling = pooling
        ranks = pooling == "rank"
        self._width: int = (lib.llama_model_n_cls_out if ranks else lib.llama_model_n_embd_out)(model.pointer)
        self._alone = spec.deterministic  # rows of one sequence alone give what they always give
        self._threads = spec.threads or memory.physical_cores()
        self._flash_attention = FLASH_ATTENTION[spec.flash_attn]
        self._pointer: Any = None
        self._batch = EmbeddingBatch(STEP_TOKENS)
        self._make(STEP_TOKENS)

    def embed(self, sequences: list[list[int]]) -> list[bytes]:
        """See Embedder. Raises RuntimeError where llama.cpp cannot, LoadError where there is no memory."""
        if self._alone:
            return [self._computed([tokens])[0] for tokens in sequences]
        return self._computed(sequences)

    def _computed(self, sequences: list[list[int]]) -> list[bytes]:
        tokens = sum(map(len, sequences))
        if tokens > self._batch.room or not self._pointer:
            self._make(max(STEP_TOKENS, 2 ** (tokens - 1).bit_length()))
        rows = self._batch.fill([(number, 0, tokens) for number, tokens in enumerate(sequences)])
        code = lib.llama_encode(self._pointer, rows)
        if code != 0:
            raise RuntimeError(f"llama.cpp could not embed (code {code}). {self._model.log.last_error}".rstrip())
        return [self._pooled(number) for number in range(len(sequences))]

    def describe(self, longest: int) -> EmbeddingInfo:
        """`longest`: tokens of an input."""
        assert self._pooling != "rank"
        return embedding_info.describe(self._model, self._pooling, longest, STEP_TOKENS, STEP_INPUTS)

    def rest(self) -> None:
        """Be as small as at the start."""
        if self._batch.room > STEP_TOKENS:
            self._make(STEP_TOKENS)

    def free(self) -> None:
        """Free the context."""
        if self._pointer:
            lib.llama_free(self._pointer)
        self._pointer = None

    def _pooled(self, sequence: int) -> bytes:
        found = lib.llama_get_embeddings_seq(self._pointer, sequence)
        return np.ctypeslib.as_array(found, (self._width,)).tobytes()

    def _make(self, tokens: int) -> None:
        """A context for so many tokens in a call. Raises LoadError; then there is one for STEP_TOKENS, if possible."""
        self.free()
        self._model.log.begin_attempt()
        self._pointer = lib.llama_init_from_model(self._model.pointer, self._parameters(tokens))
        if not self._pointer:
            problem = f"llama.cpp cannot make a context of {tokens} tokens: {self._model.log.first_error}"
            if tokens > STEP_TOKENS:
                self._make(STEP_TOKENS)
            raise LoadError(problem)
        self._batch = EmbeddingBatch(tokens)

    def _parameters(self, tokens: int) -> Any:
        made = lib.llama_context_default_params()
        made.n_ctx = made.n_batch = made.n_ubatch = tokens
        made.n_seq_max = min(STEP_INPUTS, lib.llama_max_parallel_sequences())
        made.n_threads = made.n_threads_batch = self._threads
        made.embeddings = True
        made.pooling_type = POOLING_TYPES[self._pooling]
        made.flash_attn_type = self._flash_attention
        made.kv_unified = True
        made.no_perf = True
        return made
