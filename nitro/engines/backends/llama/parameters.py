"""The options that llama-server has, too, as llama.cpp's parameters; and what does not go together is refused by name.

Line references are to llama.cpp as it is in llama-cpp-python 0.3.36.
"""

import ctypes
from typing import Any

import llama_cpp.llama_cpp as lib
from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType

from nitro.engines.backends.llama import library
from nitro.engines.options import EngineOptions, options_of
from nitro.engines.runner import LoadError
from nitro.engines.types import EngineSpec

FLASH_ATTENTION = {
    "on": lib.LLAMA_FLASH_ATTN_TYPE_ENABLED,
    "off": lib.LLAMA_FLASH_ATTN_TYPE_DISABLED,
    "auto": lib.LLAMA_FLASH_ATTN_TYPE_AUTO,
}
SPLIT_MODES = {"none": 0, "layer": 1, "row": 2, "tensor": 3}  # llama_split_mode (llama.h:199)
ROPE_SCALING = {"none": 0, "linear": 1, "yarn": 2}  # llama_rope_scaling_type
LOAD_MODES = {(True, False): -1, (True, True): 3, (False, False): 0, (False, True): 2}  # llama_load_mode: (mmap, mlock)
EXPERTS = r"blk\.%d\.ffn_(up|down|gate|gate_up)_(ch|)exps"  # names of a layer's experts (common.h:1198)

# options by whether they need something to be of use; the defaults are those of EngineOptions
FOR_GPUS = {"--split-mode": "split_mode", "--tensor-split": "tensor_split", "--main-gpu": "main_gpu"}
NOT_DETERMINISTIC = {"--cache-type-k": "cache_type_k", "--cache-type-v": "cache_type_v", "--flash-attn": "flash_attn"}
FOR_YARN = {
    "--yarn-ext-factor": "yarn_ext_factor",
    "--yarn-attn-factor": "yarn_attn_factor",
    "--yarn-beta-fast": "yarn_beta_fast",
    "--yarn-beta-slow": "yarn_beta_slow",
}
FOR_WORKERS = {"--insecure-network": "insecure_network", "--rpc-insecure-network": "rpc_insecure_network"}
# parameters of a context that take the option's value
NUMBERS = ("rope_freq_base", "rope_freq_scale", "yarn_orig_ctx", *FOR_YARN.values())


class TensorOverride(ctypes.Structure):
    """llama_model_tensor_buft_override (llama.h:314)."""

    _fields_ = (("pattern", ctypes.c_char_p), ("buffer_type", ctypes.c_void_p))


def check(spec: EngineSpec) -> None:
    """Raise LoadError for options that llama.cpp cannot have together: it would say so after it has read the weights,
    or not at all."""
    if _is_quantized(spec.cache_type_v) and spec.flash_attn == "off":
        raise LoadError(f"--cache-type-v {spec.cache_type_v} needs flash attention. Leave out --flash-attn off.")
    if spec.split_mode == "tensor" and spec.flash_attn == "off":
        raise LoadError("--split-mode tensor needs flash attention. Leave out --flash-attn off.")
    if spec.rope_scale is not None and spec.rope_freq_scale is not None:
        raise LoadError("--rope-scale is 1 / --rope-freq-scale; leave one of them out.")
    if spec.rope_scaling == "none" and (spec.rope_scale or spec.rope_freq_scale):
        raise LoadError("--rope-scaling none scales nothing: leave out --rope-scale and --rope-freq-scale.")
    for flag in _given(spec, FOR_YARN):
        if spec.rope_scaling in ("none", "linear"):
            raise LoadError(f"{flag} is for YaRN, and --rope-scaling is {spec.rope_scaling}. Leave one of them out.")
    for flag in _given(spec, NOT_DETERMINISTIC):
        if spec.deterministic:
            raise LoadError(f"--deterministic chooses the KV cache's types and attention itself. Leave out {flag}.")
    for flag in _given(spec, FOR_WORKERS):
        if not spec.rpc:
            raise LoadError(f"{flag} is about workers, and none is named (--rpc). Leave it out.")
    if spec.tensor_split is not None and not any(_shares(spec)):
        raise LoadError(f"--tensor-split {spec.tensor_split} leaves nothing for any device.")


