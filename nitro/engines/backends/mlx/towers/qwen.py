"""Qwen2-VL and Qwen2.5-VL: pictures in their own proportions, positions in three dimensions (M-RoPE).

A picture is cut into patches, of which 2 × 2 become one row.
"""

from collections.abc import Iterator
from typing import Any

import mlx.core as mx
import numpy as np

from nitro.engines.backends.mlx.towers.family import Arrays, Family, Settings, TowerInput, check, text_settings

# the Hub's names, and those of transformers 4.52 and later
NAMES = (
    (r"^(model\.)?visual\.", "vision_tower."),
    (r"^model\.(language_model\.)?", "language_model.model."),
    (r"^lm_head\.", "language_model.lm_head."),
)


def _settings(config: Settings) -> Settings:
    text = text_settings(config)
    rope = text.get("rope_parameters") or text.get("rope_scaling") or {}
    check(rope, rope_type=("default", "mrope"), type=("default", "mrope"))
    check(text, hidden_act="silu", use_sliding_window=False)
    if "mrope_section" not in rope:
        raise ValueError("nothing says how positions are shared out (mrope_section)")
    text["rope_scaling"] = {"type": "mrope", "mrope_section": rope["mrope_section"]}
    kind = config["model_type"]
    vision = {**config["vision_config"], "model_type": kind}
    check(vision, hidden_act="quick_gelu" if kind == "qwen2_vl" else "silu", in_chans=3, in_channels=3)
    return {"text_config": {**text, "model_type": kind}, "vision_config": vision}


def _pieces(model: Any, arrays: Arrays) -> Iterator[str | TowerInput]:
    merged = model.config.vision_config.spatial_merge_size
    frames, height, width = (int(n) for n in arrays["image_grid_thw"][0])
    grid = np.indices((frames, height // merged, width // merged), np.int32).reshape(3, -1)
    yield "<|vision_start|>"
    yield TowerInput(arrays, grid.shape[1], grid)
    yield "<|vision_end|>"


def _encode(model: Any, arrays: Arrays) -> mx.array:
    pixels = mx.array(arrays["pixel_values"]).astype(model.vision_tower.patch_embed.proj.weight.dtype)
    grid = mx.array(arrays["image_grid_thw"].astype(np.int32))
    rows: mx.array = model.vision_tower(pixels, grid, output_hidden_states=False)
    return rows


def _family(module: str) -> Family:
    return Family(module=module, settings=_settings, names=NAMES, pieces=_pieces, encode=_encode, mrope=True)


QWEN2_VL = _family("qwen2_vl")
QWEN2_5_VL = _family("qwen2_5_vl")
