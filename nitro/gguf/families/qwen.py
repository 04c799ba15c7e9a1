"""Qwen2 (with Qwen2.5), Qwen3 and Qwen3-MoE. Their rows are in the model's order already."""

from nitro.gguf.families.family import ArchitectureFamily, biases, constant, need, weights
from nitro.gguf.families.llama import (
    ATTENTION,
    CONFIG,
    DENSE,
    EMBEDDINGS,
    FEED_FORWARD,
    HEAD_NORMS,
    NAMES,
    NORMS_BEFORE,
)

QKV_BIASES = biases({name: goal for name, goal in ATTENTION.items() if name != "blk.N.attn_output"})

QWEN2 = ArchitectureFamily("qwen2", "Qwen2ForCausalLM", {**NAMES, **QKV_BIASES}, CONFIG, supported=DENSE)
QWEN3 = ArchitectureFamily("qwen3", "Qwen3ForCausalLM", {**NAMES, **HEAD_NORMS}, CONFIG, supported=DENSE)

# a layer's experts are one stack, [experts, rows, columns], in the file and for mlx-lm
EXPERTS = weights(
    {
        "blk.N.ffn_gate_inp": "model.layers.N.mlp.gate",
        **{name + "_exps": goal.replace("mlp.", "mlp.switch_mlp.") for name, goal in FEED_FORWARD.items()},
    }
)
QWEN3_MOE = ArchitectureFamily(
    "qwen3_moe",
    "Qwen3MoeForCausalLM",
    {**EMBEDDINGS, **weights(ATTENTION), **NORMS_BEFORE, **HEAD_NORMS, **EXPERTS},
    {
        **CONFIG,
        "num_experts": need("expert_count"),
        "num_experts_per_tok": need("expert_used_count"),
        "moe_intermediate_size": need("expert_feed_forward_length"),
        "norm_topk_prob": constant(True),  # llama.cpp divides by the sum of the chosen experts' shares
        "decoder_sparse_step": constant(1),
        "mlp_only_layers": constant([]),
    },
    supported={"rope.scaling.type": ("none", None)},  # mlx-lm's model scales no positions
)
