"""llama.cpp as a runner, on the low-level bindings of llama-cpp-python. Only the files in this folder touch them.

One context with a unified KV cache: a slot is a llama.cpp sequence id, and a prefix can be copied between slots. On the
CPU `submit` returns when the step is computed; on a GPU it may return before.

There attention also goes over the cells of slots that are not in a batch, masked, which costs up to a fifth of a step
with sixteen short ones. So idle slots are offloaded: their cells are copied to main memory, and freed. Those of the
others are kept together (kv_cells.py).

Line references are to llama.cpp as it is in llama-cpp-python 0.3.36.
"""

import logging
from typing import Any

import llama_cpp.llama_cpp as lib
import numpy as np

from nitro.checkpoints import fingerprint
from nitro.checkpoints.files import TOOL_USE
from nitro.engines.backends import fill_in_middle
from nitro.engines.backends.llama import exact_rows, kv_cells, sampler
from nitro.engines.backends.llama.batch import Batch
from nitro.engines.backends.llama.kv_cells import Cells
from nitro.engines.backends.llama.library import VERSION
from nitro.engines.backends.llama.model import LlamaModel
from nitro.engines.backends.registry import LLAMA
from nitro.engines.hardware import memory
from nitro.engines.runner import Chunk, LoadError, OutOfKV, Result, StepFailed
from nitro.engines.scheduling import speculation
from nitro.engines.types import EngineSpec, Logprobs, ModelInfo, SamplingParams
from nitro.gguf import split_files

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
WARMUP_TOKENS = 2

# llama_decode's return codes (llama.h:994)
DECODED = 0
NO_KV_SLOT = 1


