"""Tiny random checkpoints of many architectures, as transformers writes them: `make.py FOLDER TOKENS KIND…`, in
transformers' environment. TOKENS is a JSON list; the logits after each of them are saved beside the weights.

The weights are larger than a model is initialised with, so that some tokens are clearly better than others.
"""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoModelForCausalLM
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

COMMON = {
    "vocab_size": 1024,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "max_position_embeddings": 512,
    "initializer_range": 0.3,
    "rms_norm_eps": 1e-5,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
    "tie_word_embeddings": False,
}
SCALES = {
    "embedding_multiplier": 3.0,
    "residual_multiplier": 0.5,
    "logits_scaling": 2.0,
    "attention_multiplier": 0.1,
}
LOCAL_EXPERTS = {"num_local_experts": 8, "num_experts_per_tok": 2}
EXPERTS = {"num_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": 32}
ROUTED = {
    **{"n_routed_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": 32, "n_shared_experts": 1},
    **{"n_group": 1, "topk_group": 1, "first_k_dense_replace": 1},
    **{"routed_scaling_factor": 1.5, "norm_topk_prob": True},
}
LATENT = {
    **{"q_lora_rank": 32, "kv_lora_rank": 32, "num_key_value_heads": 4},
    **{"qk_nope_head_dim": 16, "qk_rope_head_dim": 8, "v_head_dim": 16, "head_dim": 8},
}
STATE_SPACE = {
    **{"mamba_num_heads": 8, "mamba_head_dim": 16, "ssm_state_size": 16, "n_groups": 2, "expand": 2},
    "layer_norm_epsilon": 1e-5,
    "time_step_min": 1e-9,  # a limit that neither engine has
}
LINEAR = {
    **{"linear_num_key_heads": 2, "linear_num_value_heads": 4},
    **{"linear_key_head_dim": 16, "linear_value_head_dim": 16, "head_dim": 32},
    **{"full_attention_interval": 2, "layer_types": ["linear_attention", "full_attention"] * 2},
}
GEMMA4 = {
    **{"global_head_dim": 32, "sliding_window": 32, "moe_intermediate_size": 32},
    **{"tie_word_embeddings": True, "final_logit_softcapping": 30.0},
    **{"layer_types": ["sliding_attention", "full_attention"] * 2},
}
YARN = {
    "rope_type": "yarn",
    "rope_theta": 150000.0,
    "factor": 8.0,
    "original_max_position_embeddings": 64,
    "beta_fast": 32.0,
    "beta_slow": 1.0,
}
# by the name in docs/architectures.md: model_type, and what differs from COMMON
KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("llama", {}),
    "mixtral": ("mixtral", LOCAL_EXPERTS),
    "qwen2": ("qwen2", {}),
    "qwen2moe": ("qwen2_moe", {**EXPERTS, "shared_expert_intermediate_size": 48}),
    "qwen3": ("qwen3", {}),
    "qwen3moe": ("qwen3_moe", {**EXPERTS, "norm_topk_prob": True}),
    "phi3": ("phi3", {}),
    "smollm3": ("smollm3", {}),
    "granite": ("granite", SCALES),
    "granitemoe": ("granitemoe", {**SCALES, **LOCAL_EXPERTS}),
    "olmo2": ("olmo2", {}),
    "olmo3": ("olmo3", {"sliding_window": 32}),
    "olmoe": ("olmoe", {"num_experts": 8, "num_experts_per_tok": 2, "num_key_value_heads": 4}),
    "seed_oss": ("seed_oss", {"attention_bias": True}),
    "ernie4_5": ("ernie4_5", {}),
    "hunyuan-dense": ("hunyuan_v1_dense", {}),
    "glm4": ("glm4", {"partial_rotary_factor": 0.5, "attention_bias": True}),
    "glm4moe": (
        "glm4_moe",
        {**ROUTED, "partial_rotary_factor": 0.5, "use_qk_norm": True, "attention_bias": True},
    ),
    "gpt-oss": (
        "gpt_oss",
        {
            **LOCAL_EXPERTS,
            "intermediate_size": 32,
            "sliding_window": 32,
            "head_dim": 32,
            "rope_parameters": {**YARN, "truncate": True},  # as both engines do
        },
    ),
    "minimax-m2": (
        "minimax_m2",
        {**LOCAL_EXPERTS, "intermediate_size": 32, "rotary_dim": 8, "scoring_func": "sigmoid"},
    ),
    "ministral3": (
        "ministral3",
        {"rope_parameters": {**YARN, "mscale": 1.0, "mscale_all_dim": 1.0, "llama_4_scaling_beta": 0.1}},
    ),
    "qwen35": ("qwen3_5_text", LINEAR),
    "qwen35moe": ("qwen3_5_moe_text", {**LINEAR, **EXPERTS, "shared_expert_intermediate_size": 32}),
    "qwen3next": ("qwen3_next", {**LINEAR, **EXPERTS, "shared_expert_intermediate_size": 32}),
    "deepseek-v2": (
        "deepseek_v2",
        {**LATENT, **ROUTED, "topk_method": "greedy", "norm_topk_prob": False},
    ),
    "deepseek-v3": ("deepseek_v3", {**LATENT, **ROUTED, "n_group": 4, "topk_group": 2, "rms_norm_eps": 1e-6}),
    "glm4moelite": ("glm4_moe_lite", {**LATENT, **ROUTED}),
    "lfm2moe": (
        "lfm2_moe",
        {
            **EXPERTS,
            "layer_types": ["conv", "full_attention"] * 2,
            "num_dense_layers": 1,
            "use_expert_bias": True,
            "norm_topk_prob": True,
            "tie_word_embeddings": True,
        },
    ),
    "nemotron_h": ("nemotron_h", {**STATE_SPACE, "hybrid_override_pattern": "M*-M"}),
    "nemotron_h_moe": (
        "nemotron_h",
        {
            **STATE_SPACE,
            **ROUTED,
            "hybrid_override_pattern": "M*EM",
            "moe_shared_expert_intermediate_size": 48,
        },
    ),
    "granitehybrid": (
        "granitemoehybrid",
        {
            **SCALES,
            **{"layer_types": ["mamba", "attention"] * 2, "num_local_experts": 0, "shared_intermediate_size": 128},
            **{"mamba_n_heads": 8, "mamba_d_head": 16, "mamba_d_state": 16, "mamba_n_groups": 1, "mamba_expand": 2},
        },
    ),
    "gemma4": (
        "gemma4_text",
        {
            **GEMMA4,
            **{"num_hidden_layers": 6, "num_kv_shared_layers": 3, "use_double_wide_mlp": True},
            **{"layer_types": ["sliding_attention", "sliding_attention", "full_attention"] * 2},
            **{"hidden_size_per_layer_input": 16, "vocab_size_per_layer_input": 1024},
        },
    ),
    "gemma4-keys-as-values": (
        "gemma4_text",
        {**GEMMA4, "attention_k_eq_v": True, "num_global_key_value_heads": 1, "hidden_size_per_layer_input": 0},
    ),
    "gemma4-moe": (
        "gemma4_text",
        {
            **GEMMA4,
            **{"attention_k_eq_v": True, "num_global_key_value_heads": 1, "hidden_size_per_layer_input": 0},
            **{"enable_moe_block": True, "num_experts": 8, "top_k_experts": 2, "moe_intermediate_size": 32},
        },
    ),
    "exaone4": ("exaone4", {"sliding_window": None, "layer_types": ["full_attention"] * 4}),
    "exaone4-windows": (
        "exaone4",
        {"num_hidden_layers": 64, "sliding_window": 32, "sliding_window_pattern": 4, "initializer_range": 0.2},
    ),
    "cohere": ("cohere", {"layer_norm_eps": 1e-5, "tie_word_embeddings": True, "logit_scale": 0.75}),
    "cohere2": (
        "cohere2",
        {
            "layer_norm_eps": 1e-5,
            "tie_word_embeddings": True,
            "logit_scale": 0.75,
            "sliding_window": 32,
            "rotary_pct": 1.0,
        },
    ),
    "stablelm": ("stablelm", {"use_qkv_bias": True, "layer_norm_eps": 1e-5}),
    "stablelm-parallel": ("stablelm", {"use_parallel_residual": True, "layer_norm_eps": 1e-5}),
    "gemma": ("gemma", {"tie_word_embeddings": True, "hidden_act": "gelu_pytorch_tanh"}),
    "starcoder2": ("starcoder2", {"norm_epsilon": 1e-5, "tie_word_embeddings": True}),
    "nemotron": ("nemotron", {"norm_eps": 1e-5, "partial_rotary_factor": 0.5}),
    "mamba2": (
        "mamba2",
        {
            **{"num_heads": 8, "head_dim": 16, "state_size": 16, "n_groups": 1, "expand": 2, "conv_kernel": 4},
            **{"layer_norm_epsilon": 1e-5, "tie_word_embeddings": True, "chunk_size": 64},
        },
    ),
    "falcon-h1": (
        "falcon_h1",
        {
            **{"mamba_d_ssm": 128, "mamba_n_heads": 8, "mamba_d_head": 16, "mamba_d_state": 16, "mamba_n_groups": 2},
            **{"mamba_expand": 2, "mamba_norm_before_gate": False, "mamba_rms_norm": False, "mamba_chunk_size": 64},
            **{"embedding_multiplier": 2.0, "lm_head_multiplier": 0.5, "key_multiplier": 0.75},
            **{"attention_in_multiplier": 1.25, "attention_out_multiplier": 0.9375},
            **{"ssm_in_multiplier": 1.25, "ssm_out_multiplier": 0.5, "mlp_multipliers": [0.875, 0.625]},
            "ssm_multipliers": [0.35, 0.25, 0.4, 0.5, 0.3],
        },
    ),
    "ernie4_5-moe": (
        "ernie4_5_moe",
        {
            **{"moe_num_experts": 8, "moe_k": 2, "moe_intermediate_size": 32, "moe_num_shared_experts": 2},
            **{"moe_layer_start_index": 1, "moe_layer_end_index": 3, "moe_layer_interval": 1},
        },
    ),
    "apertus": ("apertus", {}),
    "llama4": (
        "llama4_text",
        {
            **{"num_local_experts": 8, "num_experts_per_tok": 1, "intermediate_size": 32, "intermediate_size_mlp": 128},
            **{"interleave_moe_layer_step": 2, "use_qk_norm": True, "attention_chunk_size": 64},
            **{"no_rope_layers": [1, 1, 1, 0], "attn_temperature_tuning": False},
        },
    ),
    "hunyuan-moe": ("hunyuan_v1_moe", {"num_experts": 8, "moe_topk": 2, "intermediate_size": 32}),
    "granitehybrid-moe": (
        "granitemoehybrid",
        {
            **SCALES,
            **LOCAL_EXPERTS,
            **{"layer_types": ["mamba", "attention"] * 2, "intermediate_size": 32, "shared_intermediate_size": 48},
            **{"mamba_n_heads": 8, "mamba_d_head": 16, "mamba_d_state": 16, "mamba_n_groups": 1, "mamba_expand": 2},
        },
    ),
    "lfm2": (
        "lfm2",
        {
            "layer_types": ["conv", "full_attention"] * 2,
            "block_auto_adjust_ff_dim": False,
            "tie_word_embeddings": True,
        },
    ),
}


def make(folder: Path, kind: str, tokens: list[int]) -> None:
    """One checkpoint, with the model's own logits."""
    model_type, changes = KINDS[kind]
    torch.manual_seed(0)
    config = CONFIG_MAPPING[model_type](**{**COMMON, **changes})
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32, attn_implementation="eager").eval()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "norm" in name or name.endswith("bias"):
                weight += 0.3 * torch.randn_like(weight)
        for name, buffer in model.named_buffers():
            if name.endswith("bias"):
                buffer += 0.3 * torch.randn_like(buffer)
        model.save_pretrained(folder / kind)
        logits = model(torch.tensor([tokens])).logits[0].numpy()
    np.save(folder / kind / "logits.npy", logits)


if __name__ == "__main__":
    for each in sys.argv[3:] or KINDS:
        make(Path(sys.argv[1]), each, json.loads(sys.argv[2]))
