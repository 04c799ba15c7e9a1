"""Folders in every mode of mlx-lm are served, unpacked and compared; those of other libraries are read or refused."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx_modes
import numpy as np
import pytest
from mlx_modes import CONVERSIONS, LEARNT, edit, write_mode, write_original, write_other

from nitro.convert import checkpoint, matrices, mlx_to_hf, preflight, verify
from nitro.convert.plan import ConversionPlan
from nitro.engines.backends.mlx import folder_weights
from nitro.engines.backends.mlx.opening import open_model
from nitro.engines.runner import LoadError
from nitro.errors import ConvertError

TOKENS = mx.array([[1, 5, 9, 77, 200, 3, 8, 8, 100]])
TYPES = {"affine": "4bit", "3 bits": "3bit", "mxfp4": "MXFP4", "nvfp4": "NVFP4", "mxfp8": "MXFP8", "recipe": "3bit"}
TYPES |= {"several": "MXFP4", **dict.fromkeys(LEARNT, "4bit")}
PACKED = "model.layers.1.mlp.up_proj"


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_original(tmp_path_factory.mktemp("original") / "model")


@pytest.fixture
def packed(original: Path, tmp_path: Path) -> Path:
    return write_mode(original, tmp_path / "packed", "mxfp4")


def logits(folder: Path) -> np.ndarray:
    return np.array(open_model(folder).network(TOKENS)[0].astype(mx.float32))


def unpacked(folder: Path, target: Path) -> Path:
    target.mkdir()
    mlx_to_hf.convert(folder, target)
    return target


def refuse(folder: Path, *words: str) -> None:
    with pytest.raises(LoadError) as caught:
        open_model(folder)
    for word in (str(folder), *words):
        assert word in str(caught.value)


@pytest.mark.parametrize("name", [*CONVERSIONS, *LEARNT])
def test_every_mode_means_the_same_to_engine_converter_and_proof(original: Path, tmp_path: Path, name: str) -> None:
    """What the engine computes is what the unpacked numbers give; and the proof reads these numbers by itself."""
    folder = write_mode(original, tmp_path / "packed", name)
    model = checkpoint.read(folder)
    assert (model.kind, model.type) == ("mlx", TYPES[name])
    assert model.parameters == checkpoint.read(original).parameters
    plain = unpacked(folder, tmp_path / "plain")
    np.testing.assert_allclose(logits(folder), logits(plain), rtol=1e-3, atol=1e-3)
    count, failures = verify.compare_matrices(checkpoint.read(plain), model)
    assert (count, failures) == (16, [])
    ours, theirs = (matrices.of(each) for each in (model, checkpoint.read(plain)))
    assert max(matrices.relative_error(theirs[name], ours[name]) for name in ours) < 1e-6


@pytest.mark.parametrize("name", ["mxfp4", "nvfp4", "mxfp8"])
def test_a_mode_is_near_the_original(original: Path, tmp_path: Path, name: str) -> None:
    """Within the limits of a proof; a row that is not where it was exceeds them."""
    folder = write_mode(original, tmp_path / "packed", name)
    _, failures = verify.compare_matrices(checkpoint.read(original), checkpoint.read(folder))
    assert failures == []
    arrays = mlx_modes.read(folder)
    arrays[f"{PACKED}.weight"] = arrays[f"{PACKED}.weight"][::-1]
    mx.save_safetensors(str(folder / "model.safetensors"), arrays, {"format": "mlx"})
    _, failures = verify.compare_matrices(checkpoint.read(original), checkpoint.read(folder))
    assert PACKED in failures[0]


def test_experts_with_scales_of_their_own(tmp_path: Path) -> None:
    """nvfp4's global scale belongs to an expert, and is a part of every number."""
    from mlx_lm.models.switch_layers import SwitchLinear

    mx.random.seed(1)
    layer = SwitchLinear(32, 8, 3, bias=False)
    layer.weight = mx.random.normal((3, 8, 32)) * mx.array([0.01, 1, 100])[:, None, None]
    packed = layer.to_quantized(16, 4, "nvfp4", global_scale=True)
    name = "model.layers.0.mlp.switch_mlp.up_proj"
    parts = {f"{name}.{key}": value for key, value in packed.parameters().items() if value is not None}
    (tmp_path / "mlx").mkdir()
    mx.save_safetensors(str(tmp_path / "mlx" / "model.safetensors"), parts, {"format": "mlx"})
    config = {"model_type": "qwen3_moe", "quantization": {"group_size": 16, "bits": 4, "mode": "nvfp4"}}
    (tmp_path / "mlx" / "config.json").write_text(json.dumps(config))
    plain = mlx_modes.read(unpacked(tmp_path / "mlx", tmp_path / "hf"))
    found = matrices.of(checkpoint.read(tmp_path / "mlx"))
    for number in range(3):
        expert = f"model.layers.0.mlp.experts.{number}.up_proj.weight"
        np.testing.assert_allclose(found[expert].read(np.arange(8)), np.array(plain[expert]), rtol=1e-6)
        error = mx.linalg.norm(plain[expert] - layer.weight[number]) / mx.linalg.norm(layer.weight[number])
        assert error < 0.15
    with pytest.raises(LoadError, match=f"{name} has a global scale, and MLX has no such products on the CPU"):
        folder_weights.check_computable(tmp_path, {}, {name: packed})


