"""What config.json and shapes say of packed weights, beside MLX's own packing and unpacking."""

import mlx.core as mx
import numpy as np
import pytest

from nitro.checkpoints import mlx_packing
from nitro.checkpoints.mlx_packing import MODES, LayerPacking, PackedShape

DEFAULT = {
    "group_size": 64,
    "bits": 4,
    "a": {"bits": 8},
    "b": {"group_size": 32, "bits": 4, "mode": "mxfp4"},
    "c": True,
    "d": {"mode": "nvfp4"},
}
AFFINE = [LayerPacking(group, bits, "affine") for bits in mlx_packing.AFFINE_BITS for group in (32, 64, 128)]
PACKINGS = [*AFFINE, *(LayerPacking(mode.group_size, mode.bits, name) for name, mode in MODES.items())]


def shape_of(packing: LayerPacking, columns: int = 256) -> PackedShape:
    return PackedShape(
        columns * packing.bits // 32, columns // packing.group_size, byte_scales=packing.mode != mlx_packing.AFFINE
    )


def quantised(matrix: mx.array, packing: LayerPacking) -> tuple[mx.array, ...]:
    return mx.quantize(matrix, group_size=packing.group_size, bits=packing.bits, mode=packing.mode)


@pytest.mark.parametrize("packing", PACKINGS, ids=str)
def test_unpacking_is_mlxs(packing: LayerPacking) -> None:
    parts = quantised(mx.random.normal((4, 256), key=mx.random.key(packing.bits)), packing)
    words, scales, *biases = (np.array(part) for part in parts)
    assert PackedShape(words.shape[-1], scales.shape[-1], scales.dtype == np.uint8) == shape_of(packing)
    assert mlx_packing.columns(words.shape[-1], packing.bits) == 256
    unpacked = mlx_packing.unpack(words, scales, biases[0] if biases else None, packing)
    settings = {"group_size": packing.group_size, "bits": packing.bits, "mode": packing.mode}
    expected = np.array(mx.dequantize(*parts, **settings, dtype=mx.float32))
    np.testing.assert_allclose(unpacked, expected, rtol=1e-5 if biases else 0, atol=1e-6 if biases else 0)


@pytest.mark.parametrize("name", MODES)
def test_every_scale_times_every_number_is_mlxs(name: str) -> None:
    """Those that are no numbers, too."""
    mode = MODES[name]
    packing = LayerPacking(mode.group_size, mode.bits, name)
    codes = np.arange(256 * mode.group_size, dtype=np.uint32).reshape(256, -1) & (1 << mode.bits) - 1
    words = (codes.reshape(256, -1, 32 // mode.bits) << np.arange(0, 32, mode.bits, dtype=np.uint32)).sum(2)
    words = words.astype(np.uint32)
    scales = np.roll(np.arange(256, dtype=np.uint8), 17)[:, None]
    expected = mx.dequantize(
        mx.array(words), mx.array(scales), None, mode.group_size, mode.bits, name, dtype=mx.float32
    )
    with np.errstate(invalid="ignore", over="ignore"):
        np.testing.assert_array_equal(mlx_packing.unpack(words, scales, None, packing), np.array(expected))


def test_a_global_scale_is_mlxs() -> None:
    packing = LayerPacking(16, 4, "nvfp4")
    matrix = mx.random.normal((4, 64), key=mx.random.key(3))
    scale = mx.abs(matrix).max()
    words, scales = mx.quantize(matrix, 16, 4, "nvfp4", global_scale=scale)
    expected = mx.dequantize(words, scales, None, 16, 4, "nvfp4", global_scale=scale, dtype=mx.float32)
    per_row = np.full(4, float(scale), np.float32)
    unpacked = mlx_packing.unpack(np.array(words), np.array(scales), None, packing, per_row)
    np.testing.assert_allclose(unpacked, np.array(expected), rtol=1e-6)


@pytest.mark.parametrize(
    ("layer", "packing"),
    [
        ("a", LayerPacking(64, 8, "affine")),
        ("b", LayerPacking(32, 4, "mxfp4")),
        ("c", LayerPacking(64, 4, "affine")),
        ("d", LayerPacking(16, 4, "nvfp4")),
        ("other", LayerPacking(64, 4, "affine")),
        ("other", LayerPacking(32, 8, "mxfp8")),
    ],
)
def test_a_layer_may_have_settings_of_its_own(layer: str, packing: LayerPacking) -> None:
    """One whose scales are bytes needs none: a mode can be seen."""
    assert mlx_packing.of_layer(DEFAULT, layer, shape_of(packing)) == packing


def test_a_layers_settings_are_completed_as_by_mlxs_layers() -> None:
    """Not by the default: mlx_lm.convert writes such a layer beside a default of another mode."""
    settings = {"group_size": 32, "bits": 4, "mode": "mxfp4", "a": {"group_size": 32, "bits": 6}, "b": {"bits": 8}}
    for layer, packing in (("a", LayerPacking(32, 6, "affine")), ("b", LayerPacking(64, 8, "affine"))):
        assert mlx_packing.of_layer(settings, layer, shape_of(packing)) == packing


@pytest.mark.parametrize("settings", [None, {"group_size": None}, {"group_size": 32, "bits": 4, "mode": "mxfp4"}])
def test_silence_is_no_packing(settings: dict | None) -> None:
    with pytest.raises(ValueError, match=r"config.json does not say how a\.b is packed"):
        mlx_packing.of_layer(settings, "a.b", shape_of(PACKINGS[0]))


@pytest.mark.parametrize(
    ("layer", "shape", "says"),
    [
        ("a", shape_of(LayerPacking(64, 4, "affine")), "a is packed as affine, 8 bits, groups of 64"),
        ("other", shape_of(LayerPacking(32, 4, "affine")), "32 words and 8 scales in a row"),
        ("b", shape_of(LayerPacking(16, 4, "nvfp4")), "b is packed as mxfp4, 4 bits, groups of 32"),
        ("d", shape_of(LayerPacking(32, 8, "mxfp8")), "d is packed as nvfp4"),
        ("other", PackedShape(24, 8, byte_scales=True), "supported are affine .*, mxfp4 .*, nvfp4 .*, mxfp8"),
    ],
)
def test_settings_that_do_not_fit_the_arrays(layer: str, shape: PackedShape, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        mlx_packing.of_layer(DEFAULT, layer, shape)


@pytest.mark.parametrize("packing", [LayerPacking(64, 7, "affine"), LayerPacking(16, 4, "affine")], ids=str)
def test_what_mlx_has_no_kernels_for(packing: LayerPacking) -> None:
    with pytest.raises(ValueError, match="supported are"):
        mlx_packing.of_layer({"group_size": packing.group_size, "bits": packing.bits}, "a", shape_of(packing, 512))


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
