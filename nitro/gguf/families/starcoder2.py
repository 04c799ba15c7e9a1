"""StarCoder 2 and Nemotron: norms with biases, and a feed-forward of two matrices without a gate. Nemotron's norms
multiply by 1 + weight, and the file stores the sum."""

from typing import Any

from nitro.gguf.families import experts, rope
from nitro.gguf.families.family import (
    ArchitectureFamily,
    Value,
    biases,
    constant,
    has,
    minus_one,
    need,
    rotated_share,
    weights,
)
from nitro.gguf.families.llama import ATTENTION, CONFIG, DENSE, EMBEDDINGS
from nitro.gguf.families.stablelm import NORMS
from nitro.gguf.header import Header

CONFIGURATION: dict[str, Value] = {key: value for key, value in CONFIG.items() if key != "rms_norm_eps"}
TWO_MATRICES = {"blk.N.ffn_up": "model.layers.N.mlp.c_fc", "blk.N.ffn_down": "model.layers.N.mlp.c_proj"}
STARCODER2 = ArchitectureFamily(
    "starcoder2",
    "Starcoder2ForCausalLM",
    {
        **EMBEDDINGS,
        **weights({**ATTENTION, **NORMS, **TWO_MATRICES}),
        **biases({**ATTENTION, **NORMS, **TWO_MATRICES}),
    },
    {**CONFIGURATION, "rope_scaling": rope.unscaled, "norm_epsilon": need("attention.layer_norm_epsilon")},
    supported={**DENSE, **experts.NO_SCALING},
)


def linear(header: Header) -> dict[str, Any] | None:
    """rope_scaling without factors. Raises UnreadableGGUF where the file has some."""
    rope.unscaled(header)
    return rope.linear(header)


UP_AND_DOWN = {"blk.N.ffn_up": "model.layers.N.mlp.up_proj", "blk.N.ffn_down": "model.layers.N.mlp.down_proj"}
BIASES = biases({**ATTENTION, **UP_AND_DOWN})
NEMOTRON = ArchitectureFamily(
    "nemotron",
    "NemotronForCausalLM",
    {**EMBEDDINGS, **weights({**ATTENTION, **NORMS, **UP_AND_DOWN}), **biases(NORMS), **BIASES},
    {
        **CONFIGURATION,
        "rope_scaling": linear,
        "hidden_act": constant("relu2"),
        "norm_eps": need("attention.layer_norm_epsilon"),
        "partial_rotary_factor": rotated_share,
        "attention_bias": has("blk.0.attn_q.bias"),
        "mlp_bias": has("blk.0.ffn_up.bias"),
    },
    optional=tuple(BIASES),  # mlx-lm's model always has an output matrix of its own
    values=dict.fromkeys(weights(NORMS), minus_one),
    supported={**DENSE, "rope.dimension_count": ()},
)
