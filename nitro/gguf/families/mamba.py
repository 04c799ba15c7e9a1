"""Mamba 2, and hybrids that have attention in few layers: Nemotron-H (also with experts), and Granite 4 (dense)."""

from math import prod
from typing import Any

import numpy as np

from nitro.gguf.families import experts
from nitro.gguf.families.family import (
    ArchitectureFamily,
    Layers,
    Shape,
    Value,
    Values,
    constant,
    last_axis_of_one,
    layer_count,
    log_of_minus,
    maybe,
    need,
    weights,
)
from nitro.gguf.families.lfm2 import attention_layers, convolutions
from nitro.gguf.families.llama import (
    ATTENTION,
    CONFIG,
    DENSE,
    EMBEDDINGS,
    FEED_FORWARD,
    INTERLEAVED,
    NORMS_BEFORE,
    SCALES,
)
from nitro.gguf.header import Header

PARTS = {
    "blk.N.ssm_in.weight": "in_proj.weight",
    "blk.N.ssm_conv1d.weight": "conv1d.weight",
    "blk.N.ssm_conv1d.bias": "conv1d.bias",
    "blk.N.ssm_dt.bias": "dt_bias",
    "blk.N.ssm_a": "A_log",
    "blk.N.ssm_d": "D",
    "blk.N.ssm_norm.weight": "norm.weight",
    "blk.N.ssm_out.weight": "out_proj.weight",
}


def mamba(place: str) -> dict[str, str]:
    """The names of a Mamba 2 layer. `place`: what holds them in a layer of the model."""
    return {name: f"{place}.{goal}" for name, goal in PARTS.items()}


def flat(header: Header, shape: tuple[int, ...]) -> tuple[int, ...]:
    """One vector of what the file has in two dimensions."""
    return (prod(shape),)


def with_tensor(name: str) -> Layers:
    """The layers that have this tensor. `name`: after the layer's number."""
    return lambda header: [layer for layer in range(layer_count(header)) if f"blk.{layer}.{name}" in header.tensors]


VALUES: dict[str, Values] = {"blk.N.ssm_a": log_of_minus}
SHAPES: dict[str, Shape] = {
    "blk.N.ssm_conv1d.weight": last_axis_of_one,
    **dict.fromkeys(("blk.N.ssm_a", "blk.N.ssm_d", "blk.N.ssm_norm.weight"), flat),
}
CHARACTERS = {"ssm_in": "M", "attn_q": "*", "ffn_gate_inp": "E", "ffn_up": "-"}  # a layer's kind, by a tensor it has


def pattern(header: Header) -> str:
    """A character for each layer, as Nemotron-H's configuration has it."""
    return "".join(
        next((sign for name, sign in CHARACTERS.items() if f"blk.{layer}.{name}.weight" in header.tensors), "?")
        for layer in range(layer_count(header))
    )


def widest(header: Header) -> int:
    """The width of the feed-forward layers; the file has 0 for layers of another kind."""
    width: Any = header.need("{arch}.feed_forward_length")
    return int(max(width) if isinstance(width, list) else width)


MIXER = "backbone.layers.N.mixer"
MAMBA = mamba(MIXER)
HEADS = weights({name: f"{MIXER}.{goal.rpartition('.')[2]}" for name, goal in ATTENTION.items()})
WIDE = weights({"blk.N.ffn_up": f"{MIXER}.up_proj", "blk.N.ffn_down": f"{MIXER}.down_proj"})
CHOSEN = {
    **weights(
        {
            "blk.N.ffn_gate_inp": f"{MIXER}.gate",
            "blk.N.ffn_up_exps": f"{MIXER}.switch_mlp.fc1",
            "blk.N.ffn_down_exps": f"{MIXER}.switch_mlp.fc2",
            "blk.N.ffn_up_shexp": f"{MIXER}.shared_experts.up_proj",
            "blk.N.ffn_down_shexp": f"{MIXER}.shared_experts.down_proj",
        }
    ),
    experts.SCORE_BIAS: f"{MIXER}.gate.e_score_correction_bias",
}
STATE_SPACE: dict[str, Value] = {
    "mamba_num_heads": need("ssm.time_step_rank"),
    "mamba_head_dim": lambda header: header.need("{arch}.ssm.inner_size") // header.need("{arch}.ssm.time_step_rank"),
    "ssm_state_size": need("ssm.state_size"),
    "conv_kernel": need("ssm.conv_kernel"),
    "n_groups": need("ssm.group_count"),
}
NEMOTRON_H = ArchitectureFamily(
    "nemotron_h",
    "NemotronHForCausalLM",
    {
        **weights(
            {
                "token_embd": "backbone.embeddings",
                "output_norm": "backbone.norm_f",
                "output": "lm_head",
                "blk.N.attn_norm": "backbone.layers.N.norm",
            }
        ),
        **MAMBA,
        **HEADS,
        **WIDE,
        **CHOSEN,
    },
    {
        **CONFIG,
        **experts.ROUTED,
        **STATE_SPACE,
        "hybrid_override_pattern": pattern,
        "intermediate_size": widest,
        "layer_norm_epsilon": need("attention.layer_norm_rms_epsilon"),
        "n_routed_experts": maybe("expert_count"),
        "num_experts_per_tok": maybe("expert_used_count"),
        "moe_intermediate_size": maybe("expert_feed_forward_length"),
        "moe_shared_expert_intermediate_size": maybe("expert_shared_feed_forward_length"),
        "use_conv_bias": constant(True),
        **dict.fromkeys(("use_bias", "mlp_bias", "attention_bias", "mamba_proj_bias"), constant(False)),
    },
    optional=(),  # mlx-lm's model always has an output matrix of its own
    values=VALUES,
    shapes=SHAPES,
    layers={
        **dict.fromkeys(MAMBA, with_tensor("ssm_in.weight")),
        **dict.fromkeys(HEADS, with_tensor("attn_q.weight")),
        **dict.fromkeys(WIDE, with_tensor("ffn_up.weight")),
        **dict.fromkeys(CHOSEN, with_tensor("ffn_gate_inp.weight")),
    },
    supported={**experts.NO_SCALING, "rope.dimension_count": ()},  # no positions at all
)

