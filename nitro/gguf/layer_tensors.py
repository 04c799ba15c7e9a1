"""The tensors of a GGUF that a LoRA can change, and their rows in the file's order and in the model's.

The header may be that of a file, or one that `header_of` makes of a folder's configuration.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from nitro.gguf import architectures
from nitro.gguf.header import Header, UnreadableGGUF

NUMBER = re.compile(r"(?<=layers\.)\d+(?=\.)")
END = re.compile(r"(?:^|\.)(layers\.N\..+)$")
OUTPUT, EMBEDDING = "output.weight", "token_embd.weight"
# what the order of rows depends on: by a GGUF's key, the keys of config.json that may have it
KEYS = {
    "block_count": ("num_hidden_layers",),
    "attention.head_count": ("num_attention_heads",),
    "attention.head_count_kv": ("num_key_value_heads",),
    "expert_count": ("num_local_experts", "num_experts", "n_routed_experts"),
}
MISTRAL = {"mistral": "llama"}  # in GGUFs Mistral's architecture is llama


def header_of(folder: Path, config: Mapping[str, Any]) -> Header:
    """What the header of the folder's GGUF would say of the names and the order of tensors. Raises UnreadableGGUF
    where the architecture is not known."""
    config = {**config, **(config.get("text_config") or {})}
    model_type = str(config.get("model_type"))
    of_types = {family.model_type: name for name, family in reversed(architectures.FAMILIES.items())}
    of_variants = {f.model_type: name for name, variants in architectures.VARIANTS.items() for _, f in variants}
    name = {**of_variants, **of_types, **MISTRAL}.get(model_type)
    if name is None:
        raise UnreadableGGUF(f"{folder} is a model of the type {model_type!r}, whose names in a GGUF are not known.")
    metadata: dict[str, Any] = {"general.architecture": name}
    for key, candidates in KEYS.items():
        number = next((config[each] for each in candidates if isinstance(config.get(each), int)), None)
        if number is not None:
            metadata[f"{name}.{key}"] = number
    return Header(folder, metadata, {})


def tensor_of(header: Header, layer: str) -> str:
    """The tensor of a layer of the model. What is before "layers." in its name may differ. Raises UnreadableGGUF where
    the architecture has no such layer, or its tensor is not the layer's weight as it is."""
    number = NUMBER.search(layer)
    wanted = _end(NUMBER.sub("N", layer, count=1) + ".weight")
    found = [name for name, goal in architectures.of(header).names.items() if _end(goal) == wanted]
    if len(found) != 1:
        raise UnreadableGGUF(f"{header.path} has no tensor that is known to be {layer}.")
    tensor = found[0].replace("blk.N.", f"blk.{number[0]}.") if number else found[0]
    _refuse_other_numbers(header, tensor)
    return tensor


def mlx_layer(header: Header, layer: str) -> str:
    """What mlx-lm calls a layer of the model. Raises UnreadableGGUF as `tensor_of`."""
    return layer_of(header, tensor_of(header, layer))


def layer_of(header: Header, tensor: str) -> str:
    """The layer of the model whose weight the tensor is. Raises UnreadableGGUF as `tensor_of`."""
    _refuse_other_numbers(header, tensor)
    return architectures.model_name(header, tensor).removesuffix(".weight")


def in_file_order(header: Header, tensor: str, rows: np.ndarray) -> np.ndarray:
    """Rows in the model's order, [rows, anything], in the order of the file: the other way round than
    `architectures.in_model_order`."""
    if not architectures.is_reordered(header, tensor):
        return rows
    order = architectures.in_model_order(header, tensor, np.arange(len(rows))[:, None])[:, 0]
    moved = np.empty_like(rows)
    moved[order] = rows
    return moved


def _refuse_other_numbers(header: Header, tensor: str) -> None:
    family, name = architectures.of(header), architectures.general(tensor)
    in_parts = {part for parts in family.parts.values() for part in parts} | set(family.parts)
    if name in (*family.unlike_original, *family.values, *family.shapes, *in_parts):
        raise UnreadableGGUF(
            f"{header.path}: what is added to {tensor} cannot be moved, since GGUFs of {header.architecture} hold it "
            "otherwise than the original model."
        )


def _end(name: str) -> str:
    match = END.search(name)
    return match[1] if match else ".".join(name.split(".")[-2:])
