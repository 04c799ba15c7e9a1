"""A model file that llama.cpp has loaded, and what can be asked of it. No context, no KV cache.

Line references are to llama.cpp as it is in llama-cpp-python 0.3.36.
"""

import ctypes
import logging
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import llama_cpp.llama_cpp as lib

from nitro.engines import sampling_defaults
from nitro.engines.backends.llama import layer_placement, library, parameters
from nitro.engines.backends.llama.library import Log
from nitro.engines.backends.llama.parameters import bytes_of
from nitro.engines.backends.llama.remote.layers import RemoteLayers
from nitro.engines.backends.llama.tokenizer import LlamaTokenizer
from nitro.engines.hardware import memory
from nitro.engines.hardware.libraries import Device
from nitro.engines.runner import LoadError
from nitro.engines.types import EngineSpec
from nitro.engines.weights_read import OF_THIS_PROCESS
from nitro.gguf import header
from nitro.gguf.embedding import kind_of
from nitro.gguf.header import Header

log = logging.getLogger("llama.cpp")

ALL_LAYERS = 10_000
LONG_FACTORS = "rope_factors_long"  # in the name of a tensor (gguf.constants)


class LlamaModel:
    """Weights, vocabulary and metadata. `close` frees them."""

    def __init__(self, spec: EngineSpec, head: Header | None = None):
        """`head`: the file's, where it is known. Raises LoadError: a folder, a damaged file, no GPU where one is
        required."""
        parameters.check(spec)
        self.path = Path(spec.model)
        head = head or read_header(self.path)
        self.embeds_only = kind_of(head) is not None
        self.header = head
        self.sampling = sampling_defaults.from_file(self.path, head.metadata, header.SAMPLING_KEYS)
        # the long ones are taken where a stream has more cells than the original context (llama-model.cpp:2345)
        self.rope_depends_on_cells = any(LONG_FACTORS in name for name in head.tensors)
        self.log = library.capture_log()
        lib.llama_backend_init()
        weights = sum(tensor.size for tensor in head.tensors.values())
        self._remote = RemoteLayers(spec, weights) if spec.rpc else None
        uses_gpu = bool(self._remote) or layer_placement.find_gpu(spec)
        OF_THIS_PROCESS.begin(weights)
        self.pointer = _load(spec, self.log, uses_gpu)
        if "failed to mlock" in self.log.text:
            log.warning("--mlock: the system does not let all weights be locked in memory; `ulimit -l` is its limit")
        is_locked = spec.mlock and "failed to mlock" not in self.log.text
        self._counts_as_free = not (spec.no_mmap or is_locked)
        self._cache_types = (spec.cache_type_k, spec.cache_type_v)
        try:
            self.layers: int = lib.llama_model_n_layer(self.pointer)
            self.placement = layer_placement.find_layers(spec, uses_gpu, self.layers, self.log)
            if self._remote:
                self._remote.loaded()
                self.placement = replace(self.placement, remote=self._remote.layers(self.log))
        except LoadError:
            self.close()
            raise
        self.vocab = lib.llama_model_get_vocab(self.pointer)
        self.tokenizer = LlamaTokenizer(self.vocab, self.path)
        self.vocabulary: int = lib.llama_vocab_n_tokens(self.vocab)  # number of token ids
        self.trained_context: int = lib.llama_model_n_ctx_train(self.pointer)
        # a recurrent state instead of a KV cache, in all layers or in some
        self.stateful = bool(lib.llama_model_is_recurrent(self.pointer) or lib.llama_model_is_hybrid(self.pointer))
        self.window: int = lib.llama_model_n_swa(self.pointer)  # tokens that attention sees back; 0: all

    def close(self) -> None:
        """Free it. Contexts and samplers that point to it are to be freed before."""
        if self._remote:
            self._remote.close()
        lib.llama_model_free(self.pointer)

    @property
    def eog(self) -> frozenset[int]:
        """The end-of-generation token ids. To ask for each token of a vocabulary takes up to tenths of a second."""
        said = self.log.ends()
        asked = range(self.vocabulary) if said is None else said
        return frozenset(token for token in asked if lib.llama_vocab_is_eog(self.vocab, token))

    @property
    def device(self) -> str:
        """The names of what computes: the GPUs, or the CPU."""
        devices = [device for device in self._devices() if device.is_gpu == self.placement.on_gpu]
        return ", ".join(device.name for device in devices) or "CPU"

    def template(self, name: str | None = None) -> str | None:
        """The chat template of the metadata, or the one of this name; None where there is none, or one that is not
        UTF-8."""
        try:
            found: bytes | None = lib.llama_model_chat_template(self.pointer, name and name.encode())
            return (found or b"").decode() or None
        except UnicodeDecodeError as error:
            log.warning("the model's chat template is ignored, because it is not UTF-8 (%s)", error)
            return None

    def infill_texts(self) -> list[str]:
        """The metadata's tokens for filling in the middle: before the beginning, before the end, before the middle."""
        finders = (lib.llama_vocab_fim_pre, lib.llama_vocab_fim_suf, lib.llama_vocab_fim_mid)
        return [self.tokenizer.text(finder(self.vocab)) for finder in finders]

    def token_bytes(self) -> int:
        """KV cache of one token, in bytes: keys and values of their types, in every layer that has heads for them. Too
        much for models that keep less in some layers; the state of recurrent layers does not grow and is not in it."""
        keys, values = self.head_lengths
        arch = self._metadata("general.architecture") or ""
        kv_heads = [int(n) for n in re.findall(r"\d+", self._metadata(f"{arch}.attention.head_count_kv") or "")]
        if len(kv_heads) < 2:  # one number for all layers; llama_model_n_head_kv knows the first layer's only
            kv_heads = [lib.llama_model_n_head_kv(self.pointer)] * self.layers
        of_keys, of_values = self._cache_types
        total = sum(bytes_of(of_keys, n * keys) + bytes_of(of_values, n * values) for n in kv_heads)
        return max(total, 1)

    @property
    def head_lengths(self) -> tuple[int, int]:
        """Numbers in a key and in a value of one head."""
        head = lib.llama_model_n_embd(self.pointer) // max(lib.llama_model_n_head(self.pointer), 1)
        arch = self._metadata("general.architecture") or ""
        keys, values = (int(self._metadata(f"{arch}.attention.{kind}_length") or head) for kind in ("key", "value"))
        return keys, values

    @property
    def mapped_bytes(self) -> int:
        """Bytes of weights in main memory that the system counts as free: those of a file that is mapped can be read
        again."""
        return int(lib.llama_model_size(self.pointer)) if self._counts_as_free and not self.placement.on_gpu else 0

    def free_memory(self) -> int:
        """Bytes free where the KV cache will lie: on the GPUs if layers lie there, else in main memory, beside all
        weights."""
        if self.placement.on_gpu:
            return sum(device.free for device in self._devices() if device.is_gpu)
        return max(memory.free_host_memory() - self.mapped_bytes, 0)

    @property
    def kv_place(self) -> str:
        """Where the KV cache lies."""
        place = self.log.kv_place()
        return self._remote.named(place) if self._remote else place

    @property
    def on_own_gpu(self) -> bool:
        """Whether this machine has a GPU, and layers lie on it or on other machines."""
        return self.placement.on_gpu and bool(library.own_gpus())

    def _devices(self) -> list[Device]:
        """Workers first, as llama.cpp has them."""
        return [*(library.devices_elsewhere() if self._remote else ()), *library.devices()]

    def _metadata(self, key: str) -> str | None:
        """A value of the GGUF's header as text, an array as "[1, 2, …]"."""
        room = 256
        while True:
            buffer = ctypes.create_string_buffer(room)
            length = lib.llama_model_meta_val_str(self.pointer, key.encode(), buffer, room)
            if length < room:
                return buffer.value.decode(errors="replace") if length >= 0 else None
            room = length + 1


