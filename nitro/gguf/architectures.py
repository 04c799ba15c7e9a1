"""What tensors of a GGUF are called in the model they came from, and that model's configuration: families/ has the
tables, one family a file; here they are looked up.

GGUF's names: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md and gguf-py/gguf/constants.py in llama.cpp.
"""

import re
from typing import Any

import numpy as np

from nitro.gguf import weights
from nitro.gguf.families import rope
from nitro.gguf.families.family import Family, head_count, head_size, kv_head_count
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

# by config.json's model_type; Mistral's GGUFs call themselves llama
MODEL_TYPES = {"mistral", *(family.model_type for family in FAMILIES.values())}


def is_known(name: str, is_gguf: bool) -> bool:
    """`name`: a GGUF's architecture, or a configuration's model_type."""
    return name in (FAMILIES if is_gguf else MODEL_TYPES)


def of(header: Header) -> Family:
    """Raises UnreadableGGUF."""
    if header.architecture not in FAMILIES:
        raise UnreadableGGUF(
            f"{header.path} has the architecture {header.architecture!r}; known are {', '.join(FAMILIES)}."
        )
    return FAMILIES[header.architecture]


def model_names(header: Header) -> dict[str, str]:
    """What the model calls each tensor that is a weight. Raises UnreadableGGUF."""
    return {name: model_name(header, name) for name in header.tensors if name not in rope.TENSORS}


def model_name(header: Header, tensor: str) -> str:
    """What the model calls a tensor of the GGUF. Raises UnreadableGGUF where it has none such."""
    name = of(header).names.get(_general(tensor))
    if name is None:
        raise UnreadableGGUF(
            f"{header.path}: tensor {tensor} is not one that is known of the architecture {header.architecture!r}."
        )
    number = re.search(r"\d+", tensor)
    return name.replace("N", number[0]) if number else name


def in_model_order(header: Header, tensor: str, rows: np.ndarray) -> np.ndarray:
    """The tensor's rows, [rows, anything], in the order in which the model has them."""
    count = heads(header, tensor)
    return rows if count is None else weights.half_split(rows, count)


def heads(header: Header, tensor: str) -> int | None:
    """The number of heads whose rows the tensor holds in interleaved order; None where they are in the model's."""
    if _general(tensor) not in of(header).interleaved:
        return None
    return head_count(header) if "attn_q" in tensor else kv_head_count(header)


def is_plus_one(header: Header, tensor: str) -> bool:
    """Does the file hold 1 + what the model does?"""
    return _general(tensor) in of(header).plus_one


def configuration(header: Header) -> dict[str, Any]:
    """The model's config.json, as far as the metadata tells it. Raises UnreadableGGUF."""
    family = of(header)
    _need_tensors(header)
    for key, (allowed, what) in _supported(header).items():
        if allowed and (value := header.get(f"{{arch}}.{key}")) not in allowed:
            raise UnreadableGGUF(f"{header.path}: {header.architecture}.{key} is {value}; supported is {what}.")
    about = {"model_type": family.model_type, "architectures": [family.model_class]}
    return {**about, **{key: value(header) for key, value in family.config.items()}}


def _supported(header: Header) -> dict[str, tuple[tuple[Any, ...], str]]:
    """Keys, their values that are supported (all, if none is named), and words for those."""
    size, family = head_size(header), of(header)
    usual = {
        "rope.dimension_count": ((size, None), f"the head size, {size}"),
        "attention.value_length": ((size, None), f"the head size, {size}"),
        "rope.scaling.type": (("none", "linear", None), "none or linear"),
        "rope.scale_linear": ((1.0, None), "1.0"),
    }
    own = {
        key: (values, " or ".join(str(v) for v in values if v is not None)) for key, values in family.refused.items()
    }
    return {**usual, **own}


def _need_tensors(header: Header) -> None:
    family = of(header)
    for name in [name for name in family.names if name not in family.optional]:
        for number in range(header.need("{arch}.block_count") if "N" in name else 1):
            if (tensor := name.replace("N", str(number))) not in header.tensors:
                raise UnreadableGGUF(f"{header.path} has no tensor {tensor}.")


def _general(tensor: str) -> str:
    """The tensor's name as `names` has it."""
    return re.sub(r"^blk\.\d+\.", "blk.N.", tensor)
