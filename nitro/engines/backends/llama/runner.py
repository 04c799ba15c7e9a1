"""llama.cpp as a runner, on the low-level bindings of llama-cpp-python. Only the files in this folder touch them.

One context; where slots have their KV is in slot_kv.py. On the CPU `submit` returns when the step is computed; on a GPU
it may return before.

Line references are to llama.cpp as it is in llama-cpp-python 0.3.36.
"""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import llama_cpp.llama_cpp as lib
import numpy as np
from msgspec.structs import replace

from nitro.checkpoints import fingerprint
from nitro.checkpoints.files import TOOL_USE
from nitro.engines.adapters import AdapterInfo, AdapterSource
from nitro.engines.backends import fill_in_middle
from nitro.engines.backends.llama import context, exact_rows, library, sampler
from nitro.engines.backends.llama.adapters import LlamaAdapters
from nitro.engines.backends.llama.batch import Batch
from nitro.engines.backends.llama.causal_embedder import CausalEmbedder
from nitro.engines.backends.llama.context import CPU_TILE, STEP_TOKENS, LlamaContext
from nitro.engines.backends.llama.decoder import DECODED, FATAL, NO_KV_SLOT, Decoder
from nitro.engines.backends.llama.draft_model import DraftModel
from nitro.engines.backends.llama.library import VERSION
from nitro.engines.backends.llama.model import LlamaModel
from nitro.engines.backends.llama.slot_kv import PoolKV, StreamKV
from nitro.engines.backends.registry import LLAMA
from nitro.engines.hardware import memory
from nitro.engines.runner import Chunk, LoadError, OutOfKV, OutOfMemory, Result, Saving, StepFailed
from nitro.engines.scheduling import speculation
from nitro.engines.types import EngineSpec, Logprobs, ModelInfo, Pooling, SamplingParams
from nitro.gguf import split_files
from nitro.gguf.header import Header

if TYPE_CHECKING:
    from nitro.engines.backends.llama.projector import Projector

log = logging.getLogger("llama.cpp")

NO_PROJECTOR = "off"  # --mmproj
WARMUP_TOKENS = 2
POOLING: Pooling = "mean"  # of a model that was trained for text