def _refuse_folder(path: Path) -> None:
    if path.is_dir():
        raise LoadError(
            f"{path} is a folder, which MLX may open (--engine mlx); llama.cpp opens GGUF files. "
            f"`nitro convert {path} --to gguf` makes one of it."
        )


def read_header(path: Path) -> Header:
    """Its metadata and tensors. Raises LoadError where it is a folder, or damaged: llama.cpp would say less of it."""
    _refuse_folder(path)
    try:
        return header.read_all(path, full=False)
    except header.UnreadableGGUF as error:
        raise LoadError(str(error)) from None
    except OSError as error:
        raise LoadError(f"{error.filename or path} cannot be read: {error.strerror}.") from None


def _load(spec: EngineSpec, llama_log: Log, uses_gpu: bool) -> Any:
    """A pointer to the model. Raises LoadError."""
    asked = parameters.model_parameters(spec, uses_gpu)
    asked.n_gpu_layers = ALL_LAYERS if spec.gpu_layers is None else spec.gpu_layers
    asked.progress_callback = progressed = lib.llama_progress_callback(_progressed)
    pointer = lib.llama_model_load_from_file(spec.model.encode(), asked)
    del progressed  # which llama.cpp calls no more
    if not pointer:
        raise LoadError(f"llama.cpp cannot load {spec.model}: {llama_log.first_error}")
    if lib.llama_model_has_encoder(pointer) or not lib.llama_model_has_decoder(pointer):
        lib.llama_model_free(pointer)
        raise LoadError(f"{spec.model} is not a model that generates text: it has an encoder.")
    return pointer


def _progressed(share: float, _: Any) -> bool:
    """llama.cpp's progress callback: it goes on."""
    OF_THIS_PROCESS.reach(share)
    return True
