"""Command R and R7B (Cohere 2): attention and feed-forward side by side after one norm, and logits that are scaled.
Heads are rotated in neighbouring pairs, in the file and in the model; in Cohere 2 only in layers with a window."""

from nitro.gguf.families import experts, rope
from nitro.gguf.families.family import ArchitectureFamily, Value, constant, has, need, weights
from nitro.gguf.families.gemma import window_pattern
from nitro.gguf.families.llama import ATTENTION, CONFIG, DENSE, EMBEDDINGS, FEED_FORWARD, HEAD_NORMS

NAMES = {
    **{name: goal for name, goal in EMBEDDINGS.items() if name != "output.weight"},  # always tied
    **weights(ATTENTION),
    "blk.N.attn_norm.weight": "model.layers.N.input_layernorm.weight",
    **weights(FEED_FORWARD),
}
CONFIGURATION: dict[str, Value] = {
    **{key: value for key, value in CONFIG.items() if key != "rms_norm_eps"},
    "rope_scaling": rope.unscaled,
    "layer_norm_eps": need("attention.layer_norm_epsilon"),
    "logit_scale": need("logit_scale"),
    "tie_word_embeddings": constant(True),
}
COHERE = ArchitectureFamily(
    "cohere",
    "CohereForCausalLM",
    {**NAMES, **HEAD_NORMS},
    {**CONFIGURATION, "use_qk_norm": has("blk.0.attn_q_norm.weight")},
    optional=tuple(HEAD_NORMS),
    supported={**DENSE, **experts.NO_SCALING},
)
COHERE2 = ArchitectureFamily(
    "cohere2",
    "Cohere2ForCausalLM",
    NAMES,
    {
        **CONFIGURATION,
        "sliding_window": need("attention.sliding_window"),
        "sliding_window_pattern": window_pattern(4),
    },
    supported={**DENSE, **experts.NO_SCALING},
)
