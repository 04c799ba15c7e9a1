"""MiniMax M2: only a part of each head is rotated, and norms go over all heads at once."""

from nitro.gguf.families import experts
from nitro.gguf.families.family import ArchitectureFamily, constant, head_size, need, weights
from nitro.gguf.families.llama import ATTENTION, CONFIG, EMBEDDINGS, HEAD_NORMS, NORMS_BEFORE

MINIMAX_M2 = ArchitectureFamily(
    "minimax_m2",
    "MiniMaxM2ForCausalLM",
    {
        **EMBEDDINGS,
        **weights(ATTENTION),
        **HEAD_NORMS,
        **NORMS_BEFORE,
        **weights({**experts.router("block_sparse_moe.gate"), **experts.stacks("block_sparse_moe.switch_mlp")}),
        experts.SCORE_BIAS: "model.layers.N.block_sparse_moe.e_score_correction_bias",
    },
    {
        **CONFIG,
        **experts.USED,
        "num_local_experts": need("expert_count"),
        "intermediate_size": need("expert_feed_forward_length"),
        "shared_intermediate_size": constant(0),
        "rotary_dim": lambda header: header.get("{arch}.rope.dimension_count", head_size(header)),
        "use_qk_norm": constant(True),
    },
    supported={
        **experts.NO_SCALING,
        "rope.dimension_count": (),  # any
        "expert_gating_func": (experts.SIGMOID,),
        "expert_weights_scale": (1.0, 0.0, None),
    },
)
