"""llama.cpp's context: the KV cache and the buffers of computing, how large they are, and with what parameters.

Line references are to llama.cpp as it is in llama-cpp-python 0.3.36.
"""

import ctypes
import logging
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import llama_cpp.llama_cpp as lib

from nitro.engines.backends.llama import attention_pieces, exact_rows, footprint, kv_cells
from nitro.engines.backends.llama.batch import Batch
from nitro.engines.backends.llama.model import LlamaModel
from nitro.engines.backends.llama.parameters import block_of, set_context_parameters, stretches
from nitro.engines.hardware import memory
from nitro.engines.runner import LoadError
from nitro.engines.types import EngineSpec

log = logging.getLogger("llama.cpp")

STEP_TOKENS = 2048  # n_batch: what one llama_decode takes; more aborts the process
# Rows of flash attention on the CPU (ggml-cpu's ops.cpp:9547). In a full tile each row goes over the cells of all the
# tile's slots, so a decode there costs three times as much; of fewer rows each goes over its own, token by token, which
# for a prompt of thousands costs half as much again as a tile.
CPU_TILE = 64
# n_ubatch: what the device computes at a time. On the CPU one tile, or several where all of them are full
# (StreamKV.arrange): with rows of half a tile among them, all of five greedy answers changed when asked for again.
GPU_TOKENS = 512
CPU_TOKENS = CPU_TILE
STREAM_TOKENS = 4 * CPU_TILE
TILED_TYPES = ({lib.GGML_TYPE_F16}, {lib.GGML_TYPE_F32})  # of keys and values: others are computed row by row

# Cells of a stream at first. llama.cpp clears all cells when it makes a context, so that all of them take memory.
FIRST_CELLS = 512
CELLS = exact_rows.CELLS  # llama.cpp rounds a stream's cells up to a multiple of so many
GROWTH = 2  # at least; so copying a token costs as much, however often its context grows
HEADROOM = 1.25  # what is wanted is soon followed by more: an answer
IDLE_SHARE = 4  # an idle context shrinks where at most one cell in so many is used


