"""A context of llama.cpp for a model that sees to both sides. It holds nothing between two calls.

Such a model takes all tokens of a call at a time: an ubatch that is smaller ends the process (llama-context.cpp:1503).
A context allocates what its largest call may take, and clears logits that no encoder has, for each token of a call
(llama-context.cpp:2141): 120 kB each of BERT's vocabulary, 1 MB of XLM-RoBERTa's. So it begins with few tokens, is made
anew for a longer input, and small again when it is idle. To make one takes milliseconds.
"""

from typing import Any

import llama_cpp.llama_cpp as lib
import numpy as np

from nitro.engines.backends.llama.embedding_batch import EmbeddingBatch
from nitro.engines.backends.llama.model import LlamaModel
from nitro.engines.runner import LoadError

ROOM = 512  # tokens of a call, at first
MOST_SEQUENCES = 64  # of a call

Sequences = list[tuple[int, list[int]]]  # a number of the caller's, and tokens


class EncoderContext:
    """What computes one call at a time, on one thread at a time."""

    def __init__(self, model: LlamaModel, width: int, pooling_type: int, flash_attention: int):
        """`width`: numbers in a vector. Raises LoadError."""
        self._model = model
        self._width = width
        self._pooling_type = pooling_type
        self._flash_attention = flash_attention
        self._pointer: Any = None
        self._make(ROOM)

    def embed(self, sequences: Sequences, threads: int) -> dict[int, bytes]:
        """The pooled vectors of sequences of the context's room in all, or of one that is longer, by the caller's
        numbers. Raises LoadError where there is no memory, RuntimeError where llama.cpp cannot."""
        rows = sum(len(tokens) for _, tokens in sequences)
        if rows > self._batch.room:
            self._make(2 ** (rows - 1).bit_length())
        batch = self._batch.fill([(place, 0, tokens) for place, (_, tokens) in enumerate(sequences)])
        lib.llama_set_n_threads(self._pointer, threads, threads)
        code = lib.llama_encode(self._pointer, batch)
        if code != 0:
            raise RuntimeError(f"llama.cpp could not embed (code {code}). {self._model.log.last_error}".rstrip())
        return {number: self._pooled(place) for place, (number, _) in enumerate(sequences)}

    def rest(self) -> None:
        """Be as small as at the start."""
        if self._batch.room > ROOM:
            self._make(ROOM)

    def free(self) -> None:
        """Free the context."""
        if self._pointer:
            lib.llama_free(self._pointer)
        self._pointer = None

    def _pooled(self, place: int) -> bytes:
        found = lib.llama_get_embeddings_seq(self._pointer, place)
        return np.ctypeslib.as_array(found, (self._width,)).tobytes()

    def _make(self, tokens: int) -> None:
        """A context for so many tokens in a call. Raises LoadError; then there is one of ROOM, if possible."""
        self.free()
        self._model.log.begin_attempt()
        self._pointer = lib.llama_init_from_model(self._model.pointer, self._parameters(tokens))
        if not self._pointer:
            problem = f"llama.cpp cannot make a context of {tokens} tokens: {self._model.log.first_error}"
            if tokens > ROOM:
                self._make(ROOM)
            raise LoadError(problem)
        self._batch = EmbeddingBatch(tokens)

    def _parameters(self, tokens: int) -> Any:
        made = lib.llama_context_default_params()
        made.n_ctx = made.n_batch = made.n_ubatch = tokens
        made.n_seq_max = min(MOST_SEQUENCES, lib.llama_max_parallel_sequences())
        made.embeddings = True
        made.pooling_type = self._pooling_type
        made.flash_attn_type = self._flash_attention
        made.kv_unified = True
        made.no_perf = True
        return made
