"""Phi-3 and Phi-4: queries, keys and values are one matrix, gate and up another, in the file and in the model."""

from nitro.gguf.families import rope
from nitro.gguf.families.family import ArchitectureFamily, maybe, rotated_share, weights
from nitro.gguf.families.llama import CONFIG, DENSE, EMBEDDINGS, NORMS_BEFORE
from nitro.gguf.header import Header


def long_only(header: Header) -> str | None:
    """A notice where the file has factors for long contexts."""
    if rope.LONG not in header.tensors:
        return None
    context = header.get("{arch}.rope.scaling.original_context_length", 4096)
    return f"mlx-lm's phi3 always uses the factors for long contexts; llama.cpp uses others up to {context} tokens."


PHI3 = ArchitectureFamily(
    "phi3",
    "Phi3ForCausalLM",
    {
        **EMBEDDINGS,
        **NORMS_BEFORE,
        **weights(
            {
                "blk.N.attn_qkv": "model.layers.N.self_attn.qkv_proj",
                "blk.N.attn_output": "model.layers.N.self_attn.o_proj",
                "blk.N.ffn_up": "model.layers.N.mlp.gate_up_proj",
                "blk.N.ffn_down": "model.layers.N.mlp.down_proj",
            }
        ),
    },
    {
        **CONFIG,
        "rope_scaling": rope.two_lists,
        "original_max_position_embeddings": maybe("rope.scaling.original_context_length", 4096),
        "partial_rotary_factor": rotated_share,
        "sliding_window": lambda header: header.get("{arch}.attention.sliding_window") or None,
    },
    supported={
        **DENSE,
        "rope.scaling.type": ("none", "linear", "longrope", None),
        "rope.scaling.attn_factor": (),  # any: mlx-lm's model computes its own
        "rope.dimension_count": (),
    },
    notice=long_only,
)
