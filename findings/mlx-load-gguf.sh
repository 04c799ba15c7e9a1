#!/usr/bin/env bash
# mx.load of MLX 0.32.3 reads some GGUF files wrongly, without an error. Q4_K comes back in the right shape with wrong
# values: of every 64 weights the second 32 are not the file's. Q6_K is right to float16. Of a file with an MXFP4 tensor,
# that tensor and all after it are missing. BF16 becomes float16, so that 1e5 is infinite.
# So most GGUF files, whose weights are Q4_K, give another model, and one that still says something.
# Seen: "Q4_K: 32 of every 64 wrong", "Q6_K: right", "MXFP4 second of three: found first", "BF16: 1e5 is inf".
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q "mlx[cpu]==0.32.3" gguf==0.19.0 numpy==2.4.6

"$folder/venv/bin/python" - "$folder/some.gguf" <<'PYTHON'
import sys

import gguf
import mlx.core as mx
import numpy as np
from gguf import GGMLQuantizationType as Type

FILE = sys.argv[1]
ROWS, COLUMNS = 8, 1024
SCALES = {Type.Q4_K: (0, 2), Type.Q6_K: (208,), Type.MXFP4: ()}  # where a block has float16 scales
random = np.random.default_rng(0)


def loaded(**tensors):
    """What MLX reads of these tensors: raw rows, each with its type."""
    writer = gguf.GGUFWriter(FILE, "llama")
    for name, (rows, type) in tensors.items():
        writer.add_tensor(name, rows, raw_dtype=type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return mx.load(FILE)


def random_rows(type):
    """Valid blocks: random bytes, but for the scales."""
    weights, size = gguf.GGML_QUANT_SIZES[type]
    blocks = random.integers(0, 256, (ROWS, COLUMNS // weights, size), dtype=np.uint8)
    for start in SCALES[type]:
        blocks[:, :, start : start + 2] = np.frombuffer(np.float16(0.01).tobytes(), np.uint8)
    if type == Type.MXFP4:
        blocks[:, :, 0] = 127  # a scale of one
    return blocks.reshape(ROWS, -1)


def wrong_weights(type):
    """The places within 64 weights, at which some are not what gguf-py gives; float16 is near enough."""
    rows = random_rows(type)
    found = np.array(loaded(some=(rows, type))["some"].astype(mx.float32))
    right = gguf.quants.dequantize(rows, type)
    assert found.shape == right.shape
    wrong = np.abs(found - right) > 2e-3 * np.abs(right).max()
    return np.flatnonzero(wrong.reshape(-1, 64).any(axis=0)).tolist()


wrong = wrong_weights(Type.Q4_K)
print(f"Q4_K: {len(wrong)} of every 64 wrong, from place {wrong[0] if wrong else '-'} on")
assert wrong == list(range(32, 64)), "the behaviour has changed"
wrong = wrong_weights(Type.Q6_K)
print(f"Q6_K: {'wrong' if wrong else 'right'}")
assert not wrong, "the behaviour has changed"

plain = np.ones(32, np.float32), Type.F32
found = list(loaded(first=plain, second=(random_rows(Type.MXFP4), Type.MXFP4), third=plain))
print(f"MXFP4 second of three: found {', '.join(found)}")
assert found == ["first"], "the behaviour has changed"

bits = (np.full((1, 32), 1e5, np.float32).view(np.uint32) >> 16).astype(np.uint16).view(np.uint8)
found = loaded(some=(bits, Type.BF16))["some"]
print(f"BF16: 1e5 is {found[0, 0].item()}, as {found.dtype}")
assert found.dtype == mx.float16 and mx.isinf(found).all(), "the behaviour has changed"
PYTHON
