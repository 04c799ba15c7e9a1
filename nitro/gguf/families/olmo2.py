"""OLMo 2, 3 and OLMoE: norms of heads go over all heads at once. In the first two, other norms come after attention and
feed-forward; a file with windows is an OLMo 3."""

from nitro.gguf.families import experts, rope
from nitro.gguf.families.family import ArchitectureFamily, constant, layer_types, need, weights
from nitro.gguf.families.llama import ATTENTION, CONFIG, DENSE, EMBEDDINGS, FEED_FORWARD, HEAD_NORMS, NORMS_BEFORE

NORMS_AFTER = weights(
    {
        "blk.N.post_attention_norm": "model.layers.N.post_attention_layernorm",
        "blk.N.post_ffw_norm": "model.layers.N.post_feedforward_layernorm",
    }
)
NAMES = {**EMBEDDINGS, **weights(ATTENTION), **HEAD_NORMS, **NORMS_AFTER, **weights(FEED_FORWARD)}
OLMO2 = ArchitectureFamily(
    "olmo2",
    "Olmo2ForCausalLM",
    NAMES,
    CONFIG,
    supported=DENSE,
)

OLMO3 = ArchitectureFamily(
    "olmo3",
    "Olmo3ForCausalLM",
    NAMES,
    {
        **CONFIG,
        "rope_scaling": rope.yarn,
        "sliding_window": need("attention.sliding_window"),
        "layer_types": layer_types(4),
    },
    supported={**DENSE, "rope.scaling.type": ("none", "yarn", None)},
)

OLMOE = ArchitectureFamily(
    "olmoe",
    "OlmoeForCausalLM",
    {**EMBEDDINGS, **weights(ATTENTION), **HEAD_NORMS, **NORMS_BEFORE, **experts.EXPERTS},
    {**CONFIG, **experts.USED, "num_experts": need("expert_count"), "norm_topk_prob": constant(False)},
)
