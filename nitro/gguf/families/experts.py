"""Names and settings of layers with experts. A layer's experts are one stack, [experts, rows, columns], in the file and
for mlx-lm."""

import numpy as np

from nitro.gguf.families.family import Rows, Shape, maybe, need, weights
from nitro.gguf.header import Header

PARTS = {"gate": "gate_proj", "up": "up_proj", "down": "down_proj"}
NO_SCALING = {"rope.scaling.type": ("none", None)}  # mlx-lm's model scales no positions


def stacks(place: str) -> dict[str, str]:
    """The stacks of a layer's experts, without ".weight". `place`: what holds them in a layer of the model."""
    return {f"blk.N.ffn_{part}_exps": f"model.layers.N.{place}.{goal}" for part, goal in PARTS.items()}


def shared(place: str) -> dict[str, str]:
    """The names of the expert that every token uses, without ".weight"."""
    return {f"blk.N.ffn_{part}_shexp": f"model.layers.N.{place}.{goal}" for part, goal in PARTS.items()}


def router(name: str) -> dict[str, str]:
    """What chooses among experts, without ".weight"."""
    return {"blk.N.ffn_gate_inp": f"model.layers.N.{name}"}


GATE_AND_UP = "blk.N.ffn_gate_up_exps.weight"  # a stack with every expert's gate above its other matrix
HALVES = ("blk.N.ffn_gate_up_exps.gate.weight", "blk.N.ffn_gate_up_exps.up.weight")


def half(number: int) -> tuple[Rows, Shape]:
    """How one of HALVES is taken from the stack: its rows and its shape."""

    def rows(header: Header, rows: np.ndarray) -> np.ndarray:
        of_experts = rows.reshape(header.need("{arch}.expert_count"), 2, -1, *rows.shape[1:])
        return of_experts[:, number].reshape(-1, *rows.shape[1:])

    return rows, lambda header, shape: (shape[0], shape[1] // 2, shape[2])


EXPERTS = weights({**router("mlp.gate"), **stacks("mlp.switch_mlp")})
SCORE_BIAS = "blk.N.exp_probs_b.bias"  # added to the scores that choose, not to those that weigh
SIGMOID = 2  # llama_expert_gating_func_type in llama.cpp's src/llama-hparams.h
USED = {"num_experts_per_tok": need("expert_used_count")}
ROUTED = {
    **USED,
    "n_routed_experts": need("expert_count"),
    "moe_intermediate_size": need("expert_feed_forward_length"),
    "n_shared_experts": maybe("expert_shared_count"),
    "first_k_dense_replace": maybe("leading_dense_block_count", 0),
    "routed_scaling_factor": lambda header: header.get("{arch}.expert_weights_scale") or 1.0,  # 0 is none, too
    "norm_topk_prob": maybe("expert_weights_norm", False),
    "n_group": maybe("expert_group_count", 1),
    "topk_group": maybe("expert_group_used_count", 1),
}
