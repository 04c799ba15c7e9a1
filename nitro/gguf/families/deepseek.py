"""DeepSeek V3 (with R1 and Kimi K2), and GLM-4.7 Flash, which is built alike: latent attention, whose matrices per head
are in the file as mlx-lm's models hold them.

mlx-lm's DeepSeek V3 has a fixed epsilon in two norms, GLM's has the file's in all. Both choose experts by a sigmoid;
DeepSeek V2, whose matrices mlx-lm holds otherwise, uses softmax.
"""

from dataclasses import replace
from typing import Any

from nitro.gguf.families import experts, rope
from nitro.gguf.families.family import ArchitectureFamily, Value, need, weights
from nitro.gguf.families.glm import FIRST_LAYERS, ROUTING, SHARED
from nitro.gguf.families.llama import CONFIG, EMBEDDINGS, FEED_FORWARD, NORMS_BEFORE
from nitro.gguf.header import Header, UnreadableGGUF

EPSILON = 1e-6  # of the norms of the latent vectors in mlx-lm's DeepSeek V3
BETA_FAST, BETA_SLOW = 32.0, 1.0  # of YaRN in llama.cpp, where a file says nothing
LATENT = {
    "blk.N.attn_q": "q_proj",
    "blk.N.attn_q_a": "q_a_proj",
    "blk.N.attn_q_a_norm": "q_a_layernorm",
    "blk.N.attn_q_b": "q_b_proj",
    "blk.N.attn_kv_a_mqa": "kv_a_proj_with_mqa",
    "blk.N.attn_kv_a_norm": "kv_a_layernorm",
    "blk.N.attn_k_b": "embed_q",
    "blk.N.attn_v_b": "unembed_out",
    "blk.N.attn_output": "o_proj",
}
OF_QUERIES = weights(dict.fromkeys(("blk.N.attn_q", "blk.N.attn_q_a", "blk.N.attn_q_a_norm", "blk.N.attn_q_b"), ""))


def key_size(header: Header) -> int:
    """The size of a head's key, before it is compressed."""
    return int(header.need("{arch}.attention.key_length_mla"))


def yarn(header: Header) -> dict[str, Any] | None:
    """rope_scaling. The file has a tenth of the factor for all dimensions (load_arch_hparams in llama.cpp's
    src/models/deepseek2.cpp), and the one for the rotated dimensions is the same. Raises UnreadableGGUF without it:
    llama.cpp then scales the scores by another rule than mlx-lm's model knows."""
    found = rope.yarn(header)
    if not found or found.get("type") != "yarn":
        return found
    factor = found["mscale_all_dim"] * 10
    if not factor:
        raise UnreadableGGUF(f"{header.path} has no {header.architecture}.rope.scaling.yarn_log_multiplier.")
    return {**found, "mscale": factor, "mscale_all_dim": factor}


def other_rotations(header: Header) -> str | None:
    """A notice where the file has other limits of YaRN than llama.cpp, which reads none for this architecture. Kimi K2
    has."""
    if header.get("{arch}.rope.scaling.type") != "yarn":
        return None
    fast = header.get("{arch}.rope.scaling.yarn_beta_fast", BETA_FAST)
    slow = header.get("{arch}.rope.scaling.yarn_beta_slow", BETA_SLOW)
    if (fast, slow) == (BETA_FAST, BETA_SLOW):
        return None
    return (
        f"The file scales positions between {slow:g} and {fast:g} rotations, as its model was trained; llama.cpp "
        f"always between {BETA_SLOW:g} and {BETA_FAST:g}, so its answers differ."
    )


CONFIGURATION: dict[str, Value] = {
    **CONFIG,
    **experts.ROUTED,
    "num_key_value_heads": need("attention.head_count"),
    "q_lora_rank": lambda header: header.get("{arch}.attention.q_lora_rank") or None,
    "kv_lora_rank": need("attention.kv_lora_rank"),
    "qk_rope_head_dim": need("rope.dimension_count"),
    "qk_nope_head_dim": lambda header: key_size(header) - header.need("{arch}.rope.dimension_count"),
    "v_head_dim": need("attention.value_length_mla"),
    "head_dim": need("rope.dimension_count"),  # as in transformers' configuration
    "rope_scaling": yarn,
}
NAMES = {
    **EMBEDDINGS,
    **weights({name: f"model.layers.N.self_attn.{goal}" for name, goal in LATENT.items()}),
    **NORMS_BEFORE,
    **weights(FEED_FORWARD),
    **ROUTING,
    **SHARED,
}
SUPPORTED: dict[str, tuple[Any, ...]] = {
    "rope.dimension_count": (),  # any
    "attention.value_length": (),
    "rope.scaling.type": ("none", "yarn", None),
    "expert_gating_func": (experts.SIGMOID,),
}
# mlx-lm's models always have an output matrix of their own
DEEPSEEK_V3 = ArchitectureFamily(
    "deepseek_v3",
    "DeepseekV3ForCausalLM",
    NAMES,
    CONFIGURATION,
    optional=tuple(OF_QUERIES),
    layers=FIRST_LAYERS,
    supported=SUPPORTED,
    notice=other_rotations,
)
GLM4_MOE_LITE = replace(DEEPSEEK_V3, model_type="glm4_moe_lite", model_class="Glm4MoeLiteForCausalLM")


def has_other_epsilon(header: Header) -> bool:
    """Is the epsilon of the file's norms not the one that mlx-lm's DeepSeek V3 has?"""
    epsilon = float(header.get("{arch}.attention.layer_norm_rms_epsilon", 0.0))
    return abs(epsilon / EPSILON - 1) > rope.RELATIVE_TOLERANCE
