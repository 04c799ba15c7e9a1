"""llama.cpp as a runner, on the low-level bindings of llama-cpp-python. Only the llama_ files beside it and ggml.py
touch them, too.

One context with a unified KV cache: a slot is a llama.cpp sequence id, and a prefix can be copied between slots. On the
CPU `submit` returns when the step is computed; on a GPU it may return before.

There attention also goes over the cells of slots that are not in a batch, masked, which costs up to a fifth of a step
with sixteen short ones. So idle slots are offloaded: their cells are copied to main memory, and freed. Those of the
others are kept together (kv_cells.py).

Line references are to llama.cpp as it is in llama-cpp-python 0.3.36.
"""

import ctypes
import logging
import re
from pathlib import Path
from typing import Any

import llama_cpp
import llama_cpp.llama_cpp as lib
import numpy as np

from nitro.checkpoints import fingerprint
from nitro.engines import sampling_defaults
from nitro.engines.backends import fill_in_middle
from nitro.engines.backends.llama import kv_cells, library
from nitro.engines.backends.llama import sampler as llama_sampling
from nitro.engines.backends.llama.batch import Batch
from nitro.engines.backends.llama.kv_cells import Cells
from nitro.engines.backends.llama.tokenizer import LlamaTokenizer
from nitro.engines.hardware import memory as fit
from nitro.engines.hardware import nvidia
from nitro.engines.hardware.libraries import without_gpu
from nitro.engines.runner import Chunk, LoadError, OutOfKV, Result, StepFailed
from nitro.engines.sampling_defaults import SamplingDefaults
from nitro.engines.scheduling import speculation
from nitro.engines.types import SAMPLERS, EngineSpec, Logprobs, ModelInfo, SamplingParams
from nitro.gguf import header

log = logging.getLogger("llama.cpp")

STEP_TOKENS = 2048  # n_batch: what one llama_decode takes; more aborts the process
# Rows of flash attention on the CPU (ggml-cpu's ops.cpp:9547). In a full tile each row goes over the cells of all the
# tile's slots, so a decode there costs three times as much; of fewer rows each goes over its own, token by token, which
# for a prompt of thousands costs half as much again as a tile.
CPU_TILE = 64
# n_ubatch: what the device computes at a time. On the CPU a tile: of five greedy answers asked for a second time none
# changed with it, and with 256 all did.
GPU_TOKENS, CPU_TOKENS = 512, CPU_TILE
ALL_LAYERS = 10_000
WARMUP_TOKENS = 2

# llama_decode's return codes (llama.h:994)
DECODED, NO_KV_SLOT = 0, 1


