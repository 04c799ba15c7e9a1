"""llama.cpp's context: the KV cache and the buffers of computing, how large they are, and with what parameters.

Line references are to llama.cpp as it is in llama-cpp-python 0.3.36.
"""

import logging
from typing import Any

import llama_cpp.llama_cpp as lib

from nitro.engines.backends.llama import exact_rows
from nitro.engines.backends.llama.batch import Batch
from nitro.engines.backends.llama.model import LlamaModel
from nitro.engines.hardware import memory
from nitro.engines.runner import LoadError
from nitro.engines.types import EngineSpec

log = logging.getLogger("llama.cpp")

STEP_TOKENS = 2048  # n_batch: what one llama_decode takes; more aborts the process
# Rows of flash attention on the CPU (ggml-cpu's ops.cpp:9547). In a full tile each row goes over the cells of all the
# tile's slots, so a decode there costs three times as much; of fewer rows each goes over its own, token by token, which
# for a prompt of thousands costs half as much again as a tile.
CPU_TILE = 64
# n_ubatch: what the device computes at a time. On the CPU a tile: of five greedy answers asked for a second time none
# changed with it, and with 256 all did.
GPU_TOKENS = 512
CPU_TOKENS = CPU_TILE


class LlamaContext:
    """A llama_context that can be made anew: `pointer`, or None where there is none now."""

    def __init__(self, model: LlamaModel, plan: memory.KVPlan, parameters: Any):
        """Nothing is allocated before `make`."""
        self.plan = plan
        self.parameters = parameters  # a llama_context_params
        self.pointer: Any = None
        self._model = model

    @property
    def memory(self) -> Any:
        """Its llama_memory_t: the KV cache, a recurrent model's states, or both."""
        return lib.llama_get_memory(self.pointer)

    def make(self) -> None:
        """Allocate it, every slot empty. Raises LoadError."""
        self.pointer = lib.llama_init_from_model(self._model.pointer, self.parameters)
        if not self.pointer:
            need = self.plan.pool * self._model.token_bytes() / memory.MIB
            raise LoadError(
                f"llama.cpp cannot make a context: {self._model.log.first_error} The KV cache of {self.plan.pool} "
                f"tokens needs {need:.0f} MiB; lower --ctx or --parallel."
            )

    def make_exact(self, batch: Batch) -> None:
        """Make one that computes as many rows at a time as give what each gives alone. `batch` is used for the trials.
        Raises LoadError."""
        for rows in exact_rows.ROWS:
            self.parameters.n_ubatch = rows
            self.make()
            try:
                exact = exact_rows.hold(self.pointer, batch, rows)
            except LoadError:
                self.free()
                raise
            if exact:
                log.info("deterministic: up to %d rows at a time are computed as each alone", rows)
                return
            self.free()
        raise LoadError(exact_rows.NEVER_EXACT)

    def free(self) -> None:
        """Free it with all it holds. Nothing where there is none."""
        if self.pointer:
            lib.llama_free(self.pointer)
        self.pointer = None


def plan(model: LlamaModel, spec: EngineSpec) -> memory.KVPlan:
    """The context of each sequence, and the cells of all. Raises LoadError where they do not fit."""
    make = exact_rows.plan if spec.deterministic else memory.plan
    made = make(
        spec.context,
        trained=model.trained_context,
        parallel=spec.parallel,
        token_bytes=model.token_bytes(),
        free_bytes=model.free_memory(),
    )
    if made.context > model.trained_context:
        log.warning(
            "--ctx %d is more than the %d tokens the model was trained for", made.context, model.trained_context
        )
    return made


def has_streams(model: LlamaModel, plan: memory.KVPlan, spec: EngineSpec) -> bool:
    """Whether running slots have cells of their own (slot_kv.py): on the CPU, where each can have a whole context.

    What llama.cpp saves of a window lacks what has left it, so that it could not be cut after it was brought back
    (llama-kv-cache.cpp:2091). Such models have a pool.
    """
    return not (model.placement.on_gpu or model.window) and plan.pool >= plan.context * spec.parallel


def parameters(model: LlamaModel, plan: memory.KVPlan, spec: EngineSpec) -> Any:
    """The llama_context_params. A sliding-window model keeps its full cache where the pool that is wanted fits: only
    that can be cut anywhere."""
    threads = spec.threads or memory.physical_cores()
    made = lib.llama_context_default_params()
    made.n_ctx = plan.pool
    made.n_batch = STEP_TOKENS
    made.n_ubatch = GPU_TOKENS if model.placement.on_gpu else CPU_TOKENS
    made.kv_unified = not has_streams(model, plan, spec)
    sequences = spec.parallel + (memory.SPARE_SLOTS if made.kv_unified else 0)
    made.n_seq_max = min(sequences, lib.llama_max_parallel_sequences())
    made.n_threads = made.n_threads_batch = threads
    made.swa_full = plan.pool >= plan.context * spec.parallel
    made.no_perf = True
    if spec.deterministic:
        exact_rows.set_parameters(made, plan)
    return made
