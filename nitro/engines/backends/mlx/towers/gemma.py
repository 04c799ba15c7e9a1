"""Gemma 3: a SigLIP tower whose patches are averaged, and rows of a picture that see each other.

The blank lines that transformers' processor puts around a picture are text, and written by text/media_places.py.
"""

from collections.abc import Iterator
from typing import Any

import mlx.core as mx

from nitro.engines.backends.mlx.towers.family import Arrays, Family, Settings, TowerInput, check, text_settings
from nitro.engines.backends.mlx.towers.siglip import NAMES

CONTEXT = 131072  # tokens it was trained for, where the configuration does not say it
PATTERN = 6  # every so many layers one sees all, the others have a window


def _settings(config: Settings) -> Settings:
    text = text_settings({"text_config": config["text_config"]})
    text = {"max_position_embeddings": CONTEXT, "num_attention_heads": 8, "num_key_value_heads": 4, **text}
    check(text, hidden_activation="gelu_pytorch_tanh", attention_bias=False, use_bidirectional_attention=False)
    check(text, attn_logit_softcapping=None, final_logit_softcapping=None)
    pattern = text.get("sliding_window_pattern") or text.get("_sliding_window_pattern") or PATTERN
    layers = ["full_attention" if i % pattern == pattern - 1 else "sliding_attention" for i in range(_count(text))]
    check(text, layer_types=(layers, None))
    rope = text.get("rope_parameters") or {}
    if full := rope.get("full_attention"):
        local = rope["sliding_attention"]
        text |= {"rope_global_base_freq": full["rope_theta"], "rope_local_base_freq": local["rope_theta"]}
        text["rope_scaling"] = full if full.get("rope_type") != "default" else None
        check(local, rope_type="default")
    elif "rope_theta" in text:
        text["rope_global_base_freq"] = text["rope_theta"]
    check(text.get("rope_scaling") or {}, rope_type=("linear", "default"))
    text |= {"sliding_window_pattern": pattern, "mm_tokens_per_image": config["mm_tokens_per_image"]}
    vision = {**config["vision_config"]}
    check(vision, hidden_act="gelu_pytorch_tanh", num_channels=3)
    return {"text_config": text, "vision_config": vision, "hidden_size": text["hidden_size"]}


def _count(text: Settings) -> int:
    return int(text["num_hidden_layers"])


def _pieces(model: Any, arrays: Arrays) -> Iterator[str | TowerInput]:
    yield "<start_of_image>"
    yield TowerInput(arrays, model.config.text_config.mm_tokens_per_image)
    yield "<end_of_image>"


def _encode(model: Any, arrays: Arrays) -> mx.array:
    pixels = mx.array(arrays["pixel_values"]).transpose(0, 2, 3, 1)
    hidden, _, _ = model.vision_tower(pixels.astype(model.multi_modal_projector.mm_input_projection_weight.dtype))
    rows: mx.array = model.multi_modal_projector(hidden)[0]
    return rows


def _window(body: Any, layer: int) -> int | None:
    sees_all = layer % body.sliding_window_pattern == body.sliding_window_pattern - 1
    return None if sees_all else int(body.window_size)


GEMMA3 = Family(
    module="gemma3",
    settings=_settings,
    names=NAMES,
    pieces=_pieces,
    encode=_encode,
    processor={"do_pan_and_scan": False},  # as transformers' processor does unless it is asked
    atomic=True,
    scale=lambda body: float(body.config.hidden_size**0.5),
    window=_window,
)