SETTINGS: dict[str, tuple[dict[str, Any], str]] = {
    "no mode that is known, and bytes as scales": ({"mode": "mxfp3"}, "served"),
    "the default of another mode": ({"mode": "nvfp4", "group_size": 16}, "served"),
    "a layer of another mode": ({"lm_head": {"mode": "nvfp4"}}, "lm_head is packed as nvfp4, 4 bits, groups of 16"),
    "a layer that is said to be whole": ({"lm_head": False}, "lm_head"),
}


@pytest.mark.parametrize("case", SETTINGS)
def test_settings_that_the_arrays_contradict(packed: Path, tmp_path: Path, case: str) -> None:
    changes, says = SETTINGS[case]
    settings = {"group_size": 32, "bits": 4, "mode": "mxfp4", **changes}
    expected = logits(packed)
    edit(packed / "config.json", quantization=settings, quantization_config=settings)
    if says == "served":
        np.testing.assert_array_equal(logits(packed), expected)
        np.testing.assert_allclose(logits(unpacked(packed, tmp_path / "plain")), expected, rtol=1e-3, atol=1e-3)
    else:
        refuse(packed, says)


@pytest.mark.parametrize("keep", ["quantization_config", "text_config", "nothing"])
def test_settings_under_another_key(original: Path, tmp_path: Path, keep: str) -> None:
    folder = write_mode(original, tmp_path / "packed", "affine")
    expected = logits(folder)
    settings = {"group_size": 64, "bits": 4}
    edit(
        folder / "config.json",
        quantization=None,
        quantization_config=settings if keep == "quantization_config" else None,
        text_config={"quantization": settings} if keep == "text_config" else None,
    )
    if keep == "nothing":
        refuse(folder, "config.json does not say how", "is packed", "Take a folder that mlx_lm.convert wrote")
    else:
        np.testing.assert_array_equal(logits(folder), expected)


def test_rounded_activations(original: Path, tmp_path: Path) -> None:
    folder = write_mode(original, tmp_path / "packed", "nvfp4")
    edit(folder / "config.json", quantize_activations=True)
    refuse(folder, "quantize_activations", "Remove it there")


# Other libraries

AWQ = {"quant_method": "awq", "bits": 4, "group_size": mlx_modes.GROUP, "version": "gemm"}


def test_autoawqs_weights(original: Path, tmp_path: Path) -> None:
    folder = write_other(original, tmp_path / "awq", mlx_modes.awq, quantization_config=AWQ)
    plain = write_other(
        original, tmp_path / "plain", lambda name, weight: {f"{name}.weight": mx.array(mlx_modes.awq_numbers(weight))}
    )
    np.testing.assert_allclose(logits(folder), logits(plain), rtol=0.02, atol=0.02)


Layers = Callable[[str, np.ndarray], mlx_modes.Arrays]
OTHERS: dict[str, tuple[Layers, dict[str, Any] | None, str]] = {
    "AWQ with 8 bits": (mlx_modes.awq, {**AWQ, "bits": 8}, "quantised by awq with 8 bits, packed for gemm"),
    "AWQ for gemv": (mlx_modes.awq, {**AWQ, "version": "GEMV"}, "quantised by awq with 4 bits, packed for gemv"),
    "GPTQ": (mlx_modes.gptq, {"quant_method": "gptq", "bits": 4, "group_size": 32}, "quantised by gptq;"),
    "bitsandbytes": (mlx_modes.integers8, {"quant_method": "bitsandbytes"}, "quantised by bitsandbytes;"),
    "a method of which MLX knows nothing": (mlx_modes.floats8, {"quant_method": "quanto"}, "quantised by quanto;"),
    "floats of eight bits": (mlx_modes.floats8, {"quant_method": "fp8"}, "up_proj.weight is packed or in eight bits"),
    "the same, and nothing says so": (mlx_modes.floats8, None, "is packed or in eight bits, and nothing says how"),
    "compressed-tensors": (
        mlx_modes.compressed,
        {"quant_method": "compressed-tensors", "format": "pack-quantized"},
        "quantised by compressed-tensors: Received 42 parameters not in model",
    ),
    "compressed floats": (
        mlx_modes.floats8,
        {"quant_method": "compressed-tensors", "format": "float-quantized"},
        "quantised by compressed-tensors: unsupported compressed-tensors format 'float-quantized'",
    ),
}


@pytest.mark.parametrize("case", OTHERS)
def test_other_libraries_weights(original: Path, tmp_path: Path, case: str) -> None:
    layers, settings, says = OTHERS[case]
    folder = write_other(original, tmp_path / "other", layers, quantization_config=settings)
    refuse(folder, says, "Take a folder that mlx_lm.convert wrote, or the original weights")
    for to in ("mlx", "gguf"):
        refuse_conversion(folder, to, "convert the original weights instead")


def test_settings_in_a_file_of_their_own(original: Path, tmp_path: Path) -> None:
    """As NVIDIA ModelOpt writes them."""
    folder = write_other(original, tmp_path / "modelopt", mlx_modes.floats8)
    (folder / "hf_quant_config.json").write_text(json.dumps({"quantization": {"quant_algo": "FP8"}}))
    refuse(folder, "quantised by modelopt (see hf_quant_config.json)")
    refuse_conversion(folder, "gguf", "already quantised (modelopt)")


def refuse_conversion(folder: Path, to: str, says: str) -> None:
    with pytest.raises(ConvertError) as caught:
        preflight._check_quantization(ConversionPlan(checkpoint.read(folder), to, folder.parent / "target"))
    assert str(folder) in str(caught.value) and says in str(caught.value)
