"""The names that a GGUF's tensors have in the original model, and that model's configuration. The tables are in
families/, one file per family; they are looked up here.

GGUF's names: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md and gguf-py/gguf/constants.py in llama.cpp.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from nitro.gguf.families import experts, rope
from nitro.gguf.families.cohere import COHERE, COHERE2
from nitro.gguf.families.deepseek import DEEPSEEK_V3, GLM4_MOE_LITE, has_other_epsilon
from nitro.gguf.families.exaone4 import EXAONE4
from nitro.gguf.families.falcon_h1 import FALCON_H1
from nitro.gguf.families.family import ArchitectureFamily, head_size, layer_count
from nitro.gguf.families.gemma import GEMMA, GEMMA2, GEMMA3
from nitro.gguf.families.gemma4 import GEMMA4, GEMMA4_MOE
from nitro.gguf.families.glm import GLM4, GLM4_MOE
from nitro.gguf.families.gpt_oss import GPT_OSS
from nitro.gguf.families.hunyuan import HUNYUAN_DENSE
from nitro.gguf.families.lfm2 import LFM2, LFM2_MOE
from nitro.gguf.families.llama import (
    ERNIE4_5,
    GRANITE,
    GRANITE_MOE,
    LLAMA,
    MINISTRAL3,
    MIXTRAL,
    SEED_OSS,
    SMOLLM3,
)
from nitro.gguf.families.mamba import GRANITE_HYBRID, MAMBA2, NEMOTRON_H
from nitro.gguf.families.minimax import MINIMAX_M2
from nitro.gguf.families.olmo2 import OLMO2, OLMO3, OLMOE
from nitro.gguf.families.phi3 import PHI3
from nitro.gguf.families.qwen import QWEN2, QWEN2_MOE, QWEN3, QWEN3_MOE
from nitro.gguf.families.qwen_linear import QWEN3_5, QWEN3_5_MOE, QWEN3_NEXT
from nitro.gguf.families.stablelm import STABLELM
from nitro.gguf.families.starcoder2 import NEMOTRON, STARCODER2
from nitro.gguf.header import Header, UnreadableGGUF, read_all

LAYER = re.compile(r"^blk\.(\d+)\.")
SCALING = "rope.scaling.type"


def _has(key: str) -> Callable[[Header], bool]:
    """Is the metadata's number there, and not 0?"""
    return lambda header: bool(header.get(f"{{arch}}.{key}"))


def _is_yarn(header: Header) -> bool:
    return bool(header.get("{arch}.rope.scaling.type") == "yarn")


# by general.architecture
FAMILIES = {
    "llama": LLAMA,
    "qwen2": QWEN2,
    "qwen3": QWEN3,
    "qwen3moe": QWEN3_MOE,
    "gemma": GEMMA,
    "gemma2": GEMMA2,
    "gemma3": GEMMA3,
    "gemma4": GEMMA4,
    "phi3": PHI3,
    "smollm3": SMOLLM3,
    "granite": GRANITE,
    "olmo2": OLMO2,
    "olmoe": OLMOE,
    "seed_oss": SEED_OSS,
    "ernie4_5": ERNIE4_5,
    "hunyuan-dense": HUNYUAN_DENSE,
    "glm4": GLM4,
    "glm4moe": GLM4_MOE,
    "gpt-oss": GPT_OSS,
    "qwen2moe": QWEN2_MOE,
    "granitemoe": GRANITE_MOE,
    "minimax-m2": MINIMAX_M2,
    "lfm2": LFM2,
    "lfm2moe": LFM2_MOE,
    "mistral3": LLAMA,
    "deepseek2": DEEPSEEK_V3,
    "nemotron_h": NEMOTRON_H,
    "nemotron_h_moe": NEMOTRON_H,
    "granitehybrid": GRANITE_HYBRID,
    "command-r": COHERE,
    "cohere2": COHERE2,
    "stablelm": STABLELM,
    "exaone4": EXAONE4,
    "starcoder2": STARCODER2,
    "nemotron": NEMOTRON,
    "mamba2": MAMBA2,
    "falcon-h1": FALCON_H1,
    "qwen3next": QWEN3_NEXT,
    "qwen35": QWEN3_5,
    "qwen35moe": QWEN3_5_MOE,
}

