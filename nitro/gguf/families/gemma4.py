"""Gemma 4 (text). Layers with full attention have heads of another size, fewer KV heads in the larger models, and their
values may be their keys; the last layers may use the keys and values of earlier ones, and each may have an embedding of
its own."""

from typing import Any

from nitro.gguf import weights
from nitro.gguf.families import experts, rope
from nitro.gguf.families.family import (
    ArchitectureFamily,
    Layers,
    Value,
    constant,
    layer_count,
    layer_types,
    maybe,
    need,
    windowed,
)
from nitro.gguf.families.family import weights as names_of_weights
from nitro.gguf.families.gemma import FOUR_NORMS
from nitro.gguf.families.llama import ATTENTION, CONFIG, DENSE, EMBEDDINGS, FEED_FORWARD, HEAD_NORMS
from nitro.gguf.header import Header, UnreadableGGUF

UNROTATED = 1e30  # what the file divides a frequency by to stop it (Gemma4Model in llama.cpp's conversion/gemma.py)
KEYS = ("blk.N.attn_k.weight", "blk.N.attn_k_norm.weight")
VALUES = "blk.N.attn_v.weight"
OF_ALL_LAYERS = names_of_weights(
    {
        "per_layer_token_embd": "model.embed_tokens_per_layer",
        "per_layer_model_proj": "model.per_layer_model_projection",
        "per_layer_proj_norm": "model.per_layer_projection_norm",
    }
)
OF_EACH_LAYER = names_of_weights(
    {
        "blk.N.inp_gate": "model.layers.N.per_layer_input_gate",
        "blk.N.proj": "model.layers.N.per_layer_projection",
        "blk.N.post_norm": "model.layers.N.post_per_layer_input_norm",
    }
)
NAMES = {
    **EMBEDDINGS,
    **names_of_weights(ATTENTION),
    **HEAD_NORMS,
    **FOUR_NORMS,
    **names_of_weights(FEED_FORWARD),
    "blk.N.layer_output_scale.weight": "model.layers.N.layer_scalar",
    **OF_ALL_LAYERS,
    **OF_EACH_LAYER,
}


def shared_layers(header: Header) -> int:
    """How many of the last layers use the keys and values of earlier ones."""
    return int(header.get("{arch}.attention.shared_kv_layers", 0))


def layers_with_keys(header: Header) -> range:
    """The numbers of the layers with keys and values of their own."""
    return range(layer_count(header) - shared_layers(header))


def layers_with_values(header: Header) -> list[int]:
    """The numbers of the layers whose values are not their keys."""
    return [layer for layer in layers_with_keys(header) if windowed(header, 6)[layer] or not keys_are_values(header)]


def keys_are_values(header: Header) -> bool:
    """Are the values of the layers with full attention their keys?"""
    full = [layer for layer in layers_with_keys(header) if not windowed(header, 6)[layer]]
    return bool(full) and f"blk.{full[0]}.attn_v.weight" not in header.tensors


def with_own_embeddings(header: Header) -> range:
    """The numbers of the layers with an embedding of their own: all or none."""
    return range(layer_count(header) if header.get("{arch}.embedding_length_per_layer_input") else 0)


def kv_heads(is_windowed: bool) -> Value:
    """The number of KV heads of the layers with a window, or of the others. Raises UnreadableGGUF where they differ
    among each other."""

    def of(header: Header) -> int | None:
        listed: Any = header.need("{arch}.attention.head_count_kv")
        counts = listed if isinstance(listed, list) else [listed] * layer_count(header)
        found = {count for count, flag in zip(counts, windowed(header, 6), strict=False) if flag is is_windowed}
        if len(found) > 1:
            raise UnreadableGGUF(f"{header.path}: its layers of the same kind have {sorted(found)} KV heads.")
        return int(found.pop()) if found else None

    return of


def width(header: Header) -> int:
    """The width of the feed-forward of the layers with keys of their own. Raises UnreadableGGUF where the others are
    neither as wide nor twice as wide."""
    listed: Any = header.need("{arch}.feed_forward_length")
    if not isinstance(listed, list):
        return int(listed)
    own = len(layers_with_keys(header))
    if set(listed[:own]) != {listed[0]} or set(listed[own:]) - {listed[0] * (1 + is_double_wide(header))}:
        raise UnreadableGGUF(f"{header.path}: its layers' feed_forward_length follows no known pattern.")
    return int(listed[0])


def is_double_wide(header: Header) -> bool:
    """Is the feed-forward of the layers without keys of their own twice as wide?"""
    listed: Any = header.need("{arch}.feed_forward_length")
    return isinstance(listed, list) and listed[-1] != listed[0]


