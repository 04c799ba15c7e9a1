"""What tensors of a GGUF are called in the model they came from, and that model's configuration, per architecture.

GGUF's names: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md and gguf-py/gguf/constants.py in llama.cpp.
The model's names and configuration are those of Hugging Face transformers, which mlx-lm shares.
"""

import re
from dataclasses import dataclass
from typing import Any

from nitro.gguf.header import Header, UnreadableGGUF


@dataclass(frozen=True, slots=True)
class Architecture:
    """`names`: GGUF tensor names and the model's, where N stands for the layer's number, without ".weight"."""

    names: dict[str, str]
    interleaved: tuple[str, ...]  # GGUF tensors whose rows pair up for rotary embedding as 0,1 · 2,3 · …


LLAMA = Architecture(
    names={
        "token_embd": "model.embed_tokens",
        "output_norm": "model.norm",
        "output": "lm_head",
        "blk.N.attn_norm": "model.layers.N.input_layernorm",
        "blk.N.attn_q": "model.layers.N.self_attn.q_proj",
        "blk.N.attn_k": "model.layers.N.self_attn.k_proj",
        "blk.N.attn_v": "model.layers.N.self_attn.v_proj",
        "blk.N.attn_output": "model.layers.N.self_attn.o_proj",
        "blk.N.ffn_norm": "model.layers.N.post_attention_layernorm",
        "blk.N.ffn_gate": "model.layers.N.mlp.gate_proj",
        "blk.N.ffn_up": "model.layers.N.mlp.up_proj",
        "blk.N.ffn_down": "model.layers.N.mlp.down_proj",
    },
    # llama.cpp's converter permutes these two, so that a head's rotary pairs lie side by side; transformers and MLX
    # pair a head's first half with its second (LlamaModel.permute in llama.cpp's convert_hf_to_gguf.py)
    interleaved=("blk.N.attn_q", "blk.N.attn_k"),
)

ARCHITECTURES = {"llama": LLAMA}
OPTIONAL = "output"  # where it is missing, the embedding stands in for it
ROPE_FACTORS = "rope_freqs.weight"  # no weight: what every rotary frequency is divided by, float32 [head size / 2]


def of(header: Header) -> Architecture:
    """Raises UnreadableGGUF."""
    if header.architecture not in ARCHITECTURES:
        raise UnreadableGGUF(
            f"{header.path} has the architecture {header.architecture!r}; known are {', '.join(ARCHITECTURES)}."
        )
    return ARCHITECTURES[header.architecture]


def model_name(header: Header, tensor: str) -> str:
    """What the model calls a tensor of the GGUF. Raises UnreadableGGUF where it has none such."""
    name = of(header).names.get(_general(tensor))
    if name is None or not tensor.endswith(".weight"):
        raise UnreadableGGUF(
            f"{header.path}: tensor {tensor} is not one that is known of the architecture {header.architecture!r}."
        )
    number = re.search(r"\d+", tensor)
    return (name.replace("N", number[0]) if number else name) + ".weight"


def heads(header: Header, tensor: str) -> int | None:
    """The number of heads whose rows the tensor holds in interleaved order; None where they are in the model's."""
    if _general(tensor) not in of(header).interleaved:
        return None
    return _head_count(header) if "attn_q" in tensor else _kv_head_count(header)


def configuration(header: Header) -> dict[str, Any]:
    """The model's config.json, as far as the metadata tells it. Raises UnreadableGGUF."""
    _need_tensors(header)
    width, head_count = header.need("{arch}.embedding_length"), _head_count(header)
    head_size = header.get("{arch}.attention.key_length", width // head_count)
    _refuse_unless(header, "{arch}.rope.dimension_count", (head_size, None), f"the head size, {head_size}")
    _refuse_unless(header, "{arch}.attention.value_length", (head_size, None), f"the head size, {head_size}")
    _refuse_unless(header, "{arch}.expert_count", (0, None), "0")
    _refuse_unless(header, "{arch}.rope.scaling.type", ("none", "linear", None), "none or linear")
    _refuse_unless(header, "{arch}.rope.scale_linear", (1.0, None), "1.0")
    linear = header.get("{arch}.rope.scaling.type", "linear") == "linear"
    factor = header.get("{arch}.rope.scaling.factor") if linear else None
    return {
        "model_type": header.architecture,
        "hidden_size": width,
        "num_hidden_layers": header.need("{arch}.block_count"),
        "intermediate_size": header.need("{arch}.feed_forward_length"),
        "num_attention_heads": head_count,
        "num_key_value_heads": _kv_head_count(header),
        "head_dim": head_size,
        "rms_norm_eps": header.need("{arch}.attention.layer_norm_rms_epsilon"),
        "vocab_size": header.tensors["token_embd.weight"].shape[0],
        "max_position_embeddings": header.need("{arch}.context_length"),
        "rope_theta": header.get("{arch}.rope.freq_base", 10000.0),
        "rope_scaling": {"type": "linear", "factor": factor} if factor else None,
        "tie_word_embeddings": f"{OPTIONAL}.weight" not in header.tensors,
    }


def _need_tensors(header: Header) -> None:
    for name in [name for name in of(header).names if name != OPTIONAL]:
        for number in range(header.need("{arch}.block_count") if "N" in name else 1):
            if (tensor := name.replace("N", str(number)) + ".weight") not in header.tensors:
                raise UnreadableGGUF(f"{header.path} has no tensor {tensor}.")


def _general(tensor: str) -> str:
    """The tensor's name as `names` has it."""
    return re.sub(r"^blk\.\d+\.", "blk.N.", tensor).removesuffix(".weight")


def _head_count(header: Header) -> int:
    return int(_one_number(header, "{arch}.attention.head_count"))


def _kv_head_count(header: Header) -> int:
    if header.get("{arch}.attention.head_count_kv") is None:
        return _head_count(header)
    return int(_one_number(header, "{arch}.attention.head_count_kv"))


def _one_number(header: Header, key: str) -> Any:
    """A number that the metadata may also give per layer, which this version does not take."""
    value = header.need(key)
    if isinstance(value, list):
        raise UnreadableGGUF(f"{header.path}: {_key(header, key)} differs per layer, which is not supported.")
    return value


def _refuse_unless(header: Header, key: str, allowed: tuple[Any, ...], what: str) -> None:
    if (value := header.get(key)) not in allowed:
        raise UnreadableGGUF(f"{header.path}: {_key(header, key)} is {value}; supported is {what}.")


def _key(header: Header, key: str) -> str:
    return key.replace("{arch}", header.architecture)
