#!/usr/bin/env bash
# mlx-lm 0.32.2 (MLX 0.32.3) takes float8 weights for integers. safetensors has the types F8_E4M3 and F8_E5M2, and
# checkpoints that are merely cast to them have no scales. MLX has no such type: mx.load gives the bytes as uint8, and
# mlx-lm multiplies with them: 1.0 counts as 56. Nothing is refused, and the model answers nonsense.
# Seen: "F32: the reference", "F8_E4M3: loads, 1.0 reads 56 (uint8), 0 of 16 best tokens the same".
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --no-compile "mlx[cpu]==0.32.3" mlx-lm==0.32.2 transformers==5.23.0 numpy==2.4.6

"$folder/venv/bin/python" - "$folder" <<'PYTHON'
import json
import sys
from pathlib import Path

import mlx.core as mx
import numpy as np
from mlx_lm.utils import load_model

SETTINGS = {
    **{"model_type": "llama", "hidden_size": 64, "num_hidden_layers": 1, "intermediate_size": 128},
    **{"num_attention_heads": 4, "num_key_value_heads": 4, "vocab_size": 256, "rms_norm_eps": 1e-5},
    **{"tie_word_embeddings": False},
}
ATTENTION = {f"self_attn.{name}_proj": (64, 64) for name in "qkvo"}
LAYER = {**ATTENTION, "mlp.gate_proj": (128, 64), "mlp.up_proj": (128, 64), "mlp.down_proj": (64, 128)}
MATRICES = {
    **{f"model.layers.0.{name}.weight": shape for name, shape in LAYER.items()},
    **{"model.embed_tokens.weight": (256, 64), "lm_head.weight": (256, 64)},
}
NORMS = ("model.norm", "model.layers.0.input_layernorm", "model.layers.0.post_attention_layernorm")
TOKENS = mx.array([list(range(16))])
random = np.random.default_rng(0)


def decoded(bytes):
    """float8 (E4M3) as float32: a sign, four bits of exponent, three of fraction. None here is subnormal or NaN."""
    exponent, fraction = (bytes >> 3 & 15).astype(np.int32) - 7, (bytes & 7).astype(np.float32)
    return (np.where(bytes >> 7, -1, 1) * np.exp2(exponent) * (1 + fraction / 8)).astype(np.float32)


def random_bytes(shape):
    """Of numbers from 0.25 to 2, and from -2 to -0.25."""
    return (random.integers(0, 2, shape) << 7 | random.integers(5 << 3, 8 << 3, shape)).astype(np.uint8)


weights = {name: random_bytes(shape) for name, shape in MATRICES.items()}
weights["lm_head.weight"][0, 0] = 7 << 3  # 1.0
norms = {f"{name}.weight": np.ones(64, np.float32) for name in NORMS}


def write(folder, arrays):
    """A folder as transformers has it. `arrays`: bytes, type and shape by name."""
    folder.mkdir()
    folder.joinpath("config.json").write_text(json.dumps(SETTINGS))
    header, data = {"__metadata__": {"format": "pt"}}, b""
    for name, (array, type) in arrays.items():
        header[name] = {"dtype": type, "shape": array.shape, "data_offsets": [len(data), len(data) + array.nbytes]}
        data += array.tobytes()
    text = json.dumps(header).encode()
    folder.joinpath("model.safetensors").write_bytes(len(text).to_bytes(8, "little") + text + data)
    return folder


def opened(name, cast, type):
    """The network and its best tokens."""
    arrays = {key: (cast(array), type) for key, array in weights.items()} | {k: (a, "F32") for k, a in norms.items()}
    network = load_model(write(Path(sys.argv[1]) / name, arrays))[0]
    return network, np.array(network(TOKENS)[0].argmax(axis=-1))


_, right = opened("F32", decoded, "F32")
print("F32: the reference")
network, best = opened("F8_E4M3", lambda bytes: bytes, "F8_E4M3")
first, same = network.lm_head.weight[0, 0], int((best == right).sum())
print(f"F8_E4M3: loads, 1.0 reads {first.item()} ({str(first.dtype).split('.')[-1]}), {same} of 16 best tokens the same")
assert first.dtype == mx.uint8 and first.item() == 56 and same < 4, "the behaviour has changed"
PYTHON
