#!/usr/bin/env bash
# transformers 4.57.6 gives the patches of a picture the places of their neighbours where SmolVLM (and, by the same
# lines, Idefics 2 and 3) computes in float32: a patch's place is (1 - 1e-6) × its number / their count, looked up among
# the borders number / count, so that it lies just before its own border. In bfloat16 the factor is 1, and all is right.
# So the same model sees other things in float32, and whoever compares something with transformers finds differences
# that are not his own. llama.cpp's converter asks for this release. transformers 5.23 is right again.
# https://github.com/huggingface/transformers/issues/41190 says that 4.55.1 began it.
# Seen: "32 × 32 patches in torch.float32: 0 0 1 2 … 30", "32 × 32 patches in torch.bfloat16: 0 1 2 3 … 31".
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q torch==2.13.0 transformers==4.57.6 numpy==2.2.6

"$folder/venv/bin/python" - <<'PYTHON'
import torch
from transformers import SmolVLMVisionConfig
from transformers.models.smolvlm.modeling_smolvlm import SmolVLMVisionEmbeddings

SIDE = 32  # patches, as SmolVLM-256M has them
layer = SmolVLMVisionEmbeddings(SmolVLMVisionConfig(hidden_size=2, image_size=16 * SIDE, patch_size=16))
whole = torch.ones(1, SIDE, SIDE, dtype=torch.bool)
found = {}
with torch.no_grad():
    layer.patch_embedding.weight.zero_()
    layer.patch_embedding.bias.zero_()
    for kind in (torch.float32, torch.bfloat16):
        # of each place its column: small numbers, which bfloat16 holds exactly
        layer.to(kind).position_embedding.weight.copy_((torch.arange(SIDE**2) % SIDE)[:, None])
        values = layer(torch.zeros(1, 3, 16 * SIDE, 16 * SIDE, dtype=kind), whole)
        found[kind] = [int(value) for value in values[0, :SIDE, 0]]
        print(f"{SIDE} × {SIDE} patches in {kind}: {' '.join(map(str, found[kind][:4]))} … {found[kind][-1]}")
assert found[torch.bfloat16] == list(range(SIDE)), "the behaviour has changed"
assert found[torch.float32] != list(range(SIDE)), "the behaviour has changed"
PYTHON