class LlamaRunner:
    def __init__(self, spec: EngineSpec):
        _refuse(spec)
        self._sampling = _check_header(Path(spec.model))
        self._log = library.capture_log()
        self._samplers: dict[int, Any] = {}  # by sequence id; pointers to llama_sampler
        self._batch: list[Chunk] = []
        self._offloaded: dict[int, Any] = {}  # by slot; arrays of bytes
        lib.llama_backend_init()
        _look_for_gpu(spec)
        self._context: Any = None
        self._model = self._load(spec)
        self._vocab = lib.llama_model_get_vocab(self._model)
        self.tokenizer = LlamaTokenizer(self._vocab)
        self._stateful = lib.llama_model_is_recurrent(self._model) or lib.llama_model_is_hybrid(self._model)
        self._window = lib.llama_model_n_swa(self._model)
        try:
            self._check_layers(spec)
            self._plan = self._make_plan(spec)
            self._parameters = self._context_parameters(spec)
            self._make_context()
            self.info = self._describe(spec)
            self._tokens = Batch(STEP_TOKENS)
            self._cells = Cells(self.info.offload_tokens)
            self._warm_up(spec)
        except LoadError:
            self.close()
            raise

    # The contract

    def prepare(self, sampling: SamplingParams) -> None:
        llama_sampling.prepare(sampling, self._vocab, self.info.context)

    def submit(self, batch: list[Chunk]) -> None:
        if self.info.offload_tokens and self._can_be_cut:
            self._cells.gather(self._context, [chunk.slot for chunk in batch])
            self._cells.computed(sum(chunk.size for chunk in batch))
        code = lib.llama_decode(self._context, self._tokens.fill(batch))
        if code == NO_KV_SLOT:
            raise OutOfKV
        if code != DECODED:
            # what was computed of the batch stays in the cache, and nothing tells whose fault it was
            for chunk in batch:
                self._clear(chunk.slot)
            message = f"llama.cpp could not compute the step (code {code}). {self._log.last_error}".rstrip()
            raise StepFailed([chunk.slot for chunk in batch], message)
        self._batch = batch

    def collect(self) -> list[Result]:
        lib.llama_synchronize(self._context)
        return [self._result(chunk) for chunk in self._batch]

    def trim(self, slot: int, length: int) -> int:
        offloaded = self._offloaded.pop(slot, None)
        if length > 0 and (offloaded is None or self._restore(slot, offloaded)) and self._cut(slot, length):
            return length
        return self._clear(slot)

    def offload(self, slot: int) -> None:
        if (offloaded := kv_cells.save(self._context, slot)) is not None:
            self._offloaded[slot] = offloaded
        self._clear(slot)

    def copy(self, src: int, dst: int, length: int) -> int:
        self._clear(dst)
        if src in self._offloaded:
            return length if self._restore(dst, self._offloaded[src]) and self._cut(dst, length) else self._clear(dst)
        if self._stateful and lib.llama_memory_seq_pos_max(self._memory, src) != length - 1:
            return 0  # a recurrent state is that of its last token only
        lib.llama_memory_seq_cp(self._memory, src, dst, 0, length)
        self._cells.copied(src, dst, length)
        return length if self._holds(dst, length) else self._clear(dst)

    def free_sequence(self, sequence_id: int) -> None:
        if (sampler := self._samplers.pop(sequence_id, None)) is not None:
            lib.llama_sampler_free(sampler)

    def release_idle_memory(self) -> None:
        pass  # llama.cpp holds the same memory, busy or not

    def reset(self) -> None:
        lib.llama_free(self._context)
        self._context = None
        self._offloaded, self._cells = {}, Cells(self.info.offload_tokens)
        self._make_context()

    def close(self) -> None:
        """In this order: what is freed first still points to what is freed later."""
        for sequence_id in list(self._samplers):
            self.free_sequence(sequence_id)
        if self._context:
            lib.llama_free(self._context)
        lib.llama_model_free(self._model)

    # The KV cache

    @property
    def _memory(self) -> Any:
        return lib.llama_get_memory(self._context)

    @property
    def _can_be_cut(self) -> bool:
        return not self._stateful and (not self._window or self._parameters.swa_full)

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
        if self._stateful:
            return True
        first = max(0, length - self._window + 1) if self._window else 0  # that the next token sees
        return bool(lib.llama_memory_seq_pos_min(memory, slot) <= first)

    # Sampling

    def _result(self, chunk: Chunk) -> Result:
        first, last = self._tokens.first_row[chunk.slot], self._tokens.last_row[chunk.slot]
        drawn = self._draw(chunk, last) if chunk.wants_token else []
        if drawn is None:
            assert chunk.matcher is not None
            return Result.failed(chunk.matcher)
        if (most := chunk.sampling.logprobs) is None:
            return Result(drawn)
        return Result(
            drawn,
            logprobs=self._logprobs(last, drawn, most),
            prompt_logprobs=self._logprobs(first, chunk.score_tokens, most),
        )

    def _logprobs(self, row: int, tokens: list[int], most: int) -> list[Logprobs]:
        """Of tokens that come after this row of the batch and those behind it."""
        return [llama_sampling.logprobs(self._logits(row + i), token, most) for i, token in enumerate(tokens)]

    def _logits(self, row: int) -> Any:
        """The model's own, of a row of the batch: float32 [vocabulary], valid until the next step."""
        return np.ctypeslib.as_array(lib.llama_get_logits_ith(self._context, row), (self.info.vocabulary,))

    def _draw(self, chunk: Chunk, row: int) -> list[int] | None:
        """What follows a row of the batch; None where the sequence's grammar leaves nothing. A mask, which costs far
        more than to ask about a token, is computed only where the first draw is refused."""
        matcher = chunk.matcher
        if matcher is None:
            return self._sample(chunk, row)
        sampler, logits = self._sampler(chunk), self._logits(row)
        token = llama_sampling.pick(sampler, logits, np.arange(len(logits)))
        if (token is None or not matcher.allows(token)) and (mask := matcher.mask()) is not None:
            bits = np.unpackbits(np.frombuffer(mask, np.uint8), bitorder="little")
            token = llama_sampling.pick(sampler, logits, np.flatnonzero(bits[: len(logits)]))
        if token is None or not matcher.accept(token):
            return None
        lib.llama_sampler_accept(sampler, token)
        return [token]

    def _sample(self, chunk: Chunk, row: int) -> list[int]:
        """The next token, and while it is as drafted the one after. The sampler has accepted them. `row`: of the first
        in the batch."""
        sampler = self._sampler(chunk)
        tokens = [int(lib.llama_sampler_sample(sampler, self._context, row))]
        for i, guess in enumerate(chunk.draft, 1):
            if tokens[-1] != guess or guess in self.info.eog:
                break
            tokens.append(int(lib.llama_sampler_sample(sampler, self._context, row + i)))
        if chunk.draft:
            lib.llama_memory_seq_rm(self._memory, chunk.slot, chunk.stop + len(tokens) - 1, -1)
        return tokens

    def _sampler(self, chunk: Chunk) -> Any:
        """The sequence's own sampler chain, made when it first samples: it has seen the whole prompt then."""
        if chunk.sequence_id not in self._samplers:
            self._samplers[chunk.sequence_id] = llama_sampling.chain_of(
                chunk.sampling, chunk.tokens, self._vocab, self.info.vocabulary, self.info.context
            )
        return self._samplers[chunk.sequence_id]

    # Loading

    def _load(self, spec: EngineSpec) -> Any:
        parameters = lib.llama_model_default_params()
        parameters.n_gpu_layers = ALL_LAYERS if spec.gpu_layers is None else spec.gpu_layers
        model = lib.llama_model_load_from_file(spec.model.encode(), parameters)
        if not model:
            raise LoadError(f"llama.cpp cannot load {spec.model}: {self._log.first_error}")
        if lib.llama_model_has_encoder(model) or not lib.llama_model_has_decoder(model):
            lib.llama_model_free(model)
            raise LoadError(f"{spec.model} is no text-generating model: it has an encoder.")
        return model

    def _check_layers(self, spec: EngineSpec) -> None:
        if not spec.require_gpu:
            return
        placed, layers = self._log.offloaded() or (0, lib.llama_model_n_layer(self._model))
        if placed < (asked := min(layers if spec.gpu_layers is None else spec.gpu_layers, layers)):
            raise LoadError(f"--require-gpu cannot be met: {placed} of {asked} layers lie on a GPU.")

    def _make_plan(self, spec: EngineSpec) -> fit.Plan:
        trained = lib.llama_model_n_ctx_train(self._model)
        plan = fit.plan(spec.context, trained, spec.parallel, self._token_bytes(), self._free_memory())
        if plan.context > trained:
            log.warning("--ctx %d is more than the %d tokens the model was trained for", plan.context, trained)
        return plan

    def _context_parameters(self, spec: EngineSpec) -> Any:
        """A unified cache, so that slots can share cells. A sliding-window model keeps its full cache where the pool
        that is wanted fits: only that can be cut anywhere."""
        threads = spec.threads or fit.physical_cores()
        parameters = lib.llama_context_default_params()
        parameters.n_ctx = self._plan.pool
        parameters.n_batch = STEP_TOKENS
        parameters.n_ubatch = GPU_TOKENS if self._log.offloaded() else CPU_TOKENS
        parameters.n_seq_max = min(spec.parallel + fit.SPARE_SLOTS, lib.llama_max_parallel_sequences())
        parameters.n_threads = parameters.n_threads_batch = threads
        parameters.kv_unified = True
        parameters.swa_full = self._plan.pool >= self._plan.context * spec.parallel
        parameters.no_perf = True
        return parameters

    def _make_context(self) -> None:
        self._context = lib.llama_init_from_model(self._model, self._parameters)
        if not self._context:
            need = self._plan.pool * self._token_bytes() / fit.MIB
            raise LoadError(
                f"llama.cpp cannot make a context: {self._log.first_error} The KV cache of {self._plan.pool} tokens "
                f"needs {need:.0f} MiB; lower --ctx or --parallel."
            )

    def _warm_up(self, spec: EngineSpec) -> None:
        """The first step pays for what is allocated lazily; nobody should wait for that. Raises LoadError where it
        gives no numbers."""
        tokens = [max(lib.llama_vocab_bos(self._vocab), 0)] * WARMUP_TOKENS
        self.submit([Chunk(0, 0, tokens, 0, WARMUP_TOKENS, SamplingParams(temperature=0))])
        self.collect()
        if not np.isfinite(self._logits(self._tokens.last_row[0])).any():
            raise LoadError(f"{spec.model} computes what is no number: its weights are damaged.")
        self.free_sequence(0)
        self._clear(0)

    def _describe(self, spec: EngineSpec) -> ModelInfo:
        vocabulary = lib.llama_vocab_n_tokens(self._vocab)
        return ModelInfo(
            engine=f"llama.cpp (llama-cpp-python {llama_cpp.__version__})",
            device=self._device(),
            layers=self._layers(),
            slots=lib.llama_n_seq_max(self._context),
            parallel=spec.parallel,
            context=self._plan.context,
            trained_context=lib.llama_model_n_ctx_train(self._model),
            kv_tokens=lib.llama_n_ctx(self._context),
            attention_tile_rows=0 if self._log.offloaded() else CPU_TILE,
            can_truncate=self._can_be_cut,
            draft_tokens=speculation.TOGETHER if self._can_be_cut else 0,
            offload_tokens=self._offload_tokens(),
            kv_place=self._log.kv_place(),
            kv_bytes=self._log.kv_bytes() or self._plan.pool * self._token_bytes(),
            step_tokens=STEP_TOKENS,
            vocabulary=vocabulary,
            eog=frozenset(t for t in range(vocabulary) if lib.llama_vocab_is_eog(self._vocab, t)),
            template=self._template(),
            bos=self.tokenizer.text(lib.llama_vocab_bos(self._vocab)),
            eos=self.tokenizer.text(lib.llama_vocab_eos(self._vocab)),
            infill=fill_in_middle.find(self.tokenizer, self._infill_texts()),
            adds_bos=lib.llama_vocab_get_add_bos(self._vocab),
            sampling=self._sampling,
            samplers=frozenset(SAMPLERS),
            fingerprint=fingerprint.of(header.files(Path(spec.model))),
        )

    def _template(self) -> str | None:
        try:
            return (lib.llama_model_chat_template(self._model, None) or b"").decode() or None
        except UnicodeDecodeError as error:
            log.warning("the model's chat template is left out, since it is not UTF-8 (%s)", error)
            return None

    def _infill_texts(self) -> list[str]:
        finders = (lib.llama_vocab_fim_pre, lib.llama_vocab_fim_suf, lib.llama_vocab_fim_mid)
        return [self.tokenizer.text(finder(self._vocab)) for finder in finders]

    def _token_bytes(self) -> int:
        """KV cache of one token, in bytes: keys and values, 16 bits each, in every layer that has heads for them. Too
        much for models that keep less in some layers; the state of recurrent layers does not grow and is not in it."""
        heads = lib.llama_model_n_head(self._model)
        head = lib.llama_model_n_embd(self._model) // max(heads, 1)
        arch = self._metadata("general.architecture") or ""
        lengths = [int(self._metadata(f"{arch}.attention.{kind}_length") or head) for kind in ("key", "value")]
        kv_heads = [int(n) for n in re.findall(r"\d+", self._metadata(f"{arch}.attention.head_count_kv") or "")]
        if len(kv_heads) < 2:  # one number for all layers; llama_model_n_head_kv knows the first layer's only
            kv_heads = [lib.llama_model_n_head_kv(self._model)] * lib.llama_model_n_layer(self._model)
        return max(sum(kv_heads) * sum(lengths) * 2, 1)

    def _offload_tokens(self) -> int:
        """A GPU reads masked cells fast, and to move them over the bus would cost more. What llama.cpp saves of a slot
        lacks what has left the window, so that it could not be cut any more (llama-kv-cache.cpp:2091)."""
        if self._log.offloaded() or (self._window and self._parameters.swa_full):
            return 0
        return fit.offload_tokens(self._token_bytes(), self._free_memory())

    def _metadata(self, key: str) -> str | None:
        """A value of the GGUF's header as text, an array as "[1, 2, …]"."""
        room = 256
        while True:
            buffer = ctypes.create_string_buffer(room)
            length = lib.llama_model_meta_val_str(self._model, key.encode(), buffer, room)
            if length < room:
                return buffer.value.decode(errors="replace") if length >= 0 else None
            room = length + 1

    def _free_memory(self) -> int:
        """Bytes free where the KV cache will lie: on the GPUs if layers were placed there, else in main memory, where
        the weights are mapped and count as free until they are read."""
        if self._log.offloaded():
            return sum(device.free for device in library.devices() if device.is_gpu)
        return max(fit.free_host_memory() - int(lib.llama_model_size(self._model)), 0)

    def _device(self) -> str:
        gpu = bool(self._log.offloaded())
        return ", ".join(device.name for device in library.devices() if device.is_gpu == gpu) or "CPU"

    def _layers(self) -> str:
        if offloaded := self._log.offloaded():
            return f"{offloaded[0]} of {offloaded[1]} on the GPU"
        return f"all {lib.llama_model_n_layer(self._model)} on the CPU"