class LlamaRunner:
    """A model and its context."""

    def __init__(self, spec: EngineSpec, head: Header | None = None):
        """`head`: the file's, where it is known. Raises LoadError."""
        self._model = LlamaModel(spec, head)
        self.tokenizer = self._model.tokenizer
        self._samplers: dict[int, Any] = {}  # by sequence id; pointers to llama_sampler
        self._adapters = LlamaAdapters(self._model)
        self._batch: list[Chunk] = []
        self._tokens = Batch(STEP_TOKENS)
        self._deterministic = spec.deterministic
        self._embedder = CausalEmbedder(self._model, POOLING, spec)
        self._draft: DraftModel | None = None
        self.media: Projector | None = None
        try:
            self.media = self._open_projector(spec)
            if spec.draft:
                self._draft = DraftModel(self._model, spec)
            adapters = self._adapters.load_all(spec)
            self._context = self._make_context(spec)
        except LoadError:
            self._close_models()
            raise
        self._kv = self._slot_kv()
        sections = self.media.sections if self.media else 1
        self._decoder = Decoder(self._context, self._tokens, sections, exact=self._deterministic)
        try:
            if self._draft and not self._can_truncate:
                raise LoadError(
                    f"--draft needs KV that can be cut, and there is no memory to keep it whole in the layers of "
                    f"{self._model.path} that have a window. Lower --ctx or --parallel, or leave out --draft."
                )
            if self._draft:
                self._draft.start(self._context.plan, spec)
            self.info = replace(self._describe(spec), adapters=adapters)
            self.saving = self._saving()
            self._warm_up()
        except LoadError:
            self.close()
            raise

    # The contract

    def prepare(self, sampling: SamplingParams) -> None:
        """Make the sequence's DRY sampler, which may take tenths of a second."""
        sampler.prepare(sampling, self._model.vocab, self.info.context)

    def submit(self, batch: list[Chunk]) -> None:
        """Compute the batch. Raises OutOfKV; OutOfMemory; StepFailed for all of the batch."""
        try:
            self._kv.place(batch)
            self._adapters.apply(self._context, batch[0].adapters)
            code = self._decoder.compute(batch, self._kv)
        except LoadError as error:  # the KV cache was to be larger, and now there is none
            raise OutOfMemory(str(error), None) from None
        if code == NO_KV_SLOT and not (self._model.stateful and any(chunk.media for chunk in batch)):
            for chunk in batch:  # what an earlier call computed, which a recurrent state does not forget
                self._kv.reject(chunk.slot, chunk.start)
            raise OutOfKV
        if code != DECODED:
            message = f"llama.cpp could not compute the step (code {code}). {self._model.log.last_error}".rstrip()
            if code <= FATAL:
                # what was computed of the batch has stayed in the cache
                raise OutOfMemory(message, [chunk.slot for chunk in batch if not self._goes_back(chunk)])
            for chunk in batch:
                self._kv.clear(chunk.slot)
            raise StepFailed([chunk.slot for chunk in batch], message)
        self._batch = batch

    def collect(self) -> list[Result]:
        """Wait for the device, and sample."""
        lib.llama_synchronize(self._context.pointer)
        return [self._result(chunk) for chunk in self._batch]

    def guess(self, chunks: list[Chunk], limits: list[int]) -> list[list[int]]:
        """What the draft model says, drawn as the sequences will draw."""
        return self._draft.guess(chunks, limits, self._sampler_chain) if self._draft else [[] for _ in chunks]

    def load_adapter(self, source: AdapterSource) -> AdapterInfo:
        """Read it from a GGUF, or a folder of PEFT's or mlx-lm's."""
        if self._deterministic:
            return self._adapters.load_exact(source, self._context, self._tokens)
        return self._adapters.load(source)

    def drop_adapter(self, adapter: int) -> None:
        """Free it; the context applies none until the next step."""
        self._adapters.apply(self._context, ())
        self._adapters.drop(adapter)

    def embed(self, sequences: list[list[int]], meanwhile: Callable[[], None] = lambda: None) -> list[bytes]:
        """The mean of the tokens' vectors, in a context of its own."""
        return self._embedder.embed(sequences, meanwhile)

    def trim(self, slot: int, length: int) -> int:
        """See PoolKV."""
        return self._kv.trim(slot, length)

    def offload(self, slot: int) -> None:
        """See PoolKV."""
        self._kv.offload(slot)

    def copy(self, src: int, dst: int, length: int) -> int:
        """See PoolKV."""
        return self._kv.copy(src, dst, length)

    def export(self, slot: int) -> list[memoryview] | None:
        """See PoolKV."""
        return self._kv.export(slot)

    def restore(self, slot: int, state: memoryview, length: int) -> bool:
        """See PoolKV."""
        return self._kv.restore(slot, state, length)

    def free_sequence(self, sequence_id: int) -> None:
        """Free its sampler chain."""
        chain = self._samplers.pop(sequence_id, None)
        if chain is not None:
            lib.llama_sampler_free(chain)
        if self._draft:
            self._draft.free_sequence(sequence_id)

    def release_idle_memory(self) -> None:
        """Give back cells of the KV cache that nothing is in."""
        self._context.shrink()
        self._embedder.rest()
        if self._draft:
            self._draft.shrink()

    def reset(self) -> None:
        """Make a new context. What was offloaded is dropped, too."""
        self._context.free()
        self._context.make()
        self._kv = self._slot_kv()
        if self._draft:
            self._draft.reset()

    def close(self) -> None:
        """Free samplers, context and model, in this order: each points to the next."""
        for sequence_id in list(self._samplers):
            self.free_sequence(sequence_id)
        self._embedder.free()
        self._context.free()
        self._close_models()

    def _close_models(self) -> None:
        self._adapters.free()
        if self._draft:
            self._draft.close()
        if self.media:
            self.media.close()
        self._model.close()

    # Sampling

    def _result(self, chunk: Chunk) -> Result:
        first_row = self._tokens.first_row.get(chunk.slot, 0)  # a chunk that ends with media has none
        last_row = self._tokens.last_row.get(chunk.slot, 0)
        drawn = self._draw(chunk, last_row) if chunk.wants_token else []
        if drawn is None:
            self._kv.clear(chunk.slot)  # what it holds may be no numbers
            return Result.failed(chunk.matcher, bool(chunk.sampling.logit_bias))
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
        return np.ctypeslib.as_array(lib.llama_get_logits_ith(self._context.pointer, row), (self.info.vocabulary,))

    def _goes_back(self, chunk: Chunk) -> bool:
        """Have its slot as it was before the chunk. False where it cannot be; it is empty then."""
        return self._kv.trim(chunk.slot, chunk.start) == chunk.start

    def _draw(self, chunk: Chunk, row: int) -> list[int] | None:
        """What follows a row of the batch; None where the logits or the sequence's grammar leave nothing."""
        if chunk.matcher is None:
            return self._sample(chunk, row)
        chain = self._sampler_chain(chunk)
        matcher = chunk.matcher
        token = sampler.pick_allowed(chain, chunk.sampling, self._logits(row), matcher)
        if token is None or not matcher.accept(token):
            return None
        lib.llama_sampler_accept(chain, token)
        return [token]

    def _sample(self, chunk: Chunk, row: int) -> list[int] | None:
        """The next token, and while it is as drafted the one after. The sampler has accepted them. None where one of
        these rows leaves nothing. `row`: of the first in the batch."""
        draw = self._drawer(chunk)
        tokens: list[int] = []
        for i, guess in enumerate([*chunk.draft, None]):
            token = draw(row + i)
            if token is None:
                return None
            tokens.append(token)
            if token != guess or token in self.info.eog:
                break
        if chunk.draft:
            self._kv.reject(chunk.slot, chunk.stop + len(tokens) - 1)
        return tokens

    def _drawer(self, chunk: Chunk) -> Callable[[int], int | None]:
        """Draws what follows a row of the batch."""
        sampling = chunk.sampling
        if sampler.takes_likeliest(sampling):
            return lambda row: sampler.likeliest(self._logits(row))
        chain = self._sampler_chain(chunk)
        return lambda row: sampler.sample(chain, sampling, self._logits(row))

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

    def _open_projector(self, spec: EngineSpec) -> "Projector | None":
        """What lets the model see or hear. It comes before the context is planned: what it takes is not free any more.
        Raises LoadError where one is asked for that does not go with the model."""
        path = spec.mmproj or spec.projector
        if path is None or path == NO_PROJECTOR:
            return None
        from nitro.engines.backends.llama.projector import Projector  # which loads another library

        try:
            return Projector(Path(path), self._model, spec)
        except LoadError as error:
            if spec.mmproj:
                raise
            log.warning("%s The model takes text only.", error)
            return None

    def _make_context(self, spec: EngineSpec) -> LlamaContext:
        if self._deterministic and self._model.placement.on_gpu:
            raise LoadError(exact_rows.NOT_ON_GPU)
        plan = context.plan(self._model, spec, self._draft.need if self._draft else context.NOTHING)
        made = LlamaContext(self._model, plan, self._context_parameters(spec, plan))
        if self._deterministic:
            made.make_exact(self._tokens, self._adapters.pointers)
        else:
            made.make()
        return made

    def _slot_kv(self) -> PoolKV:
        """An empty one."""
        has_pool = self._deterministic or self._context.parameters.kv_unified
        if has_pool:  # or a stream for each slot, idle or not
            return PoolKV(self._context, self._model, shares_cells=not self._deterministic)
        return StreamKV(self._context, self._model)

    @property
    def _can_truncate(self) -> bool:
        return not self._model.stateful and (not self._model.window or self._context.parameters.swa_full)

    def _context_parameters(self, spec: EngineSpec, plan: memory.KVPlan) -> Any:
        made = context.parameters(self._model, plan, spec)
        if self.media and self.media.whole_rows:
            made.n_ubatch = max(made.n_ubatch, self.media.whole_rows)  # else it aborts (llama-context.cpp:1787)
        return made

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
        self._kv.clear(0)

    def _describe(self, spec: EngineSpec) -> ModelInfo:
        model = self._model
        return ModelInfo(
            engine=f"llama.cpp (llama-cpp-python {VERSION})",
            device=model.device,
            layers=str(model.placement),
            slots=self._slots(spec),
            parallel=spec.parallel,
            context=self._context.plan.context,
            trained_context=model.trained_context,
            kv_tokens=self._context.max_cells,
            attention_tile_rows=0 if model.placement.on_gpu else CPU_TILE,
            prompt_rows=context.prompt_rows(model, self._context.parameters),
            can_truncate=self._can_truncate,
            draft_tokens=speculation.MAX_DRAFTED if self._can_truncate else 0,
            has_draft_model=self._draft is not None,
            deterministic=self._deterministic,
            takes_adapters=True,
            offload_tokens=self._offload_tokens(spec.kv_bytes),
            kv_place=model.kv_place,
            workers=model.placement.remote,
            kv_bytes=self._context.max_kv_bytes + (self._draft.kv_bytes if self._draft else 0),
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
            embedding=self._embedder.describe(self._context.plan.context),
            media=self.media.info if self.media else None,
        )

    def _saving(self) -> Saving:
        """What llama.cpp saves of a window lacks what has left it, so that it cannot be cut; and of a sequence it says
        how many streams the context has."""
        cells = self._context.max_cells if self._model.rope_depends_on_cells else 0
        about = [self.info.engine, self.info.device, self.info.layers, self.info.kv_place, *library.files()]
        parts = [*about, f"{self._context.streams} streams", f"{cells} cells"]
        return Saving(parts, entire=self._model.stateful or bool(self._model.window))

    def _slots(self, spec: EngineSpec) -> int:
        sequences = int(lib.llama_n_seq_max(self._context.pointer))
        return spec.parallel + memory.SPARE_SLOTS if isinstance(self._kv, StreamKV) else sequences

    def _offload_tokens(self, kv_bytes: int | None) -> int:
        """A GPU reads masked cells fast, and to move them over the bus would cost more. What llama.cpp saves of a slot
        lacks what has left the window, so that it could not be cut any more (llama-kv-cache.cpp:2091)."""
        has_own_cells = self._deterministic  # which no other slot's step reads
        if has_own_cells or self._model.placement.on_gpu or (self._model.window and self._context.parameters.swa_full):
            return 0
        unused = self._context.unused_bytes + (self._draft.kv_bytes if self._draft else 0)
        free = memory.room_for_kv(max(self._model.free_memory() - unused, 0), kv_bytes)
        return memory.offload_tokens(self._model.token_bytes(), free)
