#!/usr/bin/env bash
# mlx-lm 0.32.2 leaves out two of Falcon-H1's multipliers, which transformers 5.23.0 and llama.cpp have: `key_multiplier`
# altogether (it looks for a weight named key_proj, and the model's is k_proj), and `attention_in_multiplier` of the
# values. Nothing is said. Folders that mlx_lm.convert wrote have the wrong weights for good, and no sign of it.
# Falcon-H1R-7B has a key_multiplier of about 0.03, so its attention is far too sharp. With both multiplied into the
# weights by hand, it is the same model. The keys are reported as ml-explore/mlx-lm#1622.
# Seen, mean divergence of mlx-lm from transformers in nats: "without multipliers: 7.5e-12", "key_multiplier 0.25: 1.5",
# "attention_in_multiplier 2: 0.86", "the same, multiplied in by hand: 5.8e-11".
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --no-compile "mlx[cpu]==0.32.3" mlx-lm==0.32.2 transformers==5.23.0 torch==2.13.0 \
    safetensors==0.8.0 numpy==2.4.6

cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import json
import logging
from pathlib import Path

import mlx.core as mx
import numpy as np
import torch
from mlx_lm.utils import load_model
from safetensors.torch import load_file, save_file
from transformers import FalconH1Config, FalconH1ForCausalLM

logging.disable(logging.WARNING)
VOCABULARY, TOKENS = 64, 48
SIZES = dict(
    vocab_size=VOCABULARY, hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4,
    num_key_value_heads=2, head_dim=16, mamba_d_ssm=64, mamba_n_heads=4, mamba_d_head=16, mamba_d_state=8,
    mamba_n_groups=1, mamba_rms_norm=False, mamba_chunk_size=16, tie_word_embeddings=False, rope_theta=10000.0,
    initializer_range=0.3, bos_token_id=1, eos_token_id=2, pad_token_id=0,
)
tokens = np.random.default_rng(0).integers(3, VOCABULARY, TOKENS)


def shares(logits):
    """Log-probabilities, float64 [tokens, vocabulary]."""
    exact = np.asarray(logits, np.float64)
    return exact - np.logaddexp.reduce(exact, axis=1, keepdims=True)


def by_transformers(folder, **multipliers):
    """Make a checkpoint, and compute with it."""
    torch.manual_seed(0)
    model = FalconH1ForCausalLM(FalconH1Config(**SIZES, **multipliers)).eval().float()
    model.save_pretrained(folder)
    edit(folder, rope_theta=SIZES["rope_theta"], rope_scaling=None)  # where the Hub's files have them
    with torch.no_grad():
        return shares(model(torch.tensor(tokens[None]), use_cache=False).logits[0].numpy())


def edit(folder, **changes):
    file = Path(folder) / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


def by_mlx_lm(folder):
    network, _ = load_model(Path(folder))
    network.set_dtype(mx.float32)
    return shares(np.array(network(mx.array(tokens)[None])[0]))


def divergence(theirs, ours):
    return float((np.exp(theirs) * (theirs - ours)).sum(axis=1).mean())


found = {}
for name, multipliers in {
    "without multipliers": {},
    "key_multiplier 0.25": {"key_multiplier": 0.25},
    "attention_in_multiplier 2": {"attention_in_multiplier": 2.0},
}.items():
    theirs = by_transformers("model", **multipliers)
    found[name] = divergence(theirs, by_mlx_lm("model"))

weights = load_file("model/model.safetensors")
weights = {name: array * (2 if ".v_proj." in name else 1) for name, array in weights.items()}  # q and k it multiplies
save_file(weights, "model/model.safetensors", {"format": "pt"})
found["the same, multiplied in by hand"] = divergence(theirs, by_mlx_lm("model"))
for name, value in found.items():
    print(f"{name}: {value:.2g}")
same, keys, values, by_hand = found.values()
assert max(same, by_hand) < 1e-8 and min(keys, values) > 1e-3, "the behaviour has changed"
PYTHON
