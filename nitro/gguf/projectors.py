"""A projector's GGUF (mmproj) as the part of a model of transformers that it was made of: the tower, what joins it to
the text's layers, and how pictures are prepared.

Sources: keys and names of tensors in llama.cpp's gguf-py/gguf (constants.py, tensor_mapping.py); what Gemma 3's file
stores otherwise in its conversion/gemma.py (Gemma3VisionModel) and tools/mtmd/clip.cpp.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from gguf import GGMLQuantizationType
from gguf.quants import dequantize

from nitro.gguf import header as headers
from nitro.gguf import weights
from nitro.gguf.families.family import minus_one
from nitro.gguf.header import Header, UnreadableGGUF

ARCHITECTURE = "clip"
PROJECTOR_KEYS = ("clip.projector_type", "clip.vision.projector_type")  # the second where the file hears as well
SCALE = 4  # patches on a side that become one row, where the file does not say

TOWER = "vision_tower.vision_model"
SIGLIP = {
    "v.patch_embd": f"{TOWER}.embeddings.patch_embedding",
    "v.position_embd": f"{TOWER}.embeddings.position_embedding",
    "v.post_ln": f"{TOWER}.post_layernorm",
    "v.blk.N.ln1": f"{TOWER}.encoder.layers.N.layer_norm1",
    "v.blk.N.ln2": f"{TOWER}.encoder.layers.N.layer_norm2",
    "v.blk.N.attn_q": f"{TOWER}.encoder.layers.N.self_attn.q_proj",
    "v.blk.N.attn_k": f"{TOWER}.encoder.layers.N.self_attn.k_proj",
    "v.blk.N.attn_v": f"{TOWER}.encoder.layers.N.self_attn.v_proj",
    "v.blk.N.attn_out": f"{TOWER}.encoder.layers.N.self_attn.out_proj",
    "v.blk.N.ffn_up": f"{TOWER}.encoder.layers.N.mlp.fc1",
    "v.blk.N.ffn_down": f"{TOWER}.encoder.layers.N.mlp.fc2",
}

SWAPPED = {"ffn_up": "ffn_down", "ffn_down": "ffn_up"}  # in older files


@dataclass(frozen=True, slots=True)
class ProjectorKind:
    """What there is to know of files of one projector type. `names`: transformers' by the file's, without ".weight" and
    ".bias", N for the number of a layer; `whole`: the same of tensors whose full name is another."""

    architecture: str  # of the text's GGUF that it goes with
    model_type: str  # of config.json
    settings: Callable[[Header], dict[str, Any]]  # entries of config.json beside the text's
    pictures: Callable[[Header], dict[str, Any]]  # preprocessor_config.json
    names: Mapping[str, str]
    whole: Mapping[str, str] = field(default_factory=dict)
    values: Mapping[str, Callable[[np.ndarray], np.ndarray]] = field(default_factory=dict)  # of those stored otherwise


def read(path: Path) -> Header:
    """The header. Raises UnreadableGGUF for a file that is no projector, OSError."""
    found = headers.read_all(path)
    if found.architecture != ARCHITECTURE:
        raise UnreadableGGUF(f"{path} is no projector (mmproj): its architecture is {found.architecture!r}.")
    return found


def of(header: Header, text: Header) -> ProjectorKind:
    """The kind of a projector for the model whose header is `text`. Raises UnreadableGGUF where it is not known, or is
    none of this model's."""
    name = next((header.metadata[key] for key in PROJECTOR_KEYS if key in header.metadata), None)
    kind = KINDS.get(str(name))
    if kind is None:
        raise UnreadableGGUF(f"{header.path} is a projector of the kind {name!r}; supported is {', '.join(KINDS)}.")
    width = header.need("clip.vision.projection_dim")
    if text.architecture != kind.architecture or width != text.need("{arch}.embedding_length"):
        raise UnreadableGGUF(f"{header.path} is no projector of {text.path.name}.")
    return kind