# by general.architecture: what some of its files are instead, and how they are known
VARIANTS: dict[str, list[tuple[Callable[[Header], bool], ArchitectureFamily]]] = {
    "llama": [(_has("expert_count"), MIXTRAL)],
    "olmo2": [(_has("attention.sliding_window"), OLMO3)],
    "gemma4": [(_has("expert_count"), GEMMA4_MOE)],
    "mistral3": [(_is_yarn, MINISTRAL3)],
    "deepseek2": [(has_other_epsilon, GLM4_MOE_LITE)],
}

# by config.json's model_type; in GGUFs Mistral's architecture is llama
MODEL_TYPES = {
    "mistral",
    *(family.model_type for family in FAMILIES.values()),
    *(family.model_type for variants in VARIANTS.values() for _, family in variants),
}

# of these, the ones whose tensors mlx-lm keeps as transformers does, but for stacks of experts
IN_ORIGINAL_LAYOUT = {
    "mistral",
    *(family.model_type for family in (LLAMA, QWEN2, QWEN3, QWEN3_MOE, GEMMA2, GEMMA3, PHI3, SMOLLM3, GRANITE, OLMO2)),
}


def is_known(name: str, is_gguf: bool) -> bool:
    """Is the model supported? `name`: a GGUF's architecture, or a configuration's model_type."""
    return name in (FAMILIES if is_gguf else MODEL_TYPES)


def of(header: Header) -> ArchitectureFamily:
    """The model's family. Raises UnreadableGGUF where it is not supported."""
    if header.architecture not in FAMILIES:
        raise UnreadableGGUF(
            f"{header.path} has the architecture {header.architecture!r}; supported are {', '.join(FAMILIES)}."
        )
    variants = VARIANTS.get(header.architecture, [])
    return next((family for fits, family in variants if fits(header)), FAMILIES[header.architecture])


def read(path: Path) -> Header:
    """As `header.read_all`, but a tensor that the original model has in parts is listed under the name of each."""
    found = read_all(path)
    if found.architecture not in FAMILIES:
        return found
    parts = of(found).parts
    tensors = {
        part.replace("N", str(_layer(name))): tensor
        for name, tensor in found.tensors.items()
        for part in parts.get(general(name), (name,))
    }
    return replace(found, tensors=tensors)


def model_names(header: Header) -> dict[str, str]:
    """The original name of each tensor that is a weight. Raises UnreadableGGUF."""
    count = layer_count(header)
    return {
        name: model_name(header, name) for name in header.tensors if name not in rope.TENSORS and _layer(name) < count
    }


def model_name(header: Header, tensor: str) -> str:
    """The original name of a tensor. Raises UnreadableGGUF where the family has no such tensor."""
    name = of(header).names.get(general(tensor))
    if name is None:
        raise UnreadableGGUF(
            f"{header.path}: tensor {tensor} is not known in the architecture {header.architecture!r}."
        )
    return name.replace("N", str(_layer(tensor)))


def in_model_order(header: Header, tensor: str, rows: np.ndarray) -> np.ndarray:
    """The tensor's rows, [rows, anything], in the order of the original model."""
    change = of(header).rows.get(general(tensor))
    return rows if change is None else change(header, rows)


def is_reordered(header: Header, tensor: str) -> bool:
    """Does the file store the rows in another order than the original model?"""
    return general(tensor) in of(header).rows


def in_model_values(header: Header, tensor: str, values: np.ndarray) -> np.ndarray:
    """The original values of a float32 tensor."""
    change = of(header).values.get(general(tensor))
    return values if change is None else change(values)


