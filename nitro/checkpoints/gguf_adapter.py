"""Reads and writes a LoRA as llama.cpp takes it (src/llama-adapter.cpp, build_lora_mm in src/llama-graph.cpp).

Tensors: NAME.lora_a [rank, in] and NAME.lora_b [out, rank], NAME being the model's tensor; of the embedding
[tokens, rank] and [width, rank]; of a stack of experts with their number before. The scale of a layer is
adapter.lora.alpha / rank, and 1 where alpha is 0 or missing: one alpha for all layers. A layer whose scale another
alpha would give has the quotient in its b.

llama.cpp's own script writes PEFT's lora_alpha there and reads neither use_rslora nor alpha_pattern
(findings/llamacpp_lora_scale.sh).
"""

from collections import defaultdict
from pathlib import Path

import numpy as np
from gguf import GGMLQuantizationType, GGUFWriter
from gguf.quants import dequantize

from nitro.checkpoints import adapter_kinds
from nitro.checkpoints.adapters import Adapter, AdapterType, LowRank, checked, common_factor, in_type
from nitro.errors import AdapterError
from nitro.gguf import architectures, layer_tensors, lora_faults, weights
from nitro.gguf.header import Header, Tensor, UnreadableGGUF

A, B = ".lora_a", ".lora_b"
ALPHA = "adapter.lora.alpha"
INVOCATION = "adapter.alora.invocation_tokens"


def read(file: Path, base: Header) -> Adapter:
    """The adapter, with the names and the order of rows of the original model. `base`: the header of the model
    (adapter_base.Base). Raises AdapterError."""
    head = adapter_kinds.read_header(file)
    if head.architecture != base.architecture:
        raise AdapterError(f"{file} is for the architecture {head.architecture!r}, and {base.path} is another.")
    if INVOCATION in head.metadata:
        raise AdapterError(f"{file} has {INVOCATION} (aLoRA), which begins in the middle of a prompt.")
    layers = {}
    for name, parts in _parts(head).items():
        if len(parts) < 2:
            raise AdapterError(f"{file} has only one of the two parts of {name}.")
        a, b = parts[A], parts[B]
        if name == layer_tensors.EMBEDDING and a.ndim == b.ndim == 2:
            a, b = b.T, a
        change = checked(file, name, LowRank(a, b, _scale(head, b.shape[-1])))
        try:
            layer = layer_tensors.layer_of(base, name)
            ordered = b if b.ndim != 2 else architectures.in_model_order(base, name, b)
        except (UnreadableGGUF, ValueError) as error:
            raise AdapterError(f"{file} does not fit {base.path}: {error}") from None
        layers[layer] = LowRank(change.a, ordered, change.scale)
    if not layers:
        raise AdapterError(f"{file} has no tensors of a LoRA.")
    return Adapter(file, "gguf", layers)


def write(adapter: Adapter, base: Header, file: Path, type: AdapterType = "F32") -> None:
    """Write the adapter in this type. `base`: see `read`. Raises AdapterError where llama.cpp's model of that
    architecture does not have a layer as the original has it, or computes it without the LoRA; OSError."""
    alpha = common_factor(change.scale * change.rank for change in adapter.layers.values())
    writer = GGUFWriter(file, base.architecture)
    writer.add_type("adapter")
    writer.add_string("adapter.type", "lora")
    writer.add_name(adapter.path.resolve().name)
    writer.add_float32(ALPHA, alpha)
    for layer, change in adapter.layers.items():
        try:
            name = layer_tensors.tensor_of(base, layer)
            b = change.b if change.b.ndim != 2 else layer_tensors.in_file_order(base, name, change.b)
        except (UnreadableGGUF, ValueError) as error:
            raise AdapterError(f"{adapter.path} does not fit {base.path}: {error}") from None
        if problem := lora_faults.problem(base, name):
            raise AdapterError(f"{adapter.path} changes {layer}, and {problem}.")
        factor = np.float32(change.scale * change.rank / alpha)
        a, b = (b, change.a.T) if name == layer_tensors.EMBEDDING else (change.a, b)
        a, b = in_type(a, b * factor, type)
        writer.add_tensor(name + A, np.ascontiguousarray(a))
        writer.add_tensor(name + B, np.ascontiguousarray(b))
    try:
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
    finally:
        writer.close()


def _scale(head: Header, rank: int) -> float:
    alpha = head.get(ALPHA, 0.0)
    if not isinstance(alpha, int | float):
        raise AdapterError(f"{head.path}: {ALPHA} is {alpha!r}; supported is a number.")
    return alpha / rank if alpha else 1.0


def _parts(head: Header) -> dict[str, dict[str, np.ndarray]]:
    """The tensors by the model's tensor and part, as float32."""
    found: dict[str, dict[str, np.ndarray]] = defaultdict(dict)
    for name, tensor in head.tensors.items():
        part = next((part for part in (A, B) if name.endswith(part)), None)
        if part is None:
            raise AdapterError(f"{head.path}: tensor {name} is not part of a LoRA, and llama.cpp leaves it out.")
        found[name.removesuffix(part)][part] = _numbers(head, name, tensor)
    return found


def _numbers(head: Header, name: str, tensor: Tensor) -> np.ndarray:
    if not weights.is_readable(tensor.type) or len(tensor.shape) < 2:
        raise AdapterError(f"{head.path}: tensor {name} is {tensor.type} {list(tensor.shape)}, which cannot be read.")
    values = dequantize(weights.stored(tensor), GGMLQuantizationType[tensor.type])
    return np.asarray(values, np.float32).reshape(tensor.shape)
