"""Qwen3.5 (with 3.6), dense and with experts, and Qwen3-Next: most layers have linear attention, a gated delta net.

Qwen3-Next is mlx-lm's Qwen3.5 with experts: the file has queries, keys and values as that model does. Of the others,
llama.cpp's converter puts the value heads that share a key head apart: head h uses key h modulo the number of keys;
mlx-lm's model lets neighbours share one. Moving value heads back would move columns of the output matrix, which packed
blocks do not allow. Instead each value head gets its own copy of query and key, in the file's order, which computes
the same. The rows of queries and keys are a small part of the model.
"""

from dataclasses import replace
from typing import Any

import numpy as np

from nitro.gguf.families import experts, rope
from nitro.gguf.families.family import (
    ArchitectureFamily,
    Layers,
    Rows,
    Shape,
    Value,
    Values,
    constant,
    last_axis_of_one,
    layer_count,
    log_of_minus,
    maybe,
    need,
    one_row,
    rotated_share,
    weights,
)
from nitro.gguf.families.llama import ATTENTION, CONFIG, DENSE, EMBEDDINGS, FEED_FORWARD, HEAD_NORMS
from nitro.gguf.families.qwen import SHARED
from nitro.gguf.header import Header, UnreadableGGUF

QKV, CONVOLUTION, OUTPUT = "blk.N.attn_qkv.weight", "blk.N.ssm_conv1d.weight", "blk.N.ssm_out.weight"
BOTH, BETA_AND_ALPHA = "blk.N.ssm_ba.weight", ("blk.N.ssm_beta.weight", "blk.N.ssm_alpha.weight")
DELTA = {
    QKV: "in_proj_qkv.weight",
    CONVOLUTION: "conv1d.weight",
    OUTPUT: "out_proj.weight",
    "blk.N.attn_gate.weight": "in_proj_z.weight",
    "blk.N.ssm_beta.weight": "in_proj_b.weight",
    "blk.N.ssm_alpha.weight": "in_proj_a.weight",
    "blk.N.ssm_norm.weight": "norm.weight",
    "blk.N.ssm_dt.bias": "dt_bias",
    "blk.N.ssm_a": "A_log",
}
LINEAR = {name: f"model.layers.N.linear_attn.{goal}" for name, goal in DELTA.items()}
FULL = {**weights(ATTENTION), **HEAD_NORMS}
NORMS = weights(
    {
        "blk.N.attn_norm": "model.layers.N.input_layernorm",
        "blk.N.post_attention_norm": "model.layers.N.post_attention_layernorm",
    }
)


def linear_layers(header: Header) -> list[int]:
    """The numbers of the layers with linear attention. Raises UnreadableGGUF where they follow no regular pattern,
    which is all that mlx-lm's model knows."""
    every = header.get("{arch}.full_attention_interval", 4)
    regular = [layer for layer in range(layer_count(header)) if (layer + 1) % every]
    flags: Any = header.get("{arch}.attention.recurrent_layers")
    if isinstance(flags, list) and regular != [layer for layer, flag in enumerate(flags) if flag]:
        raise UnreadableGGUF(f"{header.path}: its layers with linear attention follow no regular pattern.")
    return regular


def full_layers(header: Header) -> list[int]:
    """The numbers of the layers with full attention."""
    return sorted(set(range(layer_count(header))) - set(linear_layers(header)))


