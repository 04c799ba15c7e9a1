#!/usr/bin/env bash
# mlx-lm 0.32.2 limits the time steps of Granite hybrid models (granitemoehybrid) to 0.001 … 100 where config.json has no
# `time_step_limit`; transformers 5.23.0 has no limit then, nor has llama.cpp. A head whose steps are shorter forgets too
# fast: with a step of 0.0001, 0.9 of its state should be left after 1000 tokens, and 0.37 are. So long texts give other
# answers, and short ones nearly the same.
# Seen: "mlx-lm: 0.001 … 100.0, transformers: 0.0 … inf", "left after 1000 tokens: 0.37, should be 0.90".
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --no-compile "mlx[cpu]==0.32.3" mlx-lm==0.32.2 transformers==5.23.0 numpy==2.4.6

"$folder/venv/bin/python" - <<'PYTHON'
import math

import mlx.core as mx
from mlx_lm.models.granitemoehybrid import ModelArgs
from mlx_lm.models.ssm import ssm_attn
from transformers import GraniteMoeHybridConfig

settings = GraniteMoeHybridConfig(layer_types=["mamba", "attention"], num_hidden_layers=2).to_dict()
settings.pop("time_step_limit")  # older releases wrote none
theirs = tuple(ModelArgs.from_dict(settings).time_step_limit)
right = tuple(GraniteMoeHybridConfig(**settings).time_step_limit)
print(f"mlx-lm: {theirs[0]} … {theirs[1]}, transformers: {right[0]} … {right[1]}")
assert (theirs, right) == ((0.001, 100.0), (0.0, math.inf)), "the behaviour has changed"

TOKENS, STEP = 1000, 1e-4
bias = mx.array([math.log(math.expm1(STEP))])  # softplus of it is the step


def left(limits):
    """The share of a head's state that is left after the tokens, which add nothing to it. Its A is -1."""
    nothing = mx.zeros((1, TOKENS, 1, 1))
    state = mx.ones((1, 1, 1, 1))
    ones, steps = mx.ones((1, TOKENS, 1, 1)), mx.zeros((1, TOKENS, 1))
    _, state = ssm_attn(nothing, mx.zeros(1), ones, ones, mx.zeros(1), steps, bias, state, limits)
    return state.item()


found, wanted = left(theirs), left((0.0, 1e30))
print(f"left after {TOKENS} tokens: {found:.2f}, should be {math.exp(-STEP * TOKENS):.2f}; without limits {wanted:.2f}")
assert abs(wanted - math.exp(-STEP * TOKENS)) < 1e-3 and abs(found - math.exp(-0.001 * TOKENS)) < 1e-3, "it has changed"
PYTHON
