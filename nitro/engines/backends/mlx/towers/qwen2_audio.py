"""Qwen2-Audio: sounds, each window of 30 seconds for itself, and a Qwen2.

A window has a row for each 40 ms of its sound, as with transformers, which hears no silence behind it; llama.cpp fills
it up and makes 750 rows of each. Of a sound of more than one window transformers hears the first only.
"""

from collections.abc import Iterator
from typing import Any

import mlx.core as mx

from nitro.checkpoints.text_settings import DEFAULTS
from nitro.engines.backends.mlx.towers.family import (
    Arrays,
    Family,
    Settings,
    TowerInput,
    check,
    check_llama,
    text_settings,
)

FEWEST = 3  # spectra: what is shorter would be no row, and is heard with the silence behind it
# Where a configuration is silent, as that of the Hub's Qwen2-Audio-7B is
QWEN2 = {**DEFAULTS["qwen2"], "rms_norm_eps": 1e-6, "rope_theta": 10000.0, "model_type": "qwen2"}


def _settings(config: Settings) -> Settings:
    text = text_settings({"text_config": {**QWEN2, **config["text_config"]}})
    check_llama(text, use_sliding_window=False, use_mrope=False, rope_scaling=None, model_type="qwen2")
    audio = {**config["audio_config"]}
    check(audio, activation_function="gelu", scale_embedding=False, model_type="qwen2_audio_encoder")
    return {"text_config": text, "audio_config": audio}


def _pieces(model: Any, arrays: Arrays) -> Iterator[str | TowerInput]:
    yield "<|audio_bos|>"
    for samples, frames in zip(arrays["samples"], arrays["frames"], strict=True):
        yield TowerInput({"samples": samples, "frames": frames}, _positions(frames) // 2)
    yield "<|audio_eos|>"


def _encode(model: Any, arrays: Arrays) -> mx.array:
    heard = model.audio_tower(mx.array(arrays["features"]), _positions(arrays["frames"]))
    rows: mx.array = model.multi_modal_projector.linear(heard)
    return rows


def _positions(frames: Any) -> int:
    """Of the tower, for so many spectra: what the second convolution leaves of them."""
    return (max(int(frames), FEWEST) + 1) // 2


QWEN2_AUDIO = Family(
    kind="audio",
    package=__package__,
    module="qwen2_audio_model",
    settings=_settings,
    names=(
        (r"^model\.language_model\.", "language_model.model."),
        (r"^model\.", ""),
        (r"^lm_head\.", "language_model.lm_head."),
    ),
    pieces=_pieces,
    encode=_encode,
    tower="audio_tower",
)