def _repeats(header: Header) -> int:
    """How many value heads use one key."""
    return int(header.need("{arch}.ssm.time_step_rank") // header.need("{arch}.ssm.group_count"))


def a_key_for_every_value(header: Header, rows: np.ndarray) -> np.ndarray:
    """The rows of queries, keys and values, with queries and keys repeated."""
    size = header.need("{arch}.ssm.group_count") * header.need("{arch}.ssm.state_size")
    queries, keys = np.arange(size), np.arange(size, 2 * size)
    times = _repeats(header)
    order = np.concatenate([*[queries] * times, *[keys] * times, np.arange(2 * size, len(rows))])
    return np.asarray(rows[order])


def more_keys(header: Header, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape with queries and keys repeated."""
    size = header.need("{arch}.ssm.group_count") * header.need("{arch}.ssm.state_size")
    return (shape[0] + 2 * size * (_repeats(header) - 1), *shape[1:])


LAYERS: dict[str, Layers] = {**dict.fromkeys(LINEAR, linear_layers), **dict.fromkeys(FULL, full_layers)}
ROWS: dict[str, Rows] = {QKV: a_key_for_every_value, CONVOLUTION: a_key_for_every_value}
VALUES: dict[str, Values] = {"blk.N.ssm_a": log_of_minus}
SHAPES: dict[str, Shape] = {
    QKV: more_keys,
    CONVOLUTION: lambda header, shape: (*more_keys(header, shape), 1),
    "blk.N.ffn_gate_inp_shexp.weight": one_row,
}
CONFIGURATION: dict[str, Value] = {
    **CONFIG,
    "rope_scaling": constant(None),
    "rope_parameters": lambda header: {
        "type": "default",
        "rope_theta": rope.base(header),
        "partial_rotary_factor": rotated_share(header),
    },
    "linear_num_key_heads": need("ssm.time_step_rank"),
    "linear_num_value_heads": need("ssm.time_step_rank"),
    "linear_key_head_dim": need("ssm.state_size"),
    "linear_value_head_dim": lambda header: (
        header.need("{arch}.ssm.inner_size") // header.need("{arch}.ssm.time_step_rank")
    ),
    "linear_conv_kernel_dim": need("ssm.conv_kernel"),
    "full_attention_interval": maybe("full_attention_interval", 4),
}
SUPPORTED: dict[str, tuple[Any, ...]] = {**experts.NO_SCALING, "rope.dimension_count": ()}


def of_every_key(number: int) -> tuple[Rows, Shape]:
    """How one of BETA_AND_ALPHA is taken from the rows of both, which alternate from key to key: rows and shape."""

    def rows(header: Header, rows: np.ndarray) -> np.ndarray:
        of_keys = rows.reshape(header.need("{arch}.ssm.group_count"), 2, -1, *rows.shape[1:])
        return of_keys[:, number].reshape(-1, *rows.shape[1:])

    return rows, lambda header, shape: (shape[0] // 2, *shape[1:])


def _in_language_model(names: dict[str, str]) -> dict[str, str]:
    """mlx-lm's names, whose models also hold images."""
    return {name: f"language_model.{goal}" for name, goal in names.items()}


QWEN3_5 = ArchitectureFamily(
    "qwen3_5",
    "Qwen3_5ForCausalLM",
    _in_language_model({**EMBEDDINGS, **NORMS, **LINEAR, **FULL, **weights(FEED_FORWARD)}),
    CONFIGURATION,
    rows=ROWS,
    values=VALUES,
    shapes=SHAPES,
    layers=LAYERS,
    unlike_original=tuple(LINEAR),
    supported={**DENSE, **SUPPORTED},
)

QWEN3_5_MOE = ArchitectureFamily(
    "qwen3_5_moe",
    "Qwen3_5MoeForCausalLM",
    _in_language_model({**EMBEDDINGS, **NORMS, **LINEAR, **FULL, **experts.EXPERTS, **SHARED}),
    {
        **CONFIGURATION,
        **experts.USED,
        "intermediate_size": maybe("feed_forward_length", 0),
        "num_experts": need("expert_count"),
        "moe_intermediate_size": need("expert_feed_forward_length"),
        "shared_expert_intermediate_size": need("expert_shared_feed_forward_length"),
        "norm_topk_prob": constant(True),
    },
    rows=ROWS,
    values=VALUES,
    shapes=SHAPES,
    layers=LAYERS,
    unlike_original=tuple(LINEAR),
    supported=SUPPORTED,
)

PICKED = {name: of_every_key(number) for number, name in enumerate(BETA_AND_ALPHA)}
QWEN3_NEXT = replace(
    QWEN3_5_MOE,
    config={**QWEN3_5_MOE.config, "linear_num_key_heads": need("ssm.group_count")},
    rows={name: rows for name, (rows, _) in PICKED.items()},
    shapes={
        CONVOLUTION: last_axis_of_one,
        "blk.N.ffn_gate_inp_shexp.weight": one_row,
        **{name: shape for name, (_, shape) in PICKED.items()},
    },
    parts={BOTH: BETA_AND_ALPHA},
)