class LlamaRunner:
    """A model and its context. Slots share one pool of KV cells."""

    def __init__(self, spec: EngineSpec):
        """Raises LoadError."""
        self._model = LlamaModel(spec)
        self.tokenizer = self._model.tokenizer
        self._samplers: dict[int, Any] = {}  # by sequence id; pointers to llama_sampler
        self._batch: list[Chunk] = []
        self._offloaded: dict[int, Any] = {}  # by slot; arrays of bytes
        self._context: Any = None
        self._tokens = Batch(STEP_TOKENS)
        self._deterministic = spec.deterministic
        try:
            if self._deterministic and self._model.placement.on_gpu:
                raise LoadError(exact_rows.NOT_ON_GPU)
            self._plan = self._make_plan(spec)
            self._parameters = self._context_parameters(spec)
            if self._deterministic:
                self._make_exact_context()
            else:
                self._make_context()
            self.info = self._describe(spec)
            self._cells = Cells(self.info.offload_tokens)
            self._warm_up()
        except LoadError:
            self.close()
            raise

    # The contract

    def prepare(self, sampling: SamplingParams) -> None:
        """Make the sequence's DRY sampler, which may take tenths of a second."""
        sampler.prepare(sampling, self._model.vocab, self.info.context)

    def submit(self, batch: list[Chunk]) -> None:
        """Compute the batch with one llama_decode. Raises OutOfKV; StepFailed for all of the batch."""
        if self.info.offload_tokens and self._can_truncate:
            self._cells.gather(self._context, [chunk.slot for chunk in batch])
            self._cells.computed(sum(chunk.size for chunk in batch))
        in_order = exact_rows.in_order(batch, self._parameters.n_ubatch) if self._deterministic else batch
        code = lib.llama_decode(self._context, self._tokens.fill(in_order))
        if code == NO_KV_SLOT:
            raise OutOfKV
        if code != DECODED:
            # what was computed of the batch stays in the cache, and nothing tells whose fault it was
            for chunk in batch:
                self._clear(chunk.slot)
            message = f"llama.cpp could not compute the step (code {code}). {self._model.log.last_error}".rstrip()
            raise StepFailed([chunk.slot for chunk in batch], message)
        self._batch = batch

    def collect(self) -> list[Result]:
        """Wait for the device, and sample."""
        lib.llama_synchronize(self._context)
        return [self._result(chunk) for chunk in self._batch]

    def trim(self, slot: int, length: int) -> int:
        """Bring an offloaded slot back, and cut it. What cannot be brought back or cut is emptied: 0."""
        offloaded = self._offloaded.pop(slot, None)
        if length > 0 and (offloaded is None or self._restore(slot, offloaded)) and self._cut(slot, length):
            return length
        return self._clear(slot)

    def offload(self, slot: int) -> None:
        """Copy the slot's cells to main memory and free them. Where llama.cpp cannot copy them, the slot is empty."""
        offloaded = kv_cells.save(self._context, slot)
        if offloaded is not None:
            self._offloaded[slot] = offloaded
        self._clear(slot)

    def copy(self, src: int, dst: int, length: int) -> int:
        """Share the cells of `src`, or make cells of its copy in main memory. 0 where that gives another state."""
        self._clear(dst)
        if src in self._offloaded:
            return length if self._restore(dst, self._offloaded[src]) and self._cut(dst, length) else self._clear(dst)
        if self._model.stateful and lib.llama_memory_seq_pos_max(self._memory, src) != length - 1:
            return 0  # a recurrent state is that of its last token only
        if self._deterministic:  # the slots share no cells
            state = kv_cells.save(self._context, src)
            return length if state and self._restore(dst, state) and self._cut(dst, length) else self._clear(dst)
        lib.llama_memory_seq_cp(self._memory, src, dst, 0, length)
        self._cells.copied(src, dst, length)
        return length if self._holds(dst, length) else self._clear(dst)

    def free_sequence(self, sequence_id: int) -> None:
        """Free its sampler chain."""
        chain = self._samplers.pop(sequence_id, None)
        if chain is not None:
            lib.llama_sampler_free(chain)

    def release_idle_memory(self) -> None:
        """Nothing: llama.cpp holds the same memory, busy or idle."""

    def reset(self) -> None:
        """Make a new context. What was offloaded is dropped, too."""
        lib.llama_free(self._context)
        self._context = None
        self._offloaded = {}
        self._cells = Cells(self.info.offload_tokens)
        self._make_context()

    def close(self) -> None:
        """Free samplers, context and model, in this order: each points to the next."""
        for sequence_id in list(self._samplers):
            self.free_sequence(sequence_id)
        if self._context:
            lib.llama_free(self._context)
        self._model.close()

    # The KV cache

    @property
    def _memory(self) -> Any:
        return lib.llama_get_memory(self._context)

    @property
    def _can_truncate(self) -> bool:
        return not self._model.stateful and (not self._model.window or self._parameters.swa_full)

    def _clear(self, slot: int) -> int:
        self._cells.cleared(slot, kv_cells.held(self._context, slot))
        kv_cells.clear(self._context, slot)
        return 0

    def _restore(self, slot: int, offloaded: Any) -> bool:
        """False where the pool has no room for it; the slot is empty then."""
        self._clear(slot)
        return kv_cells.restore(self._context, slot, offloaded)

    def _cut(self, slot: int, length: int) -> bool:
        return bool(lib.llama_memory_seq_rm(self._memory, slot, length, -1)) and self._holds(slot, length)

    def _holds(self, slot: int, length: int) -> bool:
        """Whether the slot really holds [0, length), so that the next token can be computed from it.

        llama_memory_seq_rm and _cp succeed on a sliding-window cache even where the cells needed are gone.
        """
        memory = self._memory
        if lib.llama_memory_seq_pos_max(memory, slot) != length - 1:
            return False
        if self._model.stateful:
            return True
        first = max(0, length - self._model.window + 1) if self._model.window else 0  # that the next token sees
        return bool(lib.llama_memory_seq_pos_min(memory, slot) <= first)

    # Sampling

    def _result(self, chunk: Chunk) -> Result:
        first_row = self._tokens.first_row[chunk.slot]
        last_row = self._tokens.last_row[chunk.slot]
        drawn = self._draw(chunk, last_row) if chunk.wants_token else []
        if drawn is None:
            assert chunk.matcher is not None
            return Result.failed(chunk.matcher)
        top_count = chunk.sampling.logprobs
        if top_count is None:
            return Result(drawn)
        return Result(
            drawn,
            logprobs=self._logprobs(last_row, drawn, top_count),
            prompt_logprobs=self._logprobs(first_row, chunk.score_tokens, top_count),
        )

    def _logprobs(self, row: int, tokens: list[int], top_count: int) -> list[Logprobs]:
        """Of tokens that come after this row of the batch and those behind it."""
        return [sampler.logprobs(self._logits(row + i), token, top_count) for i, token in enumerate(tokens)]

    def _logits(self, row: int) -> Any:
        """The model's own, of a row of the batch: float32 [vocabulary], valid until the next step."""
        return np.ctypeslib.as_array(lib.llama_get_logits_ith(self._context, row), (self.info.vocabulary,))

    def _draw(self, chunk: Chunk, row: int) -> list[int] | None:
        """What follows a row of the batch; None where the sequence's grammar leaves nothing."""
        if chunk.matcher is None:
            return self._sample(chunk, row)
        chain = self._sampler_chain(chunk)
        matcher = chunk.matcher
        token = sampler.pick_allowed(chain, self._logits(row), matcher, mask_first=chunk.sampling.weighs_others)
        if token is None or not matcher.accept(token):
            return None
        lib.llama_sampler_accept(chain, token)
        return [token]

    def _sample(self, chunk: Chunk, row: int) -> list[int]:
        """The next token, and while it is as drafted the one after. The sampler has accepted them. `row`: of the first
        in the batch."""
        chain = self._sampler_chain(chunk)
        tokens = [int(lib.llama_sampler_sample(chain, self._context, row))]
        for i, guess in enumerate(chunk.draft, 1):
            if tokens[-1] != guess or guess in self.info.eog:
                break
            tokens.append(int(lib.llama_sampler_sample(chain, self._context, row + i)))
        if chunk.draft:
            lib.llama_memory_seq_rm(self._memory, chunk.slot, chunk.stop + len(tokens) - 1, -1)
        return tokens

    def _sampler_chain(self, chunk: Chunk) -> Any:
        """The sequence's own, made when it first samples: it has seen all of the prompt then."""
        if chunk.sequence_id not in self._samplers:
            self._samplers[chunk.sequence_id] = sampler.chain_of(
                chunk.sampling,
                chunk.tokens,
                vocab=self._model.vocab,
                vocabulary=self.info.vocabulary,
                context=self.info.context,
            )
        return self._samplers[chunk.sequence_id]

    # Loading

    def _make_plan(self, spec: EngineSpec) -> memory.KVPlan:
        make = exact_rows.plan if spec.deterministic else memory.plan
        plan = make(
            spec.context,
            trained=self._model.trained_context,
            parallel=spec.parallel,
            token_bytes=self._model.token_bytes(),
            free_bytes=self._model.free_memory(),
        )
        if plan.context > self._model.trained_context:
            trained = self._model.trained_context
            log.warning("--ctx %d is more than the %d tokens the model was trained for", plan.context, trained)
        return plan

    def _context_parameters(self, spec: EngineSpec) -> Any:
        """A unified cache, so that slots can share cells. A sliding-window model keeps its full cache where the pool
        that is wanted fits: only that can be cut anywhere."""
        threads = spec.threads or memory.physical_cores()
        parameters = lib.llama_context_default_params()
        parameters.n_ctx = self._plan.pool
        parameters.n_batch = STEP_TOKENS
        parameters.n_ubatch = GPU_TOKENS if self._model.placement.on_gpu else CPU_TOKENS
        parameters.n_seq_max = min(spec.parallel + memory.SPARE_SLOTS, lib.llama_max_parallel_sequences())
        parameters.n_threads = parameters.n_threads_batch = threads
        parameters.kv_unified = True
        parameters.swa_full = self._plan.pool >= self._plan.context * spec.parallel
        parameters.no_perf = True
        if spec.deterministic:
            exact_rows.set_parameters(parameters, self._plan)
        return parameters

    def _make_context(self) -> None:
        self._context = lib.llama_init_from_model(self._model.pointer, self._parameters)
        if not self._context:
            need = self._plan.pool * self._model.token_bytes() / memory.MIB
            raise LoadError(
                f"llama.cpp cannot make a context: {self._model.log.first_error} The KV cache of {self._plan.pool} "
                f"tokens needs {need:.0f} MiB; lower --ctx or --parallel."
            )

    def _make_exact_context(self) -> None:
        """One that computes as many rows at a time as give what each gives alone. Raises LoadError."""
        for rows in exact_rows.ROWS:
            self._parameters.n_ubatch = rows
            self._make_context()
            if exact_rows.hold(self._context, self._tokens, rows):
                log.info("deterministic: up to %d rows at a time are computed as each alone", rows)
                return
            lib.llama_free(self._context)
            self._context = None
        raise LoadError(exact_rows.NEVER_EXACT)

    def _warm_up(self) -> None:
        """The first step pays for what is allocated lazily; nobody should wait for that. Raises LoadError where it
        gives no numbers."""
        tokens = [max(lib.llama_vocab_bos(self._model.vocab), 0)] * WARMUP_TOKENS
        greedy = SamplingParams(temperature=0)
        self.submit([Chunk(0, 0, tokens=tokens, start=0, stop=WARMUP_TOKENS, sampling=greedy)])
        self.collect()
        if not np.isfinite(self._logits(self._tokens.last_row[0])).any():
            raise LoadError(f"{self._model.path} computes what is no number: its weights are damaged.")
        self.free_sequence(0)
        self._clear(0)

    def _describe(self, spec: EngineSpec) -> ModelInfo:
        model = self._model
        return ModelInfo(
            engine=f"llama.cpp (llama-cpp-python {VERSION})",
            device=model.device,
            layers=str(model.placement),
            slots=lib.llama_n_seq_max(self._context),
            parallel=spec.parallel,
            context=self._plan.context,
            trained_context=model.trained_context,
            kv_tokens=lib.llama_n_ctx(self._context),
            attention_tile_rows=0 if model.placement.on_gpu else CPU_TILE,
            can_truncate=self._can_truncate,
            draft_tokens=speculation.MAX_DRAFTED if self._can_truncate else 0,
            deterministic=self._deterministic,
            offload_tokens=self._offload_tokens(),
            kv_place=model.log.kv_place(),
            kv_bytes=self._kv_bytes(),
            step_tokens=STEP_TOKENS,
            vocabulary=model.vocabulary,
            eog=model.eog,
            template=model.template(),
            tool_template=model.template(TOOL_USE),
            bos=self.tokenizer.text(lib.llama_vocab_bos(model.vocab)),
            eos=self.tokenizer.text(lib.llama_vocab_eos(model.vocab)),
            infill=fill_in_middle.find(self.tokenizer, model.infill_texts()),
            adds_bos=lib.llama_vocab_get_add_bos(model.vocab),
            sampling=model.sampling,
            samplers=LLAMA.samplers,
            fingerprint=fingerprint.of(split_files.files(model.path)),
        )

    def _kv_bytes(self) -> int:
        """As llama.cpp says, unless it made several contexts to try them."""
        said = 0 if self._deterministic else self._model.log.kv_bytes()
        return said or self._plan.pool * self._model.token_bytes()

    def _offload_tokens(self) -> int:
        """A GPU reads masked cells fast, and to move them over the bus would cost more. What llama.cpp saves of a slot
        lacks what has left the window, so that it could not be cut any more (llama-kv-cache.cpp:2091)."""
        has_own_cells = self._deterministic  # which no other slot's step reads
        if has_own_cells or self._model.placement.on_gpu or (self._model.window and self._parameters.swa_full):
            return 0
        return memory.offload_tokens(self._model.token_bytes(), self._model.free_memory())
