"""gpt-oss: sinks in attention, windows in every second layer, and biases everywhere."""

from nitro.gguf.families import experts, rope
from nitro.gguf.families.family import ArchitectureFamily, biases, layer_types, need, weights
from nitro.gguf.families.llama import ATTENTION, CONFIG, EMBEDDINGS

STACKS = experts.stacks("mlp.experts")
ROUTER = experts.router("mlp.router")

GPT_OSS = ArchitectureFamily(
    "gpt_oss",
    "GptOssForCausalLM",
    {
        **EMBEDDINGS,
        **weights({**ATTENTION, **STACKS, **ROUTER}),
        **biases({**ATTENTION, **STACKS, **ROUTER}),
        "blk.N.attn_sinks.weight": "model.layers.N.self_attn.sinks",
        **weights(
            {
                "blk.N.attn_norm": "model.layers.N.input_layernorm",
                "blk.N.post_attention_norm": "model.layers.N.post_attention_layernorm",
            }
        ),
    },
    {
        **CONFIG,
        **experts.USED,
        "num_local_experts": need("expert_count"),
        "intermediate_size": need("expert_feed_forward_length"),
        "sliding_window": need("attention.sliding_window"),
        "layer_types": layer_types(2),
        "rope_theta": rope.one_base,
        "rope_scaling": rope.yarn,
    },
    optional=(),  # mlx-lm's model always has an output matrix of its own
    supported={"rope.scaling.type": ("none", "yarn", None)},
)
