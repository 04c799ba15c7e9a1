"""Falcon-H1: every layer has attention and Mamba 2 side by side. The file's weights are multiplied already by what the
original multiplies activations with."""

from nitro.gguf.families import experts
from nitro.gguf.families.family import ArchitectureFamily, Shape, constant, need, weights
from nitro.gguf.families.llama import ATTENTION, CONFIG, DENSE
from nitro.gguf.families.mamba import SHAPES, STATE_SPACE, VALUES, mamba

NORM = "blk.N.ssm_norm.weight"  # mlx-lm's model has it for one group of states only, and the file for many
MAMBA = {name: goal for name, goal in mamba("model.layers.N.mamba").items() if name != NORM}
CONVOLUTION_SHAPES: dict[str, Shape] = {name: shape for name, shape in SHAPES.items() if name in MAMBA}
NAMES = {
    **weights(
        {
            "token_embd": "model.embed_tokens",
            "output_norm": "model.final_layernorm",
            "output": "lm_head",
            "blk.N.attn_norm": "model.layers.N.input_layernorm",
            "blk.N.ffn_gate": "model.layers.N.feed_forward.gate_proj",
            "blk.N.ffn_up": "model.layers.N.feed_forward.up_proj",
            "blk.N.ffn_down": "model.layers.N.feed_forward.down_proj",
            **ATTENTION,
        }
    ),
    "blk.N.ffn_norm": "model.layers.N.pre_ff_layernorm.weight",
    **MAMBA,
}
FALCON_H1 = ArchitectureFamily(
    "falcon_h1",
    "FalconH1ForCausalLM",
    NAMES,
    {
        **CONFIG,
        "mamba_d_ssm": need("ssm.inner_size"),
        "mamba_n_heads": STATE_SPACE["mamba_num_heads"],
        "mamba_d_head": STATE_SPACE["mamba_head_dim"],
        "mamba_d_state": STATE_SPACE["ssm_state_size"],
        "mamba_d_conv": STATE_SPACE["conv_kernel"],
        "mamba_n_groups": STATE_SPACE["n_groups"],
        "mamba_conv_bias": constant(True),
        **dict.fromkeys(
            ("mamba_rms_norm", "mamba_proj_bias", "projectors_bias", "attention_bias", "mlp_bias"), constant(False)
        ),
        **dict.fromkeys(
            (
                *("embedding_multiplier", "lm_head_multiplier", "key_multiplier"),
                *("attention_in_multiplier", "attention_out_multiplier", "ssm_in_multiplier", "ssm_out_multiplier"),
            ),
            constant(1.0),
        ),
        "mlp_multipliers": constant([1.0] * 2),
        "ssm_multipliers": constant([1.0] * 5),
    },
    values=VALUES,
    shapes=CONVOLUTION_SHAPES,
    unlike_original=tuple(NAMES),
    supported={**DENSE, **experts.NO_SCALING},
)
