"""LLaVA 1.5 and its like: a tower of CLIP or SigLIP, two linear layers, and a Llama or Qwen2."""

from collections.abc import Iterator
from typing import Any

import mlx.core as mx
from mlx import nn

from nitro.engines.backends.mlx.towers.family import (
    Arrays,
    Family,
    Settings,
    TowerInput,
    check,
    check_llama,
    text_settings,
)
from nitro.engines.backends.mlx.towers.siglip import NAMES

ACTIVATIONS = {"clip_vision_model": "quick_gelu", "siglip_vision_model": "gelu_pytorch_tanh"}  # of towers


def _settings(config: Settings) -> Settings:
    text = text_settings({"text_config": {"hidden_size": 4096, "num_attention_heads": 32, **config["text_config"]}})
    check_llama(text, use_sliding_window=False)
    check(config, multimodal_projector_bias=True, projector_hidden_act="gelu")
    vision = config["vision_config"]
    check(vision, model_type=tuple(ACTIVATIONS))
    check(vision, hidden_act=ACTIVATIONS[vision["model_type"]])
    return {"text_config": text, "vision_config": vision}


def _pieces(model: Any, arrays: Arrays) -> Iterator[str | TowerInput]:
    tower = model.vision_tower.vision_model.embeddings
    every = model.vision_feature_select_strategy == "full"
    yield TowerInput(arrays, tower.num_positions if every else tower.num_positions - 1)


def _encode(model: Any, arrays: Arrays) -> mx.array:
    pixels = mx.array(arrays["pixel_values"]).transpose(0, 2, 3, 1)
    *_, layers = model.vision_tower(pixels.astype(_dtype(model)), output_hidden_states=True)
    chosen = model.vision_feature_layer
    features = [layers[i] for i in (chosen if isinstance(chosen, list) else [chosen])]
    if model.vision_feature_select_strategy == "default":
        features = [layer[:, 1:] for layer in features]
    rows: mx.array = model.multi_modal_projector(mx.concatenate(features, axis=-1))[0]
    return rows


def _dtype(model: Any) -> mx.Dtype:
    dtype: mx.Dtype = model.vision_tower.vision_model.embeddings.patch_embedding.weight.dtype
    return dtype


def _mend(model: Any) -> None:
    """mlx-vlm 0.7.8 has CLIP's activation in both towers: 0.048 from transformers, of logits that range over 9.6."""
    if model.vision_tower.model_type == "siglip_vision_model":
        for layer in model.vision_tower.vision_model.encoder.layers:
            layer.mlp.activation_fn = nn.GELU(approx="precise")


LLAVA = Family(
    module="llava",
    settings=_settings,
    names=NAMES,
    pieces=_pieces,
    encode=_encode,
    mend=_mend,
)
