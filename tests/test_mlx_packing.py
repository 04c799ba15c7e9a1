"""What config.json and shapes say of packed weights, beside MLX's own unpacking."""

import mlx.core as mx
import numpy as np
import pytest

from nitro.checkpoints import mlx_packing
from nitro.checkpoints.mlx_packing import LayerPacking

DEFAULT = {
    "group_size": 64,
    "bits": 4,
    "a": {"bits": 8},
    "b": {"group_size": 32, "bits": 2, "mode": "mxfp4"},
    "c": True,
}


@pytest.mark.parametrize("bits", [2, 3, 4, 5, 6, 8])
@pytest.mark.parametrize("group_size", [32, 64, 128])
def test_unpacking_is_mlxs(bits: int, group_size: int) -> None:
    matrix = mx.random.normal((4, 256), key=mx.random.key(bits))
    words, scales, biases = mx.quantize(matrix, group_size=group_size, bits=bits)
    assert mlx_packing.bits(words.shape[-1], scales.shape[-1], group_size) == bits
    assert mlx_packing.columns(words.shape[-1], bits) == 256
    unpacked = mlx_packing.unpack(*(np.array(part) for part in (words, scales, biases)), bits=bits)
    expected = np.array(mx.dequantize(words, scales, biases, group_size=group_size, bits=bits))
    np.testing.assert_allclose(unpacked, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("layer", "packing"),
    [
        ("a", LayerPacking(64, 8, "affine")),
        ("b", LayerPacking(32, 2, "mxfp4")),
        ("c", LayerPacking(64, 4, "affine")),
        ("other", LayerPacking(64, 4, "affine")),
    ],
)
def test_a_layer_may_have_settings_of_its_own(layer: str, packing: LayerPacking) -> None:
    assert mlx_packing.of_layer(DEFAULT, layer) == packing


def test_silence_is_zero() -> None:
    assert (
        mlx_packing.of_layer(None, "a")
        == mlx_packing.of_layer({"group_size": None}, "a")
        == LayerPacking(0, 0, "affine")
    )


@pytest.mark.parametrize(
    "config",
    [
        {"quantization": DEFAULT},
        {"quantization_config": DEFAULT},
        {"text_config": {"quantization": DEFAULT}},
        {"quantization": None, "text_config": {"quantization_config": DEFAULT}},
    ],
)
def test_where_quantization_stands(config: dict) -> None:
    assert mlx_packing.quantization(config) == DEFAULT


def test_nothing_is_said_of_plain_weights() -> None:
    assert mlx_packing.quantization({"text_config": None}) is None


def test_experts_of_a_stack_have_names_of_their_own() -> None:
    name = "model.layers.3.mlp.switch_mlp.up_proj.weight"
    assert mlx_packing.is_expert_stack(name) and not mlx_packing.is_expert_stack("model.layers.3.mlp.up_proj.weight")
    assert mlx_packing.expert_name(name, 7) == "model.layers.3.mlp.experts.7.up_proj.weight"