def rotated_share_of_full(header: Header) -> float:
    """The share of the dimensions that full attention rotates. Raises UnreadableGGUF where frequencies are scaled."""
    factors = weights.numbers(header, rope.FACTORS) if rope.FACTORS in header.tensors else [1.0]
    rotated = factors.count(1.0)
    if set(factors[:rotated]) - {1.0} or min(factors[rotated:], default=UNROTATED) < UNROTATED / 2:
        raise UnreadableGGUF(f"{header.path}: tensor {rope.FACTORS} scales frequencies, which is not supported here.")
    return rotated / len(factors)


def positions(header: Header) -> dict[str, Any]:
    """rope_parameters."""
    return {
        "full_attention": {
            "rope_type": "proportional",
            "rope_theta": rope.base(header),
            "partial_rotary_factor": rotated_share_of_full(header),
        },
        "sliding_attention": {
            "rope_type": "default",
            "rope_theta": header.get("{arch}.rope.freq_base_swa", 10000.0),
        },
    }


def small_size(header: Header) -> int:
    """The size of a head in layers with a window. Raises UnreadableGGUF where keys, values and what is rotated
    differ."""
    size = int(header.need("{arch}.attention.key_length_swa"))
    for key in ("attention.value_length_swa", "rope.dimension_count_swa"):
        if header.get(f"{{arch}}.{key}", size) != size:
            raise UnreadableGGUF(f"{header.path}: {header.architecture}.{key} is not the head size, {size}.")
    return size


LAYERS: dict[str, Layers] = {
    **dict.fromkeys(KEYS, layers_with_keys),
    VALUES: layers_with_values,
    **dict.fromkeys(OF_EACH_LAYER, with_own_embeddings),
    **dict.fromkeys(OF_ALL_LAYERS, lambda header: with_own_embeddings(header)[:1]),
}
CONFIGURATION: dict[str, Value] = {
    **CONFIG,
    "rope_scaling": constant(None),
    "rope_parameters": positions,
    "intermediate_size": width,
    "use_double_wide_mlp": is_double_wide,
    "num_kv_shared_layers": shared_layers,
    "head_dim": small_size,
    "global_head_dim": need("attention.key_length"),
    "num_key_value_heads": kv_heads(True),
    "num_global_key_value_heads": kv_heads(False),
    "attention_k_eq_v": keys_are_values,
    "hidden_size_per_layer_input": maybe("embedding_length_per_layer_input", 0),
    "vocab_size_per_layer_input": lambda header: (
        header.tensors["per_layer_token_embd.weight"].shape[0] if with_own_embeddings(header) else 0
    ),
    "sliding_window": need("attention.sliding_window"),
    "layer_types": layer_types(6),
    "final_logit_softcapping": lambda header: header.get("{arch}.final_logit_softcapping") or None,
    "hidden_activation": constant("gelu_pytorch_tanh"),
}
SUPPORTED: dict[str, tuple[Any, ...]] = experts.NO_SCALING
OPTIONAL = ("output.weight", rope.FACTORS)  # the factors say which frequencies are rotated

GEMMA4 = ArchitectureFamily(
    "gemma4_text",
    "Gemma4ForCausalLM",
    NAMES,
    CONFIGURATION,
    OPTIONAL,
    layers=LAYERS,
    supported={**DENSE, **SUPPORTED},
)

EXPERTS = {
    **names_of_weights(
        {
            "blk.N.post_ffw_norm_1": "model.layers.N.post_feedforward_layernorm_1",
            "blk.N.post_ffw_norm_2": "model.layers.N.post_feedforward_layernorm_2",
            "blk.N.pre_ffw_norm_2": "model.layers.N.pre_feedforward_layernorm_2",
            **experts.router("router.proj"),
            "blk.N.ffn_down_exps": "model.layers.N.experts.switch_glu.down_proj",
        }
    ),
    "blk.N.ffn_gate_inp.scale": "model.layers.N.router.scale",
    "blk.N.ffn_down_exps.scale": "model.layers.N.router.per_expert_scale",
    **{
        name: f"model.layers.N.experts.switch_glu.{goal}.weight"
        for name, goal in zip(experts.HALVES, ("gate_proj", "up_proj"), strict=True)
    },
}
PICKED = {name: experts.half(number) for number, name in enumerate(experts.HALVES)}
GEMMA4_MOE = ArchitectureFamily(
    "gemma4_text",
    "Gemma4ForCausalLM",
    {**NAMES, **EXPERTS},
    {
        **CONFIGURATION,
        "enable_moe_block": constant(True),
        "num_experts": need("expert_count"),
        "top_k_experts": need("expert_used_count"),
        "moe_intermediate_size": need("expert_feed_forward_length"),
    },
    OPTIONAL,
    rows={name: rows for name, (rows, _) in PICKED.items()},
    shapes={name: shape for name, (_, shape) in PICKED.items()},
    parts={experts.GATE_AND_UP: experts.HALVES},
    layers=LAYERS,
    supported=SUPPORTED,
)
