"""Llama, and all that is built alike: Mistral, SmolLM, … SmolLM3 and Granite differ in a few settings."""

from nitro.gguf.families import experts, rope
from nitro.gguf.families.family import (
    ArchitectureFamily,
    Rows,
    Value,
    biases,
    constant,
    half_split_of,
    has,
    head_count,
    head_size,
    kv_head_count,
    lacks,
    layer_count,
    maybe,
    need,
    vocabulary,
    weights,
)

EMBEDDINGS = weights({"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"})
ATTENTION = {
    "blk.N.attn_q": "model.layers.N.self_attn.q_proj",
    "blk.N.attn_k": "model.layers.N.self_attn.k_proj",
    "blk.N.attn_v": "model.layers.N.self_attn.v_proj",
    "blk.N.attn_output": "model.layers.N.self_attn.o_proj",
}
FEED_FORWARD = {
    "blk.N.ffn_gate": "model.layers.N.mlp.gate_proj",
    "blk.N.ffn_up": "model.layers.N.mlp.up_proj",
    "blk.N.ffn_down": "model.layers.N.mlp.down_proj",
}
NORMS_BEFORE = weights(
    {"blk.N.attn_norm": "model.layers.N.input_layernorm", "blk.N.ffn_norm": "model.layers.N.post_attention_layernorm"}
)
HEAD_NORMS = weights(
    {"blk.N.attn_q_norm": "model.layers.N.self_attn.q_norm", "blk.N.attn_k_norm": "model.layers.N.self_attn.k_norm"}
)
NAMES = {**EMBEDDINGS, **weights(ATTENTION), **NORMS_BEFORE, **weights(FEED_FORWARD)}
QKV_BIASES = biases({name: goal for name, goal in ATTENTION.items() if name != "blk.N.attn_output"})
BIASES = biases({**ATTENTION, **FEED_FORWARD})

# llama.cpp's converter permutes these, so that a head's rotary pairs lie side by side; transformers and MLX pair a
# head's first half with its second (LlamaModel.permute in llama.cpp's conversion/llama.py)
INTERLEAVED: dict[str, Rows] = {
    **dict.fromkeys(("blk.N.attn_q.weight", "blk.N.attn_q.bias"), half_split_of(head_count)),
    **dict.fromkeys(("blk.N.attn_k.weight", "blk.N.attn_k.bias"), half_split_of(kv_head_count)),
}

CONFIG = {
    "hidden_size": need("embedding_length"),
    "num_hidden_layers": layer_count,
    "intermediate_size": need("feed_forward_length"),
    "num_attention_heads": head_count,
    "num_key_value_heads": kv_head_count,
    "head_dim": head_size,
    "rms_norm_eps": need("attention.layer_norm_rms_epsilon"),
    "vocab_size": vocabulary,
    "max_position_embeddings": need("context_length"),
    "rope_theta": rope.base,
    "rope_scaling": rope.scaling,
    "tie_word_embeddings": lacks("output.weight"),
}
BIAS_CONFIG = {"attention_bias": has("blk.0.attn_q.bias"), "mlp_bias": has("blk.0.ffn_gate.bias")}
DENSE = {"expert_count": (0, None)}

LLAMA = ArchitectureFamily(
    "llama",
    "LlamaForCausalLM",
    {**NAMES, **BIASES},
    {**CONFIG, **BIAS_CONFIG},
    optional=("output.weight", *BIASES),
    rows=INTERLEAVED,
    supported=DENSE,
)

MIXTRAL = ArchitectureFamily(
    "mixtral",
    "MixtralForCausalLM",
    {
        **EMBEDDINGS,
        **weights(ATTENTION),
        **NORMS_BEFORE,
        **weights({**experts.router("block_sparse_moe.gate"), **experts.stacks("block_sparse_moe.switch_mlp")}),
    },
    {**CONFIG, **experts.USED, "num_local_experts": need("expert_count")},
    rows=INTERLEAVED,
    supported=experts.NO_SCALING,
)

MINISTRAL3 = ArchitectureFamily(
    "ministral3",
    "Ministral3ForCausalLM",
    NAMES,
    {
        **CONFIG,
        "rope_parameters": lambda header: {
            **(rope.yarn(header) or {}),
            "rope_theta": rope.base(header),
            "llama_4_scaling_beta": header.get("{arch}.attention.temperature_scale", 0.0),
        },
    },
    rows=INTERLEAVED,
    supported={**DENSE, "rope.scaling.type": ("yarn",), "attention.temperature_scale": ()},
)

SEED_OSS = ArchitectureFamily(
    "seed_oss",
    "SeedOssForCausalLM",
    {
        **{name: goal for name, goal in NAMES.items() if name != "blk.N.ffn_norm.weight"},
        **QKV_BIASES,
        "blk.N.post_attention_norm.weight": "model.layers.N.post_attention_layernorm.weight",
    },
    {**CONFIG, "attention_bias": has("blk.0.attn_q.bias")},
    optional=("output.weight", *QKV_BIASES),
    supported=DENSE,
)

ERNIE4_5 = ArchitectureFamily(
    "ernie4_5",
    "Ernie4_5ForCausalLM",
    NAMES,
    {**CONFIG, "use_bias": constant(False)},
    supported={**DENSE, **experts.NO_SCALING},
)

SMOLLM3 = ArchitectureFamily(
    "smollm3",
    "SmolLM3ForCausalLM",
    {**NAMES, **BIASES},
    {**CONFIG, **BIAS_CONFIG, "no_rope_layer_interval": constant(4)},  # llama.cpp knows no other interval
    optional=("output.weight", *BIASES),
    rows=INTERLEAVED,
    supported=DENSE,
)

SCALES: dict[str, Value] = {
    "logits_scaling": need("logit_scale"),
    "attention_multiplier": lambda header: header.get("{arch}.attention.scale") or head_size(header) ** -0.5,
    "embedding_multiplier": maybe("embedding_scale", 1.0),
    "residual_multiplier": maybe("residual_scale", 1.0),
}
WITH_POSITIONS = {"rope.scaling.finetuned": (True, None)}  # false: no positions at all

GRANITE = ArchitectureFamily(
    "granite",
    "GraniteForCausalLM",
    {**NAMES, **BIASES},
    {
        **CONFIG,
        **BIAS_CONFIG,
        **SCALES,
    },
    optional=("output.weight", *BIASES),
    rows=INTERLEAVED,
    supported={**DENSE, **WITH_POSITIONS},
)

GRANITE_MOE = ArchitectureFamily(
    "granitemoe",
    "GraniteMoeForCausalLM",
    {
        **EMBEDDINGS,
        **weights(ATTENTION),
        **NORMS_BEFORE,
        **weights({**experts.router("block_sparse_moe.router.layer"), **experts.stacks("block_sparse_moe.switch_mlp")}),
    },
    {
        **CONFIG,
        **SCALES,
        **experts.USED,
        "num_local_experts": need("expert_count"),
        "attention_bias": constant(False),
    },
    rows=INTERLEAVED,
    supported=WITH_POSITIONS,
)
