"""StableLM: norms with biases, and only a part of each head is rotated. Without a norm before it, the feed-forward is
beside attention."""

from nitro.gguf.families import experts, rope
from nitro.gguf.families.family import ArchitectureFamily, biases, has, lacks, need, rotated_share, weights
from nitro.gguf.families.llama import ATTENTION, CONFIG, DENSE, EMBEDDINGS, FEED_FORWARD, QKV_BIASES

NORMS = {
    "output_norm": "model.norm",
    "blk.N.attn_norm": "model.layers.N.input_layernorm",
    "blk.N.ffn_norm": "model.layers.N.post_attention_layernorm",
}
SECOND_NORM = ("blk.N.ffn_norm.weight", "blk.N.ffn_norm.bias")
STABLELM = ArchitectureFamily(
    "stablelm",
    "StableLmForCausalLM",
    {
        **EMBEDDINGS,
        **weights(ATTENTION),
        **QKV_BIASES,
        **weights(NORMS),
        **biases(NORMS),
        **weights(FEED_FORWARD),
    },
    {
        **{key: value for key, value in CONFIG.items() if key != "rms_norm_eps"},
        "rope_scaling": rope.unscaled,
        "layer_norm_eps": need("attention.layer_norm_epsilon"),
        "partial_rotary_factor": rotated_share,
        "use_qkv_bias": has("blk.0.attn_q.bias"),
        "use_parallel_residual": lacks("blk.0.ffn_norm.weight"),
    },
    optional=(*QKV_BIASES, *SECOND_NORM),  # mlx-lm's model always has an output matrix of its own
    supported={**DENSE, **experts.NO_SCALING, "rope.dimension_count": ()},
)
