"""A step → calls of llama_decode: texts of all chunks together, rows of media by themselves, and before those."""

from typing import Any

import llama_cpp.llama_cpp as lib

from nitro.engines.backends.llama import exact_rows, media_batch
from nitro.engines.backends.llama.batch import Batch
from nitro.engines.backends.llama.context import STEP_TOKENS, LlamaContext
from nitro.engines.backends.llama.media_batch import RowsBatch, RowsPart
from nitro.engines.backends.llama.positions import Run
from nitro.engines.backends.llama.slot_kv import PoolKV
from nitro.engines.runner import Chunk

# llama_decode's return codes (llama.h:994)
DECODED = 0
NO_KV_SLOT = 1
FATAL = -2  # and below: no memory for the graph, or a device that cannot compute it, of which Metal's may lack memory


class Decoder:
    """Computes steps in one context. `tokens` has the logits' rows afterwards."""

    def __init__(self, context: LlamaContext, tokens: Batch, sections: int, exact: bool):
        """`sections`: numbers of a row's position. `exact`: as --deterministic wants it."""
        self._context = context
        self._tokens = tokens
        self._exact = exact
        self._sections = sections
        self._rows: RowsBatch | None = None  # made with the first medium

    def compute(self, batch: list[Chunk], kv: PoolKV) -> int:
        """Compute a batch whose slots are placed. The code of the last call: DECODED, or why not all is computed."""
        first, last = media_batch.split(batch)
        for part in first:
            code = self._compute_rows(part, kv) if isinstance(part, RowsPart) else self._compute_texts([part], kv)
            if code != DECODED:
                return code
        return self._compute_texts(last, kv)

    def _compute_texts(self, chunks: list[Chunk], kv: PoolKV) -> int:
        calls = kv.arrange(chunks)
        if self._exact and chunks:
            calls = [exact_rows.in_order(chunks, self._context.parameters.n_ubatch)]
        for call in calls:
            rows = self._tokens.fill(call, kv.sequence, kv.position)
            code = self._decode(rows, {kv.sequence(chunk.slot): _ahead(chunk) for chunk in call})
            if code != DECODED:
                return code
        return DECODED

    def _compute_rows(self, part: RowsPart, kv: PoolKV) -> int:
        """As many at a time as llama.cpp takes."""
        self._rows = self._rows or RowsBatch(STEP_TOKENS, self._sections)
        sequence = kv.sequence(part.slot)
        position = kv.position(part.slot, part.start - part.first)
        for piece in part.pieces(STEP_TOKENS):
            rows = self._rows.fill(piece, sequence, position)
            code = self._decode(rows, {sequence: part.last - piece.first}, part.rows.causal)
            if code != DECODED:
                return code
        run = part.run
        if run.atomic:
            kv.holds(part.slot, Run(part.start, run.tokens, run.positions))
        return DECODED

    def _decode(self, rows: Any, more: dict[int, int], causal: bool = True) -> int:
        """One llama_decode; again with more cells where it finds none. `more`: tokens that the sequences will be given
        soon. `causal`: each row sees those before it only."""
        code = self._call(rows, causal)
        while code == NO_KV_SLOT and self._context.grow(more):
            code = self._call(rows, causal)
        return code

    def _call(self, rows: Any, causal: bool) -> int:
        if causal:
            return int(lib.llama_decode(self._context.pointer, rows))
        lib.llama_set_causal_attn(self._context.pointer, False)
        try:
            return int(lib.llama_decode(self._context.pointer, rows))
        finally:
            lib.llama_set_causal_attn(self._context.pointer, True)


def _ahead(chunk: Chunk) -> int:
    """Tokens that its slot will be given soon: all of a prompt, of which this chunk may be a part."""
    return max(chunk.size, len(chunk.tokens) - chunk.start)
