"""Vectors of a model that sees to both sides (BERT and its kin): llama.cpp pools them itself.

Sequences go into lanes, each with a context and its share of the threads. There no thread waits for another one after
each operation, and fewer tokens are compared with those of other sequences. A sequence that is alone, or long, has all
threads.
"""

from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Literal

import llama_cpp.llama_cpp as lib
from msgspec.structs import replace

from nitro.engines.backends.llama import embedding_info
from nitro.engines.backends.llama.encoder_context import MOST_SEQUENCES, ROOM, EncoderContext, Sequences
from nitro.engines.backends.llama.model import LlamaModel
from nitro.engines.backends.llama.parameters import FLASH_ATTENTION
from nitro.engines.embedder import Found, More
from nitro.engines.hardware import memory
from nitro.engines.types import EmbeddingInfo, EngineSpec, Pooling

TOGETHER = 128  # tokens of several sequences in a lane: each is compared with all of them, masked or not
MOST_LANES = 2  # each may take memory for ROOM tokens (models/fit.py)
STEP_INPUTS = MOST_SEQUENCES
POOLING_TYPES: dict[Pooling | Literal["rank"], int] = {
    "mean": lib.LLAMA_POOLING_TYPE_MEAN,
    "cls": lib.LLAMA_POOLING_TYPE_CLS,
    "last": lib.LLAMA_POOLING_TYPE_LAST,
    "rank": lib.LLAMA_POOLING_TYPE_RANK,
}


class Encoder:
    """A model and its contexts."""

    def __init__(self, model: LlamaModel, pooling: Pooling | Literal["rank"], spec: EngineSpec):
        """`pooling`: with "rank" vectors are the scores of a reranker's labels. Raises LoadError."""
        self._model = model
        self._pooling = pooling
        ranks = pooling == "rank"
        width: int = (lib.llama_model_n_cls_out if ranks else lib.llama_model_n_embd_out)(model.pointer)
        self._alone = spec.deterministic  # rows of one sequence alone give what they always give
        self._threads = spec.threads or memory.physical_cores()
        self.lanes = 1 if model.placement.on_gpu else min(self._threads, MOST_LANES)
        self.step_tokens = TOGETHER * self.lanes if self.lanes > 1 else ROOM
        self._pool = ThreadPoolExecutor(self.lanes, "lane")
        self._contexts: list[EncoderContext] = []
        for _ in range(self.lanes):
            made = EncoderContext(model, width, POOLING_TYPES[pooling], FLASH_ATTENTION[spec.flash_attn])
            self._contexts.append(made)

    def embed(self, sequences: list[list[int]]) -> list[bytes]:
        """See Embedder. Raises LoadError where there is no memory, RuntimeError where llama.cpp cannot."""
        pooled: dict[int, bytes] = {}
        self.embed_in_lanes(sequences, pooled.update, lambda *_: [])
        return [pooled[place] for place in range(len(sequences))]

    def embed_in_lanes(self, sequences: list[list[int]], found: Found, more: More) -> None:
        """See LanedEmbedder. Raises what `embed` does."""
        order = sorted(enumerate(sequences), key=lambda sequence: -len(sequence[1]))
        alone = sum(len(tokens) > ROOM for tokens in sequences)
        if self._alone or len(order) - alone == 1:
            alone = len(order)
        for sequence in order[:alone]:
            found(self._contexts[0].embed([sequence], self._threads))
        if len(order) > alone:
            self._side_by_side(order[alone:], len(order), found, more)

    def describe(self, longest: int) -> EmbeddingInfo:
        """`longest`: tokens of an input."""
        assert self._pooling != "rank"
        about = embedding_info.describe(self._model, self._pooling, longest, self.step_tokens, STEP_INPUTS)
        return replace(about, lanes=self.lanes)

    def rest(self) -> None:
        """Be as small as at the start."""
        for context in self._contexts:
            context.rest()

    def free(self) -> None:
        """Free the contexts."""
        for context in self._contexts:
            context.free()
        self._pool.shutdown()

    def _side_by_side(self, sequences: Sequences, given: int, found: Found, more: More) -> None:
        """Several sequences, the longest first, and what `more` gives; `given`: sequences there were so far."""
        lanes: list[Sequences] = [[] for _ in range(min(self.lanes, len(sequences)))]
        for sequence in sequences:
            min(lanes, key=lambda lane: sum(len(tokens) for _, tokens in lane)).append(sequence)
        threads = self._threads // len(lanes)
        running: dict[Future[dict[int, bytes]], EncoderContext] = {}
        try:
            for context, lane in zip(self._contexts, lanes, strict=False):
                running[self._pool.submit(context.embed, lane, threads)] = context
            while running:
                done = next(iter(wait(running, return_when=FIRST_COMPLETED).done))
                context = running.pop(done)
                found(done.result())
                if following := list(enumerate(more(TOGETHER, ROOM), given)):
                    given += len(following)
                    running[self._pool.submit(context.embed, following, threads)] = context
        finally:
            wait(running)  # whatever one raises: a context is for one call at a time
