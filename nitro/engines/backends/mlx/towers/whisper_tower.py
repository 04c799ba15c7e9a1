"""Whisper's encoder as Qwen2-Audio has it: a log-mel spectrogram → rows, each of 40 ms.

Two convolutions, of which the second halves the number of positions; a learned table of positions; layers in which all
positions see each other, norms first; then two positions become one row, their mean, and a norm follows. Source:
Radford et al. 2022 (arXiv:2212.04356), 2.2; the mean: Chu et al. 2024 (arXiv:2407.10759), 2.
"""

from typing import Any

import mlx.core as mx
from mlx import nn

MARGIN = 1000.0  # below the largest float16, where transformers' layers cut what they compute


class WhisperTower(nn.Module):  # type: ignore[misc]
    """The names of its parts are transformers'."""

    def __init__(self, config: Any):
        """`config`: an AudioConfig of qwen2_audio_model.py."""
        super().__init__()
        width = config.d_model
        self.input_shape = (config.num_mel_bins, 2 * config.max_source_positions)
        self.conv1 = nn.Conv1d(config.num_mel_bins, width, kernel_size=3, padding=1)
        self.conv2 = nn.Conv1d(width, width, kernel_size=3, stride=2, padding=1)
        self.embed_positions = nn.Embedding(config.max_source_positions, width)
        self.layers = [Layer(width, config) for _ in range(config.encoder_layers)]
        self.layer_norm = nn.LayerNorm(width)

    def __call__(self, features: mx.array, positions: int) -> mx.array:
        """[mel bins, spectra] → [positions // 2, width]. `positions`: of the sound; what is behind them is silence that
        fills the window, which the convolutions see at the border, and the layers do not."""
        hidden = nn.gelu(self.conv1(features.T[None].astype(self.conv1.weight.dtype)))
        hidden = nn.gelu(self.conv2(hidden))[:, :positions]
        hidden = hidden + self.embed_positions(mx.arange(positions))
        for layer in self.layers:
            hidden = layer(hidden)
        rows = positions // 2
        pairs = hidden[0, : 2 * rows].reshape(rows, 2, -1)
        normed: mx.array = self.layer_norm(pairs.mean(axis=1))
        return normed

    def sanitize(self, weights: dict[str, mx.array]) -> dict[str, mx.array]:
        """Convolutions as transformers has them, [out, in, width], or as MLX does, [out, width, in] → the latter."""
        shapes = {f".{name}.weight": getattr(self, name).weight.shape for name in ("conv1", "conv2")}
        return {name: _turned(array, name, shapes) for name, array in weights.items()}


class Layer(nn.Module):  # type: ignore[misc]
    """Attention, and two linear layers with GELU between."""

    def __init__(self, width: int, config: Any):
        super().__init__()
        self.self_attn = Attention(width, config.encoder_attention_heads)
        self.self_attn_layer_norm = nn.LayerNorm(width)
        self.fc1 = nn.Linear(width, config.encoder_ffn_dim)
        self.fc2 = nn.Linear(config.encoder_ffn_dim, width)
        self.final_layer_norm = nn.LayerNorm(width)

    def __call__(self, hidden: mx.array) -> mx.array:
        """[1, positions, width] → the same."""
        hidden = hidden + self.self_attn(self.self_attn_layer_norm(hidden))
        hidden = hidden + self.fc2(nn.gelu(self.fc1(self.final_layer_norm(hidden))))
        if hidden.dtype == mx.float16:
            most = mx.finfo(mx.float16).max - MARGIN
            hidden = mx.clip(hidden, -most, most)
        return hidden


class Attention(nn.Module):  # type: ignore[misc]
    """Of all positions to all."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.scale = (width // heads) ** -0.5
        self.q_proj = nn.Linear(width, width)
        self.k_proj = nn.Linear(width, width, bias=False)
        self.v_proj = nn.Linear(width, width)
        self.out_proj = nn.Linear(width, width)

    def __call__(self, hidden: mx.array) -> mx.array:
        """[1, positions, width] → the same."""
        queries, keys, values = (self._apart(layer(hidden)) for layer in (self.q_proj, self.k_proj, self.v_proj))
        found = mx.fast.scaled_dot_product_attention(queries, keys, values, scale=self.scale)
        joined: mx.array = self.out_proj(found.transpose(0, 2, 1, 3).reshape(hidden.shape))
        return joined

    def _apart(self, rows: mx.array) -> mx.array:
        """[1, positions, width] → [1, heads, positions, width of a head]."""
        return rows.reshape(*rows.shape[:2], self.heads, -1).transpose(0, 2, 1, 3)


def _turned(array: mx.array, name: str, shapes: dict[str, Any]) -> mx.array:
    shape = next((shape for end, shape in shapes.items() if name.endswith(end)), None)
    return array if shape is None or array.shape == shape else array.transpose(0, 2, 1)