def changes_values(header: Header, tensor: str) -> bool:
    """Does the file store other values than the original model has, such as 1 + them?"""
    return general(tensor) in of(header).values


def model_shape(header: Header, tensor: str) -> tuple[int, ...]:
    """The shape of the original tensor."""
    shape = header.tensors[tensor].shape
    change = of(header).shapes.get(general(tensor))
    return shape if change is None else change(header, shape)


def configuration(header: Header) -> dict[str, Any]:
    """The entries of config.json that follow from the metadata. Raises UnreadableGGUF where a setting is not
    supported."""
    family = of(header)
    for key, (allowed, description) in _supported_values(header).items():
        value = _said(header, key)
        if allowed and value not in allowed:
            said = "not set" if value is None else value
            raise UnreadableGGUF(f"{header.path}: {header.architecture}.{key} is {said}; supported is {description}.")
    _need_no_scaling(header)
    _need_tensors(header)
    names = {"model_type": family.model_type, "architectures": [family.model_class]}
    return {**names, **{key: value(header) for key, value in family.config.items()}}


def _said(header: Header, key: str) -> Any:
    """The metadata's value; a scaling that changes nothing is "none"."""
    value = header.get(f"{{arch}}.{key}")
    return "none" if (key, value) == (SCALING, "linear") and rope.linear(header) is None else value


def _supported_values(header: Header) -> dict[str, tuple[tuple[Any, ...], str]]:
    """By key: the supported values (none listed: all are), and their description."""
    size = head_size(header)
    of_all = {
        "rope.dimension_count": ((size, None), f"the head size, {size}"),
        "attention.value_length": ((size, None), f"the head size, {size}"),
        SCALING: (("none", "linear", None), "none or linear"),
        "rope.scale_linear": ((1.0, None), "1.0"),
        "rope.scaling.attn_factor": ((1.0, None), "1.0"),
        "attention.temperature_scale": ((0.0, None), "0.0"),
    }
    of_family = {
        key: (values, " or ".join(str(v) for v in values if v is not None))
        for key, values in of(header).supported.items()
    }
    return {**of_all, **of_family}


def _need_no_scaling(header: Header) -> None:
    """Raises UnreadableGGUF where mlx-lm's model scales no positions and the file does, without naming a type."""
    family = of(header)
    if family.supported.get(SCALING) != experts.NO_SCALING[SCALING]:
        return
    if rope.FACTORS in header.tensors and rope.FACTORS not in family.optional:
        raise UnreadableGGUF(
            f"{header.path} scales positions ({rope.FACTORS}), which mlx-lm's {family.model_type} does not."
        )
    if (scaling := rope.linear(header)) is not None:
        key = f"{header.architecture}.rope.scaling.factor"
        raise UnreadableGGUF(f"{header.path}: {key} is {scaling['factor']}; supported is 1.0.")


def _need_tensors(header: Header) -> None:
    family = of(header)
    for name in [name for name in family.names if name not in family.optional]:
        for number in _layers(header, name):
            tensor = name.replace("N", str(number))
            if tensor not in header.tensors:
                raise UnreadableGGUF(f"{header.path} has no tensor {tensor}.")


def _layers(header: Header, name: str) -> Iterable[int]:
    """The numbers of the layers that have this tensor; one number if it is of no layer."""
    some = of(header).layers.get(name)
    if some is not None:
        return some(header)
    return range(layer_count(header)) if "blk.N" in name else [0]


def _layer(tensor: str) -> int:
    """The number of the tensor's layer; -1 if it is of no layer."""
    match = LAYER.match(tensor)
    return int(match[1]) if match else -1


def general(tensor: str) -> str:
    """The tensor's name with N for the number of its layer, as in `ArchitectureFamily.names`."""
    return LAYER.sub("blk.N.", tensor)
