"""Whether a GGUF file is a LoRA of a model, before llama.cpp reads it: that checks less, names no tensor where it does,
and ends the process at some of what it does not check.

Line references are to llama.cpp as it is in llama-cpp-python 0.3.36.
"""

import struct
from pathlib import Path

from nitro.engines.backends.llama.model import LlamaModel, read_header
from nitro.engines.runner import LoadError
from nitro.gguf import lora_faults
from nitro.gguf.constants import GGUFValueType
from nitro.gguf.header import Header, Tensor

A, B = ".lora_a", ".lora_b"
ALPHA = "adapter.lora.alpha"
INVOCATION = "adapter.alora.invocation_tokens"  # of an adapter that begins in the middle of a prompt
EMBEDDING = "token_embd.weight"  # its parts are the other way round (llm_graph_context::build_inp_embd)
TYPES = {"F32", "F16", "BF16", "Q8_0"}  # that convert_lora_to_gguf.py writes


def check(path: Path, model: LlamaModel) -> int:
    """The rank of the adapter. Raises LoadError with a sentence where it is none of this model's."""
    if not path.exists():
        raise LoadError(f"{path}: no such file or folder.")
    head = read_header(path)
    _check_kind(path, head, model)
    pairs: dict[str, dict[str, Tensor]] = {}
    for name, tensor in head.tensors.items():
        base, part = name[: -len(A)], name[-len(A) :]
        if part not in (A, B):
            raise LoadError(f"{path}: the tensor {name} is no part of a LoRA, and llama.cpp does not apply it.")
        if tensor.type not in TYPES:
            raise LoadError(f"{path}: the tensor {name} is {tensor.type}; supported are {', '.join(sorted(TYPES))}.")
        pairs.setdefault(base, {})[part] = tensor
    if not pairs:
        raise LoadError(f"{path} has no tensors of a LoRA.")
    return max(_rank(path, name, parts, model) for name, parts in pairs.items())


def _check_kind(path: Path, head: Header, model: LlamaModel) -> None:
    kind, adapter = head.get("general.type"), head.get("adapter.type")
    if kind != "adapter" or adapter != "lora":
        raise LoadError(f"{path} is no LoRA: its general.type is {kind!r} and its adapter.type {adapter!r}.")
    of = model.header.architecture
    if head.architecture != of:
        raise LoadError(f"{path} is an adapter of {head.architecture!r}, and the model is {of!r}.")
    if INVOCATION in head.metadata:
        raise LoadError(f"{path} has {INVOCATION}: it begins in the middle of a prompt, which is not supported.")
    written = ALPHA.encode() + struct.pack("<I", GGUFValueType.FLOAT32)
    if ALPHA in head.metadata and written not in path.read_bytes()[: _header_size(head)]:
        raise LoadError(f"{path}: {ALPHA} is no 32-bit float.")  # at which llama.cpp ends the process


def _header_size(head: Header) -> int:
    return min((tensor.offset for tensor in head.tensors.values()), default=2**20)


def _rank(path: Path, name: str, parts: dict[str, Tensor], model: LlamaModel) -> int:
    """Shapes are rows first: a [rank, in], b [out, rank], the weight [out, in]."""
    if len(parts) < 2:
        raise LoadError(f"{path} has only one of the two parts of {name}.")
    if problem := lora_faults.problem(model.header, name):
        raise LoadError(f"{path} cannot be applied: {problem}.")
    found = model.header.tensors.get(name)
    if found is None:
        raise LoadError(f"{path} changes {name}, and the model has no such tensor: it is an adapter of another model.")
    weight, a, b = found.shape, parts[A].shape, parts[B].shape
    if name == EMBEDDING and len(a) == len(b) == 2:
        fits = (a[0], b[0]) == weight and a[1] == b[1]
        rank = a[1]
    else:
        fits = len(a) == len(b) == len(weight) >= 2 and a[-2] == b[-1]
        fits = fits and a[:-2] == b[:-2] == weight[:-2] and (b[-2], a[-1]) == weight[-2:]
        rank = a[-2] if len(a) >= 2 else 0
    if not fits or not rank:
        shapes = f"{list(a)} and {list(b)} for a weight of {list(weight)}"
        raise LoadError(f"{path}: the parts of {name} do not fit each other or the model: {shapes}.")
    return rank
