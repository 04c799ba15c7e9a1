"""Hunyuan (dense): heads are normalised after they are rotated. llama.cpp's converter puts the scaling of positions
into the rotary base."""

from nitro.gguf.families import experts
from nitro.gguf.families.family import ArchitectureFamily, constant, weights
from nitro.gguf.families.llama import CONFIG, DENSE, NAMES

HUNYUAN_DENSE = ArchitectureFamily(
    "hunyuan_v1_dense",
    "HunYuanDenseV1ForCausalLM",
    {
        **NAMES,
        **weights(
            {
                "blk.N.attn_q_norm": "model.layers.N.self_attn.query_layernorm",
                "blk.N.attn_k_norm": "model.layers.N.self_attn.key_layernorm",
            }
        ),
    },
    {**CONFIG, "rope_scaling": constant(None), "use_qk_norm": constant(True)},
    supported={**DENSE, **experts.NO_SCALING},
)
