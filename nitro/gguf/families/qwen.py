"""Qwen2 (with Qwen2.5), Qwen3 and Qwen3-MoE. Their rows are in the model's order already."""

from nitro.gguf.families import experts
from nitro.gguf.families.family import ArchitectureFamily, constant, need, one_row, weights
from nitro.gguf.families.llama import (
    ATTENTION,
    CONFIG,
    DENSE,
    EMBEDDINGS,
    HEAD_NORMS,
    NAMES,
    NORMS_BEFORE,
    QKV_BIASES,
)

QWEN2 = ArchitectureFamily("qwen2", "Qwen2ForCausalLM", {**NAMES, **QKV_BIASES}, CONFIG, supported=DENSE)
QWEN3 = ArchitectureFamily("qwen3", "Qwen3ForCausalLM", {**NAMES, **HEAD_NORMS}, CONFIG, supported=DENSE)

SHARED = weights(
    {**experts.shared("mlp.shared_expert"), "blk.N.ffn_gate_inp_shexp": "model.layers.N.mlp.shared_expert_gate"}
)
QWEN2_MOE = ArchitectureFamily(
    "qwen2_moe",
    "Qwen2MoeForCausalLM",
    {**EMBEDDINGS, **weights(ATTENTION), **QKV_BIASES, **NORMS_BEFORE, **experts.EXPERTS, **SHARED},
    {
        **CONFIG,
        **experts.USED,
        "num_experts": need("expert_count"),
        "moe_intermediate_size": need("expert_feed_forward_length"),
        "shared_expert_intermediate_size": need("expert_shared_feed_forward_length"),
        "norm_topk_prob": constant(False),
    },
    optional=(),  # mlx-lm's model always has an output matrix of its own
    shapes={"blk.N.ffn_gate_inp_shexp.weight": one_row},
    supported=experts.NO_SCALING,
)
QWEN3_MOE = ArchitectureFamily(
    "qwen3_moe",
    "Qwen3MoeForCausalLM",
    {**EMBEDDINGS, **weights(ATTENTION), **NORMS_BEFORE, **HEAD_NORMS, **experts.EXPERTS},
    {
        **CONFIG,
        "num_experts": need("expert_count"),
        **experts.USED,
        "moe_intermediate_size": need("expert_feed_forward_length"),
        "norm_topk_prob": constant(True),  # llama.cpp divides by the sum of the chosen experts' shares
        "decoder_sparse_step": constant(1),
        "mlp_only_layers": constant([]),
    },
    supported=experts.NO_SCALING,
)