MAMBA2 = ArchitectureFamily(
    "mamba2",
    "Mamba2ForCausalLM",
    {
        **weights(
            {
                "token_embd": "backbone.embeddings",
                "output_norm": "backbone.norm_f",
                "output": "lm_head",
                "blk.N.attn_norm": "backbone.layers.N.norm",
            }
        ),
        **MAMBA,
    },
    {
        **{key: CONFIG[key] for key in ("hidden_size", "num_hidden_layers", "vocab_size", "tie_word_embeddings")},
        "max_position_embeddings": need("context_length"),
        "intermediate_size": need("ssm.inner_size"),
        "num_heads": STATE_SPACE["mamba_num_heads"],
        "head_dim": STATE_SPACE["mamba_head_dim"],
        "state_size": need("ssm.state_size"),
        "conv_kernel": need("ssm.conv_kernel"),
        "n_groups": need("ssm.group_count"),
        "layer_norm_epsilon": need("attention.layer_norm_rms_epsilon"),
        "time_step_rank": constant("auto"),
        "time_step_limit": constant([0.0, 1e30]),  # llama.cpp has none
        "use_bias": constant(False),
        "use_conv_bias": constant(True),
    },
    values=VALUES,
    shapes=SHAPES,
    # mlx-lm's model has no groups of norms, and one epsilon for all norms but those in a layer
    supported={"ssm.group_count": (1,), "attention.layer_norm_rms_epsilon": (float(np.float32(1e-5)),)},
)

OF_MAMBA, OF_ATTENTION = mamba("model.layers.N.mamba"), weights(ATTENTION)
GRANITE_HYBRID = ArchitectureFamily(
    "granitemoehybrid",
    "GraniteMoeHybridForCausalLM",
    {**EMBEDDINGS, **OF_ATTENTION, **NORMS_BEFORE, **weights(FEED_FORWARD), **OF_MAMBA},
    {
        **CONFIG,
        **SCALES,
        "layer_types": lambda header: [
            "attention" if layer in attention_layers(header) else "mamba" for layer in range(layer_count(header))
        ],
        "mamba_n_heads": STATE_SPACE["mamba_num_heads"],
        "mamba_d_head": STATE_SPACE["mamba_head_dim"],
        "mamba_d_state": STATE_SPACE["ssm_state_size"],
        "mamba_d_conv": STATE_SPACE["conv_kernel"],
        "mamba_n_groups": STATE_SPACE["n_groups"],
        "mamba_conv_bias": constant(True),
        "mamba_proj_bias": constant(False),
        "attention_bias": constant(False),
        "mlp_bias": constant(False),
        "time_step_limit": constant([0.0, 1e30]),  # llama.cpp has none
        "position_embedding_type": lambda header: (
            "rope" if header.get("{arch}.rope.scaling.finetuned", True) else "nope"
        ),
    },
    rows=INTERLEAVED,
    values=VALUES,
    shapes=SHAPES,
    layers={**dict.fromkeys(OF_ATTENTION, attention_layers), **dict.fromkeys(OF_MAMBA, convolutions)},
    supported={**DENSE, **experts.NO_SCALING},
)
