"""LFM2: most layers are short convolutions, and the others attention. A layer with 0 KV heads is a convolution."""

from typing import Any

from nitro.gguf.families import experts
from nitro.gguf.families.family import (
    ArchitectureFamily,
    Layers,
    Shape,
    Value,
    constant,
    dense_first,
    last_axis_of_one,
    layer_count,
    maybe,
    need,
    weights,
    with_experts,
)
from nitro.gguf.families.llama import CONFIG, DENSE
from nitro.gguf.header import Header

CONVOLUTION = weights(
    {
        "blk.N.shortconv.conv": "model.layers.N.conv.conv",
        "blk.N.shortconv.in_proj": "model.layers.N.conv.in_proj",
        "blk.N.shortconv.out_proj": "model.layers.N.conv.out_proj",
    }
)
ATTENTION = weights(
    {
        "blk.N.attn_q": "model.layers.N.self_attn.q_proj",
        "blk.N.attn_k": "model.layers.N.self_attn.k_proj",
        "blk.N.attn_v": "model.layers.N.self_attn.v_proj",
        "blk.N.attn_output": "model.layers.N.self_attn.out_proj",
        "blk.N.attn_q_norm": "model.layers.N.self_attn.q_layernorm",
        "blk.N.attn_k_norm": "model.layers.N.self_attn.k_layernorm",
    }
)
NAMES = weights(
    {
        "token_embd": "model.embed_tokens",
        "token_embd_norm": "model.embedding_norm",
        "blk.N.attn_norm": "model.layers.N.operator_norm",
        "blk.N.ffn_norm": "model.layers.N.ffn_norm",
    }
)
FEED_FORWARD = weights(
    {
        "blk.N.ffn_gate": "model.layers.N.feed_forward.w1",
        "blk.N.ffn_down": "model.layers.N.feed_forward.w2",
        "blk.N.ffn_up": "model.layers.N.feed_forward.w3",
    }
)


def attention_layers(header: Header) -> list[int]:
    """The numbers of the layers with attention."""
    heads: Any = header.need("{arch}.attention.head_count_kv")
    if isinstance(heads, list):
        return [layer for layer, count in enumerate(heads) if count]
    return list(range(layer_count(header)))


def convolutions(header: Header) -> list[int]:
    """The numbers of the layers with a convolution."""
    return sorted(set(range(layer_count(header))) - set(attention_layers(header)))


HYBRID: dict[str, Layers] = {**dict.fromkeys(CONVOLUTION, convolutions), **dict.fromkeys(ATTENTION, attention_layers)}
CONFIGURATION: dict[str, Value] = {
    **CONFIG,
    "norm_eps": need("attention.layer_norm_rms_epsilon"),
    "conv_L_cache": need("shortconv.l_cache"),
    "conv_bias": constant(False),
    "full_attn_idxs": attention_layers,
    "tie_word_embeddings": constant(True),  # mlx-lm's models have no output matrix
}
SHAPES: dict[str, Shape] = {"blk.N.shortconv.conv.weight": last_axis_of_one}

LFM2 = ArchitectureFamily(
    "lfm2",
    "Lfm2ForCausalLM",
    {**NAMES, **CONVOLUTION, **ATTENTION, **FEED_FORWARD},
    {
        **CONFIGURATION,
        "block_dim": need("embedding_length"),
        "block_ff_dim": need("feed_forward_length"),
        "block_multiple_of": constant(1),
        "block_ffn_dim_multiplier": constant(1.0),
        "block_auto_adjust_ff_dim": constant(False),
    },
    shapes=SHAPES,
    layers=HYBRID,
    supported={**DENSE, **experts.NO_SCALING, "attention.sliding_window": (0, None)},
)

FIRST = weights({f"blk.N.ffn_{part}": f"model.layers.N.feed_forward.{goal}" for part, goal in experts.PARTS.items()})
ROUTING = {
    **weights({**experts.router("feed_forward.gate"), **experts.stacks("feed_forward.switch_mlp")}),
    experts.SCORE_BIAS: "model.layers.N.feed_forward.expert_bias",
}
LFM2_MOE = ArchitectureFamily(
    "lfm2_moe",
    "Lfm2MoeForCausalLM",
    {**NAMES, **CONVOLUTION, **ATTENTION, **FIRST, **ROUTING},
    {
        **CONFIGURATION,
        **experts.USED,
        "num_experts": need("expert_count"),
        "moe_intermediate_size": need("expert_feed_forward_length"),
        "num_dense_layers": maybe("leading_dense_block_count", 0),
        "norm_topk_prob": constant(True),
        "use_expert_bias": constant(True),
    },
    shapes=SHAPES,
    layers={**HYBRID, **dict.fromkeys(FIRST, dense_first), **dict.fromkeys(ROUTING, with_experts)},
    supported={
        **experts.NO_SCALING,
        "expert_gating_func": (experts.SIGMOID,),
        "expert_weights_scale": (1.0, 0.0, None),
    },
)
