#!/usr/bin/env bash
# mlx-vlm 0.7.8 (and 0.7.10) computes CLIP's activation, quick_gelu, in every tower of a LLaVA. The tower of SigLIP has
# gelu_pytorch_tanh, and config.json says so (hidden_act); mlx-vlm does not read it. Nothing is said. Concerned are the
# LLaVA checkpoints with a SigLIP tower, such as llava-interleave-qwen: each picture's rows are somewhat off.
# Seen, largest distance of rows of a picture from transformers' 5.23.0, relative to the largest row: "clip: 1.3e-06",
# "siglip: 0.0058", "siglip, its activation put in by hand: 8e-07".
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --no-compile "mlx[cpu]==0.32.3" mlx-lm==0.32.2 transformers==5.23.0 torch==2.13.0 \
    safetensors==0.8.0 numpy==2.4.6 pillow==13.0.0
"$folder/venv/bin/pip" install -q --no-compile --no-deps mlx-vlm==0.7.8

cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import importlib.machinery
import importlib.util
import sys

spec = importlib.util.find_spec("mlx_vlm")  # the package without its __init__, which wants a server and OpenCV
sys.modules["mlx_vlm"] = importlib.util.module_from_spec(spec)

import mlx.core as mx
import numpy as np
import torch
from mlx import nn
from transformers import LlavaConfig, LlavaForConditionalGeneration

from mlx_vlm.models import llava

TOWER = dict(
    hidden_size=32, intermediate_size=48, num_hidden_layers=3, num_attention_heads=2, image_size=56, patch_size=14
)
TEXT = dict(
    model_type="llama", vocab_size=64, hidden_size=32, intermediate_size=48, num_hidden_layers=1,
    num_attention_heads=2, num_key_value_heads=2,
)
pixels = np.random.default_rng(0).standard_normal((1, 3, 56, 56)).astype(np.float32)


def both(kind, **more):
    """The same tower and projector by transformers and by mlx-vlm: rows of a picture, and mlx-vlm's model."""
    torch.manual_seed(0)
    config = LlavaConfig(
        text_config=TEXT, vision_config=dict(TOWER, model_type=kind, **more), vision_feature_layer=-1,
        vision_feature_select_strategy="full", image_token_index=5,
    )
    theirs = LlavaForConditionalGeneration(config).eval().float()
    with torch.no_grad():
        for parameter in theirs.parameters():
            if parameter.ndim > 1:
                parameter.normal_(0, 1.5 * parameter[0].numel() ** -0.5)
        found = theirs.model.get_image_features(torch.tensor(pixels), vision_feature_layer=-1)
        rows = getattr(found, "pooler_output", found)[0].numpy()
    known = dict(
        model_type="llava", vision_feature_layer=-1, vision_feature_select_strategy="full", image_token_index=5,
        text_config=llava.TextConfig.from_dict(TEXT),
        vision_config=llava.VisionConfig.from_dict(dict(TOWER, model_type=kind, **more)),
    )
    ours = llava.Model(llava.ModelConfig(**known))
    weights = {}
    for name, value in theirs.model.state_dict().items():
        if name.startswith(("vision_tower.", "multi_modal_projector.")):
            name = name if ".vision_model." in name else name.replace("vision_tower.", "vision_tower.vision_model.")
            weights[name] = mx.array(value.numpy())
    ours.load_weights(list(ours.vision_tower.sanitize(weights).items()), strict=False)
    return rows, ours


def distance(rows, model):
    *_, layers = model.vision_tower(mx.array(pixels).transpose(0, 2, 3, 1), output_hidden_states=True)
    return float(np.abs(np.array(model.multi_modal_projector(layers[-1])[0]) - rows).max() / np.abs(rows).max())


found = {"clip": distance(*both("clip_vision_model"))}
rows, model = both("siglip_vision_model", vision_use_head=False)
found["siglip"] = distance(rows, model)
for layer in model.vision_tower.vision_model.encoder.layers:
    layer.mlp.activation_fn = nn.GELU(approx="precise")
found["siglip, its activation put in by hand"] = distance(rows, model)
for name, value in found.items():
    print(f"{name}: {value:.2g}")
assert max(found["clip"], found["siglip, its activation put in by hand"]) < 1e-4
assert found["siglip"] > 1e-3, "the behaviour has changed"
PYTHON
