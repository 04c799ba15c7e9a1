"""The names that a GGUF's tensors have in the original model, and that model's configuration. The tables are in
families/, one file per family; they are looked up here.

GGUF's names: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md and gguf-py/gguf/constants.py in llama.cpp.
"""

import re
from typing import Any

import numpy as np

from nitro.gguf import weights
from nitro.gguf.families import rope
from nitro.gguf.families.family import ArchitectureFamily, head_count, head_size, kv_head_count
from nitro.gguf.families.gemma import GEMMA2, GEMMA3
from nitro.gguf.families.llama import GRANITE, LLAMA, SMOLLM3
from nitro.gguf.families.olmo2 import OLMO2
from nitro.gguf.families.phi3 import PHI3
from nitro.gguf.families.qwen import QWEN2, QWEN3, QWEN3_MOE
from nitro.gguf.header import Header, UnreadableGGUF

# by general.architecture
FAMILIES = {
    "llama": LLAMA,
    "qwen2": QWEN2,
    "qwen3": QWEN3,
    "qwen3moe": QWEN3_MOE,
    "gemma2": GEMMA2,
    "gemma3": GEMMA3,
    "phi3": PHI3,
    "smollm3": SMOLLM3,
    "granite": GRANITE,
    "olmo2": OLMO2,
}

# by config.json's model_type; in GGUFs Mistral's architecture is llama
MODEL_TYPES = {"mistral", *(family.model_type for family in FAMILIES.values())}


def is_known(name: str, is_gguf: bool) -> bool:
    """Is the model supported? `name`: a GGUF's architecture, or a configuration's model_type."""
    return name in (FAMILIES if is_gguf else MODEL_TYPES)


def of(header: Header) -> ArchitectureFamily:
    """The model's family. Raises UnreadableGGUF where it is not supported."""
    if header.architecture not in FAMILIES:
        raise UnreadableGGUF(
            f"{header.path} has the architecture {header.architecture!r}; supported are {', '.join(FAMILIES)}."
        )
    return FAMILIES[header.architecture]


def model_names(header: Header) -> dict[str, str]:
    """The original name of each tensor that is a weight. Raises UnreadableGGUF."""
    return {name: model_name(header, name) for name in header.tensors if name not in rope.TENSORS}


def model_name(header: Header, tensor: str) -> str:
    """The original name of a tensor. Raises UnreadableGGUF where the family has no such tensor."""
    name = of(header).names.get(_general(tensor))
    if name is None:
        raise UnreadableGGUF(
            f"{header.path}: tensor {tensor} is not known in the architecture {header.architecture!r}."
        )
    number = re.search(r"\d+", tensor)
    return name.replace("N", number[0]) if number else name


def in_model_order(header: Header, tensor: str, rows: np.ndarray) -> np.ndarray:
    """The tensor's rows, [rows, anything], in the order of the original model."""
    count = heads(header, tensor)
    return rows if count is None else weights.half_split(rows, count)


def heads(header: Header, tensor: str) -> int | None:
    """The number of heads whose rows the tensor interleaves; None where they are in the original order."""
    if _general(tensor) not in of(header).interleaved:
        return None
    return head_count(header) if "attn_q" in tensor else kv_head_count(header)


def is_plus_one(header: Header, tensor: str) -> bool:
    """Does the file store 1 + the original values?"""
    return _general(tensor) in of(header).plus_one


def configuration(header: Header) -> dict[str, Any]:
    """The entries of config.json that follow from the metadata. Raises UnreadableGGUF where a setting is not
    supported."""
    family = of(header)
    _need_tensors(header)
    for key, (allowed, description) in _supported_values(header).items():
        value = header.get(f"{{arch}}.{key}")
        if allowed and value not in allowed:
            raise UnreadableGGUF(f"{header.path}: {header.architecture}.{key} is {value}; supported is {description}.")
    names = {"model_type": family.model_type, "architectures": [family.model_class]}
    return {**names, **{key: value(header) for key, value in family.config.items()}}


def _supported_values(header: Header) -> dict[str, tuple[tuple[Any, ...], str]]:
    """By key: the supported values (none listed: all are), and their description."""
    size = head_size(header)
    of_all = {
        "rope.dimension_count": ((size, None), f"the head size, {size}"),
        "attention.value_length": ((size, None), f"the head size, {size}"),
        "rope.scaling.type": (("none", "linear", None), "none or linear"),
        "rope.scale_linear": ((1.0, None), "1.0"),
    }
    of_family = {
        key: (values, " or ".join(str(v) for v in values if v is not None))
        for key, values in of(header).supported.items()
    }
    return {**of_all, **of_family}


def _need_tensors(header: Header) -> None:
    family = of(header)
    for name in [name for name in family.names if name not in family.optional]:
        for number in range(header.need("{arch}.block_count") if "N" in name else 1):
            tensor = name.replace("N", str(number))
            if tensor not in header.tensors:
                raise UnreadableGGUF(f"{header.path} has no tensor {tensor}.")


def _general(tensor: str) -> str:
    """The tensor's name with N for the number of its layer, as in `ArchitectureFamily.names`."""
    return re.sub(r"^blk\.\d+\.", "blk.N.", tensor)
