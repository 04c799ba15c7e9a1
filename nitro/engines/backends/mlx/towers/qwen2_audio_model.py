"""Qwen2-Audio, which mlx-vlm has not: Whisper's encoder, a linear layer, and mlx-lm's Qwen2. In the form of mlx-vlm's
modules, as a Family loads them."""

from dataclasses import dataclass
from typing import Any

from mlx import nn
from mlx_lm.models.base import BaseModelArgs
from mlx_lm.models.qwen2 import Model as LanguageModel
from mlx_lm.models.qwen2 import ModelArgs as TextConfig

from nitro.engines.backends.mlx.towers.whisper_tower import WhisperTower


@dataclass
class AudioConfig(BaseModelArgs):  # type: ignore[misc]
    """The tower's. What a configuration leaves out is as in transformers' Qwen2AudioEncoderConfig."""

    d_model: int = 1280
    encoder_layers: int = 32
    encoder_attention_heads: int = 20
    encoder_ffn_dim: int = 5120
    num_mel_bins: int = 128
    max_source_positions: int = 1500


@dataclass
class ModelConfig(BaseModelArgs):  # type: ignore[misc]
    """Both parts'."""

    model_type: str
    text_config: Any = None
    audio_config: Any = None


class Projector(nn.Module):  # type: ignore[misc]
    """Rows of the tower → rows of the text's width."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.linear = nn.Linear(config.audio_config.d_model, config.text_config.hidden_size)


class Model(nn.Module):  # type: ignore[misc]
    """The names of its parts are transformers'."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.config = config
        self.audio_tower = WhisperTower(config.audio_config)
        self.multi_modal_projector = Projector(config)
        self.language_model = LanguageModel(config.text_config)

    @property
    def layers(self) -> Any:
        """The text's."""
        return self.language_model.layers


__all__ = ["AudioConfig", "LanguageModel", "Model", "ModelConfig", "TextConfig"]
