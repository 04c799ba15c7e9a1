"""GLM-4 and GLM-4.5 to 4.7. Only a part of each head is rotated."""

from nitro.gguf.families import experts
from nitro.gguf.families.family import (
    ArchitectureFamily,
    Layers,
    dense_first,
    has,
    rotated_share,
    weights,
    with_experts,
)
from nitro.gguf.families.llama import ATTENTION, CONFIG, DENSE, EMBEDDINGS, FEED_FORWARD, HEAD_NORMS, QKV_BIASES

PARTIAL = {"partial_rotary_factor": rotated_share, "attention_bias": has("blk.0.attn_q.bias")}
ANY_ROTATED_SHARE = {**experts.NO_SCALING, "rope.dimension_count": (), "rope.dimension_sections": (None,)}

GLM4 = ArchitectureFamily(
    "glm4",
    "Glm4ForCausalLM",
    {
        **EMBEDDINGS,
        **weights(ATTENTION),
        **QKV_BIASES,
        **weights(
            {
                "blk.N.attn_norm": "model.layers.N.input_layernorm",
                "blk.N.post_attention_norm": "model.layers.N.post_self_attn_layernorm",
                "blk.N.ffn_norm": "model.layers.N.post_attention_layernorm",
                "blk.N.post_ffw_norm": "model.layers.N.post_mlp_layernorm",
                "blk.N.ffn_up": "model.layers.N.mlp.gate_up_proj",
                "blk.N.ffn_down": "model.layers.N.mlp.down_proj",
            }
        ),
    },
    {**CONFIG, **PARTIAL},
    optional=tuple(QKV_BIASES),  # mlx-lm's model always has an output matrix of its own
    supported={**DENSE, **ANY_ROTATED_SHARE},
)

SHARED = weights(experts.shared("mlp.shared_experts"))
ROUTING = {**experts.EXPERTS, experts.SCORE_BIAS: "model.layers.N.mlp.gate.e_score_correction_bias"}
FIRST_LAYERS: dict[str, Layers] = {
    **dict.fromkeys(weights(FEED_FORWARD), dense_first),
    **dict.fromkeys((*ROUTING, *SHARED), with_experts),
}
GLM4_MOE = ArchitectureFamily(
    "glm4_moe",
    "Glm4MoeForCausalLM",
    {
        **EMBEDDINGS,
        **weights(ATTENTION),
        **QKV_BIASES,
        **HEAD_NORMS,
        **weights(
            {
                "blk.N.attn_norm": "model.layers.N.input_layernorm",
                "blk.N.post_attention_norm": "model.layers.N.post_attention_layernorm",
            }
        ),
        **weights(FEED_FORWARD),
        **ROUTING,
        **SHARED,
    },
    {**CONFIG, **PARTIAL, **experts.ROUTED, "use_qk_norm": has("blk.0.attn_q_norm.weight")},
    optional=(*QKV_BIASES, *HEAD_NORMS),
    layers=FIRST_LAYERS,
    supported={**ANY_ROTATED_SHARE, "expert_gating_func": (experts.SIGMOID, 0, None)},
)
