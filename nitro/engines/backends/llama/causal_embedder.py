"""Vectors of a model that sees to one side, as chat models do: the tokens' vectors, pooled here.

It has a context of its own, with cells for the sequences that it computes at the time and no longer, so that nothing of
it touches what chat holds. The context is made with the first call, grows for a longer sequence, and is given back when
the engine rests. A sequence may go over several calls of llama.cpp: pooled by llama.cpp itself it would be the mean of
the last of them.
"""

from collections.abc import Callable
from typing import Any

import llama_cpp.llama_cpp as lib
import numpy as np
from msgspec.structs import replace

from nitro.engines.backends.llama import embedding_info
from nitro.engines.backends.llama.embedding_batch import EmbeddingBatch
from nitro.engines.backends.llama.model import LlamaModel
from nitro.engines.backends.llama.parameters import set_context_parameters
from nitro.engines.hardware import memory
from nitro.engines.runner import LoadError
from nitro.engines.types import EmbeddingInfo, EngineSpec, Pooling

STEP_TOKENS = 1024  # of several inputs together
STEP_INPUTS = 64
# Of one llama_decode, after which text may be generated. There are logits of each, which nobody wants
# (llama-context.cpp:1735).
ROWS = 32  # text that comes waits for the call at hand
GPU_ROWS = 64
CELLS = 512  # at first

Vector = Any  # a numpy array of float64 [width]


class CausalEmbedder:
    """Embeds with a loaded model, beside whatever else is done with it."""

    def __init__(self, model: LlamaModel, pooling: Pooling, spec: EngineSpec):
        """Nothing is allocated before the first call."""
        self._model = model
        self._pooling: Pooling = pooling
        self._width: int = lib.llama_model_n_embd_out(model.pointer)
        self._spec = spec
        # rows of one sequence alone give what they always give; and a recurrent state takes memory for each sequence
        self._alone = spec.deterministic or model.stateful
        self._pointer: Any = None
        self._cells = 0
        self._rows = GPU_ROWS if model.placement.on_gpu else ROWS
        self._batch = EmbeddingBatch(self._rows)
        self._meanwhile: Callable[[], None] = lambda: None
        self._begun = False  # whether a piece was computed since `embed` was called

    def embed(self, sequences: list[list[int]], meanwhile: Callable[[], None] = lambda: None) -> list[bytes]:
        """See Embedder. Raises LoadError where there is no memory, RuntimeError where llama.cpp cannot."""
        self._reserve(max(map(len, sequences)))
        self._meanwhile = meanwhile
        self._begun = False
        pooled: list[bytes] = []
        together: list[list[int]] = []
        for tokens in sequences:
            if together and (self._alone or sum(map(len, together)) + len(tokens) > self._rows):
                pooled += self._compute(together)
                together = []
            together.append(tokens)
        return pooled + self._compute(together)

    def describe(self, longest: int) -> EmbeddingInfo:
        """`longest`: tokens of an input."""
        about = embedding_info.describe(self._model, self._pooling, longest, STEP_TOKENS, STEP_INPUTS)
        return replace(about, pauses=True)

    def rest(self) -> None:
        """Nothing is to be embedded for a while: give back what that takes."""
        self.free()

    def free(self) -> None:
        """Give everything back. The next call makes it anew."""
        if self._pointer:
            lib.llama_free(self._pointer)
        self._pointer = None

    def _compute(self, sequences: list[list[int]]) -> list[bytes]:
        """Sequences that fit into a call together, or one alone, of any length."""
        try:
            if len(sequences) > 1:
                rows = self._decode([(number, 0, tokens) for number, tokens in enumerate(sequences)])
                ends = np.cumsum([len(tokens) for tokens in sequences])
                parts = np.split(rows, ends[:-1])
                return [self._result([part], len(part)) for part in parts]
            (tokens,) = sequences
            pieces = [self._decode([(0, start, rows)]) for start, rows in self._pieces(tokens)]
            return [self._result(pieces, len(tokens))]
        finally:
            self._clear()

    def _pieces(self, tokens: list[int]) -> list[tuple[int, list[int]]]:
        """A sequence in parts of a call each, and where each begins."""
        return [(start, tokens[start : start + self._rows]) for start in range(0, len(tokens), self._rows)]

    def _clear(self) -> None:
        """Forget what was computed."""
        lib.llama_memory_clear(lib.llama_get_memory(self._pointer), False)

    def _result(self, pieces: list[Any], tokens: int) -> bytes:
        """The pooled vector of rows that may have come in several pieces."""
        match self._pooling:
            case "mean":
                whole = sum(piece.sum(axis=0, dtype=np.float64) for piece in pieces) / tokens
            case "cls":
                whole = pieces[0][0]
            case "last":
                whole = pieces[-1][-1]
        return bytes(np.asarray(whole).astype("<f4").tobytes())

    def _decode(self, rows: list[tuple[int, int, list[int]]]) -> Any:
        """The vectors of all rows of one llama_decode: float32 [rows, width], as a copy."""
        self._call(rows)
        count = sum(len(tokens) for _, _, tokens in rows)
        return np.ctypeslib.as_array(lib.llama_get_embeddings(self._pointer), (count, self._width)).copy()

    def _call(self, rows: list[tuple[int, int, list[int]]]) -> None:
        if self._begun:
            self._meanwhile()
        self._begun = True
        code = lib.llama_decode(self._pointer, self._batch.fill(rows))
        if code != 0:
            raise RuntimeError(f"llama.cpp could not embed (code {code}). {self._model.log.last_error}".rstrip())

    def _reserve(self, longest: int) -> None:
        """Have a context with cells for a sequence of this length. Raises LoadError."""
        wanted = max(CELLS, 2 ** (longest - 1).bit_length())
        if self._pointer and wanted <= self._cells:
            return
        self.free()
        self._model.log.begin_attempt()
        self._pointer = lib.llama_init_from_model(self._model.pointer, self._parameters(wanted))
        if not self._pointer:
            raise LoadError(f"llama.cpp cannot make a context to embed with: {self._model.log.first_error}")
        self._cells = wanted

    def _parameters(self, cells: int) -> Any:
        made = lib.llama_context_default_params()
        made.n_ctx = cells
        made.n_batch = made.n_ubatch = self._rows
        # with 64 sequences and 32 rows llama.cpp ends the process
        made.n_seq_max = 1 if self._alone else min(STEP_INPUTS, self._rows, lib.llama_max_parallel_sequences())
        made.n_threads = made.n_threads_batch = self._spec.threads or memory.physical_cores()
        made.embeddings = True
        made.pooling_type = lib.LLAMA_POOLING_TYPE_NONE
        made.kv_unified = True
        made.no_perf = True
        set_context_parameters(made, self._spec)
        return made