def _refuse(spec: EngineSpec) -> None:
    """What MLX takes and llama.cpp does not."""
    if spec.wired_limit not in (None, "off"):
        raise LoadError("--wired-limit is for MLX, and this model runs on llama.cpp; leave it out.")
    if Path(spec.model).is_dir():
        raise LoadError(
            f"{spec.model} is a folder, which MLX may open (--engine mlx); llama.cpp opens GGUF files. "
            f"`nitro convert {spec.model} --to gguf` makes one of it."
        )


def _check_header(path: Path) -> SamplingDefaults:
    """What the file recommends for sampling. Raises LoadError where it is damaged: llama.cpp would say less of it."""
    try:
        head = header.read_all(path, whole=False)
    except header.UnreadableGGUF as error:
        raise LoadError(str(error)) from None
    except OSError as error:
        raise LoadError(f"{error.filename or path} cannot be read: {error.strerror}.") from None
    return sampling_defaults.from_file(path, head.metadata, header.SAMPLING_KEYS)


def _look_for_gpu(spec: EngineSpec) -> None:
    """No silence where a GPU could compute and does not. Before the weights are read: they may take minutes."""
    if spec.require_gpu and spec.gpu_layers == 0:
        raise LoadError("--require-gpu and --gpu-layers 0 exclude each other; leave one of them out.")
    build = library.build()
    if build.has_gpu or spec.gpu_layers == 0:
        return
    finding = without_gpu(build, nvidia.find())
    if spec.require_gpu:
        raise LoadError(f"--require-gpu cannot be met. {finding}")
    if finding and finding.cure:
        log.warning("%s", finding)