def arrays(header: Header, kind: ProjectorKind) -> dict[str, np.ndarray]:
    """The weights by transformers' names, as float32. Raises UnreadableGGUF for a tensor that is not known."""
    swapped = _is_swapped(header)
    return {_model_name(header, kind, name, swapped): _values(header, kind, name) for name in header.tensors}


def _model_name(header: Header, kind: ProjectorKind, name: str, swapped: bool) -> str:
    if name in kind.whole:
        return kind.whole[name]
    stem, _, end = name.rpartition(".")
    layer, _, part = stem.rpartition(".")
    if swapped and part in SWAPPED:
        stem = f"{layer}.{SWAPPED[part]}"
    number = next((part for part in stem.split(".") if part.isdecimal()), "")
    goal = kind.names.get(stem.replace(f".{number}.", ".N.") if number else stem)
    if goal is None or end not in ("weight", "bias"):
        raise UnreadableGGUF(f"{header.path}: tensor {name} is not known in a projector of this kind.")
    return f"{goal.replace('N', number)}.{end}"


def _is_swapped(header: Header) -> bool:
    """Whether the two layers of a feed-forward have each other's names."""
    up = header.tensors.get("v.blk.0.ffn_up.weight")
    return up is not None and up.shape[-1] != header.need("clip.vision.embedding_length")


def _values(header: Header, kind: ProjectorKind, name: str) -> np.ndarray:
    tensor = header.tensors[name]
    if not weights.is_readable(tensor.type):
        raise UnreadableGGUF(f"{header.path}: tensor {name} is {tensor.type}, which is not read here.")
    found = np.asarray(dequantize(weights.stored(tensor), GGMLQuantizationType[tensor.type]), np.float32)
    found = found.reshape(tensor.shape)
    change = kind.values.get(name)
    return found if change is None else change(found)


# Gemma 3


def _siglip(header: Header) -> dict[str, Any]:
    """config.json's vision_config. Raises UnreadableGGUF."""
    if not header.metadata.get("clip.use_gelu"):
        raise UnreadableGGUF(f"{header.path}: clip.use_gelu is not set, and SigLIP's layers have GELU.")
    return {
        "model_type": "siglip_vision_model",
        "hidden_size": header.need("clip.vision.embedding_length"),
        "intermediate_size": header.need("clip.vision.feed_forward_length"),
        "num_hidden_layers": header.need("clip.vision.block_count"),
        "num_attention_heads": header.need("clip.vision.attention.head_count"),
        "layer_norm_eps": header.need("clip.vision.attention.layer_norm_epsilon"),
        "image_size": header.need("clip.vision.image_size"),
        "patch_size": header.need("clip.vision.patch_size"),
        "hidden_act": "gelu_pytorch_tanh",
        "num_channels": 3,
    }


def _gemma3(header: Header) -> dict[str, Any]:
    vision = _siglip(header)
    scale = header.metadata.get("clip.vision.projector.scale_factor", SCALE)
    side = vision["image_size"] // vision["patch_size"] // scale
    return {"vision_config": vision, "mm_tokens_per_image": side * side}


def _square_pictures(header: Header) -> dict[str, Any]:
    size = header.need("clip.vision.image_size")
    return {
        "image_processor_type": "Gemma3ImageProcessor",
        "size": {"height": size, "width": size},
        "image_mean": list(header.need("clip.vision.image_mean")),
        "image_std": list(header.need("clip.vision.image_std")),
    }


KINDS = {
    "gemma3": ProjectorKind(
        architecture="gemma3",
        model_type="gemma3",
        settings=_gemma3,
        pictures=_square_pictures,
        names={**SIGLIP, "mm.soft_emb_norm": "multi_modal_projector.mm_soft_emb_norm"},
        whole={"mm.input_projection.weight": "multi_modal_projector.mm_input_projection_weight"},
        values={"mm.soft_emb_norm.weight": minus_one},
    ),
}
