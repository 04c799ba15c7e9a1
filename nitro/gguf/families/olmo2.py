"""OLMo 2: norms come after attention and feed-forward, and over all heads at once."""

from nitro.gguf.families.family import ArchitectureFamily, weights
from nitro.gguf.families.llama import ATTENTION, CONFIG, DENSE, EMBEDDINGS, FEED_FORWARD, HEAD_NORMS

NORMS_AFTER = weights(
    {
        "blk.N.post_attention_norm": "model.layers.N.post_attention_layernorm",
        "blk.N.post_ffw_norm": "model.layers.N.post_feedforward_layernorm",
    }
)
OLMO2 = ArchitectureFamily(
    "olmo2",
    "Olmo2ForCausalLM",
    {**EMBEDDINGS, **weights(ATTENTION), **HEAD_NORMS, **NORMS_AFTER, **weights(FEED_FORWARD)},
    CONFIG,
    supported={**DENSE, "attention.sliding_window": (0, None)},  # OLMo 3 has one
)