def model_parameters(spec: EngineSpec, uses_gpu: bool) -> Any:
    """llama_model_params. What it points to lives as long as it does. Raises LoadError for options of GPUs without one,
    and for a GPU or a place that is not there."""
    made = lib.llama_model_default_params()
    if spec.deterministic:
        made.use_extra_bufts = False  # weights packed anew have other kernels for four rows than for one
    made.load_mode = LOAD_MODES[not spec.no_mmap, spec.mlock]
    for flag in _given(spec, FOR_GPUS):
        if not uses_gpu:
            raise LoadError(f"{flag} is for GPUs, and llama.cpp uses none here. Leave it out.")
    own, remote = library.own_gpus(), library.remote_devices()
    if remote and not spec.rpc:  # a draft model, beside one that has its layers there
        made.own_gpus = (ctypes.c_void_p * (len(own) + 1))(*own)  # ends with a null; kept as an attribute of Python's
        made.devices = ctypes.addressof(made.own_gpus)
    gpus = sum(device.is_gpu for device in library.devices()) + (len(remote) if spec.rpc else 0)
    if spec.main_gpu >= max(gpus, 1):
        raise LoadError(f"--main-gpu {spec.main_gpu}: there are {gpus} GPUs, counted from 0.")
    made.main_gpu = spec.main_gpu
    made.split_mode = SPLIT_MODES[spec.split_mode]
    if spec.tensor_split is not None:
        shares = _shares(spec)
        of = "devices, first the workers'" if spec.rpc else "GPUs"
        if len(shares) > gpus:
            raise LoadError(f"--tensor-split {spec.tensor_split} is for {len(shares)} {of}, and there are {gpus}.")
        made.tensor_split = (ctypes.c_float * lib.llama_max_devices())(*shares)
    overrides = _overrides(spec)
    if overrides:
        made.kept = (TensorOverride * (len(overrides) + 1))(*overrides)  # an attribute that ctypes does not know
        made.tensor_buft_overrides = ctypes.addressof(made.kept)
    return made


def set_context_parameters(made: Any, spec: EngineSpec) -> None:
    """Set those of a llama_context_params that an option says."""
    made.type_k = ggml_type(spec.cache_type_k)
    made.type_v = ggml_type(spec.cache_type_v)
    made.flash_attn_type = FLASH_ATTENTION[spec.flash_attn]
    if spec.rope_scaling is not None:
        made.rope_scaling_type = ROPE_SCALING[spec.rope_scaling]
    if spec.rope_scale is not None:
        made.rope_freq_scale = 1 / spec.rope_scale
    for name in NUMBERS:
        if getattr(spec, name) is not None:
            setattr(made, name, getattr(spec, name))


def stretches(spec: EngineSpec) -> bool:
    """Whether the context is to be longer than the model was trained for."""
    return any(value is not None for value in (spec.rope_scale, spec.rope_freq_scale, spec.rope_freq_base))


def ggml_type(name: str) -> int:
    """The number of a type in ggml.h."""
    return int(GGMLQuantizationType[name.upper()])


def bytes_of(name: str, numbers: int) -> int:
    """Bytes of so many numbers of this type, whole blocks."""
    block, size = GGML_QUANT_SIZES[GGMLQuantizationType[name.upper()]]
    return -(-numbers // block) * size


def block_of(name: str) -> int:
    """How many numbers of a type are packed together."""
    return int(GGML_QUANT_SIZES[GGMLQuantizationType[name.upper()]][0])


def _is_quantized(name: str) -> bool:
    return block_of(name) > 1


def _given(spec: EngineSpec, flags: dict[str, str]) -> list[str]:
    """Those of the flags that do not have their default."""
    defaults = {option.field: option.default for option in options_of(EngineOptions)}
    return [flag for flag, field in flags.items() if getattr(spec, field) != defaults[field]]


def _shares(spec: EngineSpec) -> list[float]:
    return [float(share) for share in (spec.tensor_split or "").split(",")]


def _overrides(spec: EngineSpec) -> list[TensorOverride]:
    """Patterns of tensors that are to lie elsewhere. The first that matches counts."""
    places = library.buffer_types()
    asked = [pair.rpartition("=") for pair in (spec.override_tensor or "").split(",") if pair]
    for _, _, place in asked:
        if place not in places:
            raise LoadError(f"--override-tensor: there is no buffer type {place!r}; there are {', '.join(places)}.")
    pairs = [(pattern, place) for pattern, _, place in asked]
    pairs += [(EXPERTS % layer, "CPU") for layer in range(spec.n_cpu_moe)]
    return [TensorOverride(pattern.encode(), places[place]) for pattern, place in pairs]