class LlamaContext:
    """A llama_context that can be made anew: `pointer`, or None where there is none now.

    On the CPU its cells follow use: it begins with few of those that are planned, is replaced by a larger one when a
    step does not fit, and by a smaller one when it is idle. What the slots hold is copied. On a GPU all are there from
    the beginning: its memory is not shared with others as main memory is, so what is planned must be had.
    """

    def __init__(self, model: LlamaModel, plan: memory.KVPlan, parameters: Any):
        """Nothing is allocated before `make`. `parameters`: a llama_context_params with all cells that are planned."""
        self.plan = plan
        self.parameters = parameters
        self.pointer: Any = None
        self._adapters: list[tuple[Any, float]] = []  # with which it computes
        self._model = model
        self._streams = 1 if parameters.kv_unified else parameters.n_seq_max
        self._max_length = _rounded(parameters.n_ctx / self._streams)
        whole = model.placement.on_gpu or model.rope_depends_on_cells
        first = max(FIRST_CELLS, _rounded(STEP_TOKENS / self._streams))  # n_batch is n_ctx at most
        self._first_length = self._max_length if whole else min(first, self._max_length)
        self._length = self._first_length
        self._bytes = 0  # of the KV cache, as llama.cpp says
        self._cell_bytes = float(plan.token_bytes)  # of one more cell
        self._tokens_in: Callable[[int], int] = self._positions_in

    @property
    def memory(self) -> Any:
        """Its llama_memory_t: the KV cache, a recurrent model's states, or both."""
        return lib.llama_get_memory(self.pointer)

    @property
    def streams(self) -> int:
        """Sequences that have cells of their own, or 1."""
        return int(self._streams)

    @property
    def max_cells(self) -> int:
        """Cells in all that it may have."""
        return self._max_length * self._streams

    @property
    def max_kv_bytes(self) -> int:
        """Bytes of the KV cache with all its cells."""
        return self._bytes + self.unused_bytes

    @property
    def unused_bytes(self) -> int:
        """Bytes that the KV cache may still take."""
        return int((self._max_length - self._length) * self._streams * self._cell_bytes)

    def count_by(self, tokens: Callable[[int], int]) -> None:
        """`tokens` says how many a llama.cpp sequence holds: there may be more than it has positions."""
        self._tokens_in = tokens

    def make(self) -> None:
        """Allocate it with few cells, every slot empty. Raises LoadError."""
        self._make(self._first_length)

    def make_exact(self, batch: Batch, adapters: Sequence[Any] = ()) -> None:
        """Make one that computes as many rows at a time as give what each gives alone, also with any of these adapters:
        pointers. `batch` is used for the trials. Raises LoadError."""
        for rows in exact_rows.ROWS:
            self.parameters.n_ubatch = rows
            self.make()
            try:
                exact = all(self._is_exact(batch, pointer) for pointer in (*adapters, None))
            except LoadError:
                self.free()
                raise
            if exact:
                log.info("deterministic: up to %d rows at a time are computed as each alone", rows)
                return
            self.free()
        raise LoadError(exact_rows.NEVER_EXACT)

    def is_exact_with(self, adapter: Any, batch: Batch) -> bool:
        """Whether one that was made exact is so with another adapter, too. It is tried in a small context beside this
        one. Raises LoadError."""
        parameters = type(self.parameters).from_buffer_copy(self.parameters)  # what it points to stays with ours
        trial = LlamaContext(self._model, self.plan, parameters)
        trial.make()
        try:
            return trial._is_exact(batch, adapter)
        finally:
            trial.free()

    def _is_exact(self, batch: Batch, adapter: Any) -> bool:
        """With every slot empty. `adapter`: a pointer, or None. Raises LoadError."""
        self.apply([(adapter, 1.0)] if adapter else [])
        exact = exact_rows.hold(self.pointer, batch, self.parameters.n_ubatch)
        self.apply([])
        return exact

    def grow(self, more: dict[int, int]) -> bool:
        """Have room for so many tokens more, by sequence, and some beyond. The sequences keep what they hold. False
        where all cells are there already, or where the system has no memory for more."""
        if self._length == self._max_length:
            return False
        wanted = self._used(more)
        length = min(max(_rounded(wanted * HEADROOM), GROWTH * self._length), self._max_length)
        needed = int(self._streams * length * self._cell_bytes)
        if needed > memory.free_host_memory():  # the old cells come back, but what they hold is copied meanwhile
            log.debug("there is no memory for a KV cache of %d MiB", needed // memory.MIB)
            return False
        return self._resize(length)

    def shrink(self) -> None:
        """Give back what an idle one does not need."""
        used = self._used({})
        length = max(_rounded(GROWTH * used), self._first_length)
        if used * IDLE_SHARE <= self._length and length < self._length:
            self._resize(length)

    def apply(self, adapters: list[tuple[Any, float]]) -> None:
        """Compute with these from now on, and no others: pointers to llama_adapter_lora, and their scales."""
        self._adapters = adapters
        count = len(adapters)
        pointers = (lib.llama_adapter_lora_p_ctypes * count)(*[pointer for pointer, _ in adapters])
        scales = (ctypes.c_float * count)(*[scale for _, scale in adapters])
        lib.llama_set_adapters_lora(self.pointer, pointers, count, scales)

    def free(self) -> None:
        """Free it with all it holds. Nothing where there is none."""
        if self.pointer:
            lib.llama_free(self.pointer)
        self.pointer = None

    def _used(self, more: dict[int, int]) -> int:
        """Tokens in the fullest stream, with so many more by sequence."""
        sequences = range(self.parameters.n_seq_max)
        sizes = [self._tokens_in(sequence) + more.get(sequence, 0) for sequence in sequences]
        return sum(sizes) if self._streams == 1 else max(sizes)

    def _positions_in(self, sequence: int) -> int:
        return kv_cells.held(self.pointer, sequence)

    def _make(self, length: int) -> None:
        said = len(self._model.log.text)
        self._model.log.begin_attempt()
        self.parameters.n_ctx = length * self._streams
        self.pointer = lib.llama_init_from_model(self._model.pointer, self.parameters)
        if not self.pointer:
            raise LoadError(
                f"llama.cpp cannot make a context: {self._model.log.first_error} The KV cache of {self.plan.pool} "
                f"tokens needs {self.max_kv_bytes / memory.MIB:.0f} MiB; lower --ctx or --parallel."
            )
        self.apply(self._adapters)
        self._length = length
        cells = length * self._streams
        self._bytes = self._model.log.kv_bytes(said) or int(cells * self._cell_bytes)
        if self.parameters.swa_full:  # else layers with a window have fewer
            self._cell_bytes = self._bytes / cells

    def _resize(self, length: int) -> bool:
        """Replace it by one of another length. Where that fails it is as before. Raises LoadError where even that
        fails."""
        started = time.monotonic()
        before = self._length
        state = kv_cells.save_all(self.pointer)
        if state is None:
            return False
        self.free()
        try:
            self._make(length)
        except LoadError as error:
            log.warning("%s", error)
            self._make(before)
        if not kv_cells.restore_all(self.pointer, state):
            raise LoadError("llama.cpp cannot put back what the KV cache held.")
        log.debug("KV cache: %d → %d cells in %.0f ms", before, self._length, (time.monotonic() - started) * 1000)
        return self._length == length


def _rounded(cells: float) -> int:
    return max(math.ceil(cells / CELLS), 1) * CELLS


class Need(NamedTuple):
    """What a draft model takes beside its target: bytes of KV for each token, and of weights that count as free."""

    token_bytes: int
    weight_bytes: int


NOTHING = Need(0, 0)


def plan(model: LlamaModel, spec: EngineSpec, beside: Need = NOTHING) -> memory.KVPlan:
    """The context of each sequence, and the cells of all. Raises LoadError where they do not fit."""
    for flag, cache_type, length in zip(
        ("--cache-type-k", "--cache-type-v"), (spec.cache_type_k, spec.cache_type_v), model.head_lengths, strict=True
    ):
        if length % block_of(cache_type):
            raise LoadError(
                f"{flag} {cache_type} packs {block_of(cache_type)} numbers, which do not go into this model's heads of "
                f"{length}. Choose a type that is not quantized."
            )
    trained = model.trained_context
    free = memory.room_for_kv(max(model.free_memory() - beside.weight_bytes, 0), spec.kv_bytes)
    needs = footprint.measure(model, spec)
    needs = replace(needs, token=needs.token + beside.token_bytes)
    if spec.deterministic:
        whole = needs.token + needs.window_token
        made = exact_rows.plan(spec.context, trained, spec.parallel, token_bytes=whole, free_bytes=free)
    else:
        step = GPU_TOKENS if model.placement.on_gpu else CPU_TOKENS
        made = footprint.plan(needs, model.window, step, free, spec, trained)
    if made.context > trained and not stretches(spec):
        log.warning("--ctx %d is more than the %d tokens the model was trained for", made.context, trained)
    return made


def has_streams(model: LlamaModel, plan: memory.KVPlan, spec: EngineSpec) -> bool:
    """Whether running slots have cells of their own (slot_kv.py): on the CPU, where each can have a whole context.

    What llama.cpp saves of a window lacks what has left it, so that it could not be cut after it was brought back
    (llama-kv-cache.cpp:2091). Such models have a pool.
    """
    return not (model.placement.on_gpu or model.window) and plan.pool >= plan.context * spec.parallel


def prompt_rows(model: LlamaModel, parameters: Any) -> int:
    """In how many rows at a time a prompt is computed well, while others wait: ModelInfo.prompt_rows."""
    if model.placement.on_gpu:
        return 0
    types = {parameters.type_k, parameters.type_v}
    cut = parameters.flash_attn_type != lib.LLAMA_FLASH_ATTN_TYPE_DISABLED and types in TILED_TYPES
    if not cut or parameters.n_ubatch <= CPU_TILE:
        return CPU_TILE
    heads = max(lib.llama_model_n_head(model.pointer), 1)
    return attention_pieces.good_rows(heads, parameters.n_threads_batch, CPU_TILE, parameters.n_ubatch)


def parameters(model: LlamaModel, plan: memory.KVPlan, spec: EngineSpec) -> Any:
    """The llama_context_params. A sliding-window model keeps its full cache where the pool that is wanted fits: only
    that can be cut anywhere."""
    threads = spec.threads or memory.physical_cores()
    made = lib.llama_context_default_params()
    made.n_ctx = plan.pool
    made.n_batch = STEP_TOKENS
    made.kv_unified = not has_streams(model, plan, spec)
    if model.placement.on_gpu:
        made.n_ubatch = GPU_TOKENS
    else:  # a recurrent state cannot go back to before a part of a step that was computed already
        made.n_ubatch = CPU_TOKENS if made.kv_unified or model.stateful else STREAM_TOKENS
    sequences = spec.parallel + (memory.SPARE_SLOTS if made.kv_unified else 0)
    made.n_seq_max = min(sequences, lib.llama_max_parallel_sequences())
    made.n_threads = made.n_threads_batch = threads
    made.swa_full = plan.full_windows
    made.no_perf = True
    set_context_parameters(made, spec)
    if spec.deterministic:
        exact_rows.set_parameters(made, plan)
    return made
