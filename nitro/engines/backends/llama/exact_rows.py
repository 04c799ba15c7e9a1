"""What `--deterministic` takes on llama.cpp: each token's logits are bitwise the same, whatever is computed beside it.

On the CPU a row of a step depends on the others by the kernels that are chosen for them, and by where its cells lie:

- Flash attention has two kernels beside the one that goes over a row's cells in order: for 64 rows and more, and for a
  single row among 512 cells and more (ggml-cpu's ops.cpp:9490 and 9547). It has them only where keys and values are of
  one type. So the values are BF16 here, beside keys in F16. They take the same memory.
- A sum over cells depends on their order, which in a pool is that of the holes that others left. So each slot has cells
  of its own here (a stream), which fill up in order.
- Some types of weights are multiplied by other kernels for eight rows than for one (K quants), or for two (F16). Which
  numbers of rows give what one row gives is tried when the model is loaded, and no more are computed at a time.

Line references are to llama.cpp as it is in llama-cpp-python 0.3.36.
"""

from typing import Any

import llama_cpp.llama_cpp as lib
import numpy as np

from nitro.engines.backends.llama import kv_cells
from nitro.engines.backends.llama.batch import Batch
from nitro.engines.hardware import memory
from nitro.engines.runner import Chunk, LoadError
from nitro.engines.types import SamplingParams

ROWS = (64, 31, 15, 7, 3, 1)  # n_ubatch, as it is tried; kernels change at powers of two
TRIED = (2, 3, 4, 5, 7, 8, 9, 15, 16, 31, 33, 63, 64)  # rows of a step, as far as n_ubatch goes
FEW = (2, 9)  # rows that are tried before more
BF16 = 30  # ggml_type of ggml.h; the bindings do not name it
CELLS = 256  # llama.cpp rounds a stream's cells up to a multiple of so many
SLOT = 0

NOT_ON_GPU = (
    "--deterministic is for the CPU, where it is known what makes rows exact; no GPU promises that. Leave it out, or "
    "add --gpu-layers 0."
)
NEVER_EXACT = (
    "--deterministic cannot be kept with this model: llama.cpp computes other numbers for a request beside others than "
    "for one alone, even row by row."
)


def plan(requested: int | None, trained: int, parallel: int, token_bytes: int, free_bytes: int) -> memory.KVPlan:
    """A whole context for each of the `parallel` requests, and for idle slots as far as half of the free memory goes.
    Raises LoadError where it does not go so far."""
    common = memory.plan(requested, trained, parallel, token_bytes, free_bytes)
    room = free_bytes // token_bytes // 2
    context = common.context if requested is not None else min(common.context, room // parallel // CELLS * CELLS)
    slots = min(room // max(_cells(context), 1), parallel + memory.SPARE_SLOTS)
    if slots < parallel or context < 1:
        raise LoadError(
            f"--deterministic keeps a KV cache for each request, and {parallel} times {common.context} tokens do not "
            f"fit into half of the free memory, {free_bytes // 2 / memory.MIB:.0f} MiB. Lower --ctx or --parallel."
        )
    return memory.KVPlan(context, slots * _cells(context), token_bytes=token_bytes)


def set_parameters(parameters: Any, plan: memory.KVPlan) -> None:
    """Change a context's parameters so that each sequence has its own cells, and attention one kernel."""
    parameters.n_seq_max = plan.pool // _cells(plan.context)
    parameters.kv_unified = False
    parameters.swa_full = True
    parameters.type_k = lib.GGML_TYPE_F16
    parameters.type_v = BF16
    parameters.flash_attn_type = lib.LLAMA_FLASH_ATTN_TYPE_ENABLED
    parameters.offload_kqv = False
    parameters.op_offload = False


def hold(context: Any, batch: Batch, rows: int) -> bool:
    """Whether this context computes, in steps of up to `rows` rows, what it computes row by row. Every slot is empty
    before and after."""
    vocabulary = lib.llama_vocab_n_tokens(lib.llama_model_get_vocab(lib.llama_get_model(context)))
    text = [(7 + 13 * i) % vocabulary for i in range(rows)]
    few = (count for count in FEW if count < rows)  # where it fails it mostly fails there, after a few steps
    if not all(_same_together(context, batch, text[:count], vocabulary) for count in (*few, rows)):
        return False
    alone = _in_one_step(context, batch, text[:1], vocabulary)
    return np.array_equal(_beside_others(context, batch, text[0], rows, vocabulary), alone)


def _same_together(context: Any, batch: Batch, text: list[int], vocabulary: int) -> bool:
    """Whether a text gives in steps of several rows, up to all of it, what it gives row by row."""
    rows = range(len(text))
    alone = np.concatenate([_logits(context, batch, [_chunk(SLOT, text, i, 1)], vocabulary) for i in rows])
    kv_cells.clear(context, SLOT)
    together = (_in_one_step(context, batch, text[:count], vocabulary) for count in TRIED if count <= len(text))
    return all(np.array_equal(logits, alone[: len(logits)]) for logits in together)


def in_order(chunks: list[Chunk], rows: int) -> list[Chunk]:
    """A step's chunks as llama_decode is to get them, so that it computes at most `rows` rows at a time.

    It takes together the sequences whose ids follow each other in the batch, one more than n_ubatch at most
    (llama-batch.cpp:579). So those that belong together come in rising order, and each such block before the lower one.
    """
    rising = sorted(chunks, key=lambda chunk: chunk.slot)
    blocks = [rising[i : i + rows] for i in range(0, len(rising), rows)]
    return [chunk for block in reversed(blocks) for chunk in block]


def _cells(context: int) -> int:
    return -(-context // CELLS) * CELLS


def _in_one_step(context: Any, batch: Batch, text: list[int], vocabulary: int) -> Any:
    logits = _logits(context, batch, [_chunk(SLOT, text, 0, len(text))], vocabulary)
    kv_cells.clear(context, SLOT)
    return logits


def _beside_others(context: Any, batch: Batch, first: int, rows: int, vocabulary: int) -> Any:
    """The logits after a first token in each slot, all in one step: float32 [different ones, vocabulary]."""
    slots = range(lib.llama_n_seq_max(context))
    chunks = in_order([_chunk(slot, [first], 0, 1) for slot in slots], rows)
    logits = _logits(context, batch, chunks, vocabulary)
    for slot in slots:
        kv_cells.clear(context, slot)
    return np.unique(logits, axis=0)


def _chunk(slot: int, text: list[int], at: int, count: int) -> Chunk:
    """So many tokens of a text from a position on, logits wanted after each."""
    return Chunk(slot, slot, text[: at + 1], at, at + 1, SamplingParams(), draft=text[at + 1 : at + count])


def _logits(context: Any, batch: Batch, chunks: list[Chunk], vocabulary: int) -> Any:
    """Compute them in one step. The logits after each token: float32 [tokens, vocabulary]. Raises LoadError."""
    if lib.llama_decode(context, batch.fill(chunks)) != 0:
        raise LoadError("llama.cpp could not compute the trial of --deterministic.")
    rows = [lib.llama_get_logits_ith(context, i) for i in range(sum(chunk.size for chunk in chunks))]
    return np.stack([np.ctypeslib.as_array(row, (vocabulary,)).copy() for row in rows])
