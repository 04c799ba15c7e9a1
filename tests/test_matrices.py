"""Matrices and settings compared directly: what must fail every row of the table, however few bits a weight has.

Logits alone do not tell it: in SmolLM2 a swapped tensor is a mean KL divergence of 0.27 and a wrong rope base one of
0.06, where 4 bits make 0.5 of their own.
"""

import json
import shutil
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from doctored import doctor
from tiny_families import FAMILIES, write_family
from tiny_models import write_folder, write_gguf

from nitro.convert import checkpoint, environments, gguf_to_mlx, hyperparameters, matrices, mlx_to_hf, verify
from nitro.convert.checkpoint import FTYPES, Checkpoint
from nitro.convert.comparison import LIMITS

WIDE = 256  # columns, which the blocks of K-quants need
GGUF_TYPES = ("F16", "BF16", "Q8_0", "Q6_K", "Q5_0", "Q5_1", "Q5_K_M", "Q4_0", "Q4_1", "Q4_K_M", "IQ4_NL", "IQ4_XS")
GGUF_TYPES += ("Q3_K_M", "IQ3_S", "IQ3_M", "Q2_K", "TQ2_0")
BITS = (8, 6, 5, 4, 3, 2)
FAULTS = ("permuted heads", "swapped tensor")


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_gguf(tmp_path_factory.mktemp("reference") / "tiny.gguf", width=WIDE)


@pytest.fixture(scope="module")
def folder(reference: Path) -> Path:
    return to_mlx(reference, reference.with_name("mlx"))


def to_mlx(file: Path, target: Path) -> Path:
    target.mkdir()
    gguf_to_mlx.convert(file, target)
    return target


def said(one: Path, other: Path) -> tuple[int, list[str]]:
    return verify.compare_matrices(checkpoint.read(one), checkpoint.read(other))


def packed(source: Path, target: Path, bits: int) -> Path:
    """By MLX itself."""
    shutil.copytree(source, target)
    arrays = mx.load(str(source / "model.safetensors"))
    assert isinstance(arrays, dict)
    for name in [name for name, array in arrays.items() if array.ndim == 2]:
        parts = mx.quantize(arrays[name], group_size=64, bits=bits)
        for kind, part in zip(("weight", "scales", "biases"), parts, strict=True):
            arrays[f"{name.removesuffix('.weight')}.{kind}"] = part
    mx.save_safetensors(str(target / "model.safetensors"), arrays, {"format": "mlx"})
    config = json.loads((source / "config.json").read_text())
    config["quantization"] = {"group_size": 64, "bits": bits}
    (target / "config.json").write_text(json.dumps(config))
    return target


@pytest.mark.parametrize("type", GGUF_TYPES)
def test_every_type_of_a_gguf(reference: Path, tmp_path: Path, type: str) -> None:
    made = tmp_path / "made.gguf"
    request = {"source": reference, "target": made, "ftype": FTYPES[type], "imatrix": None, "requantize": False}
    environments.run("llama", "quantize_gguf", request)
    count, failures = said(reference, made)
    assert (count, failures) == (2 + 2 * 7, [])
    for fault in FAULTS:
        _, failures = said(reference, doctor(made, tmp_path / "doctored.gguf", fault))
        assert "matrices differ" in failures[0], fault


@pytest.mark.parametrize("bits", BITS)
def test_every_width_of_mlx(reference: Path, folder: Path, tmp_path: Path, bits: int) -> None:
    made = packed(folder, tmp_path / "made", bits)
    assert said(reference, made) == (2 + 2 * 7, [])
    for fault in FAULTS:
        wrong = doctor(reference, tmp_path / "doctored.gguf", fault)
        _, failures = said(wrong, made)
        assert "matrices differ" in failures[0], fault


def test_mlx_unpacks_the_same(folder: Path, tmp_path: Path) -> None:
    for bits in BITS:
        made = packed(folder, tmp_path / str(bits), bits)
        arrays: Any = mx.load(str(made / "model.safetensors"))
        stem = "model.layers.1.mlp.down_proj"
        parts = (arrays[f"{stem}.{kind}"] for kind in ("weight", "scales", "biases"))
        values = np.array(mx.dequantize(*parts, group_size=64, bits=bits))
        matrix = matrices.of(checkpoint.read(made))[f"{stem}.weight"]
        assert matrix.type == f"{bits}bit"
        np.testing.assert_allclose(matrix.read(np.arange(0, WIDE, 7)), values[::7], rtol=1e-5, atol=1e-6)


def test_the_limits_leave_room_for_every_fault(reference: Path, tmp_path: Path) -> None:
    right = matrices.of(checkpoint.read(reference))
    for fault, name in zip(FAULTS, ("self_attn.q_proj", "mlp.up_proj"), strict=True):
        wrong = matrices.of(checkpoint.read(doctor(reference, tmp_path / "doctored.gguf", fault)))
        name = f"model.layers.1.{name}.weight"
        assert matrices.relative_error(right[name], wrong[name]) > 1.2 * max(limit.matrix for limit in LIMITS.values())


@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_in_every_kind(name: str, tmp_path: Path) -> None:
    """Rows and experts are found in a GGUF, in MLX's layout and in transformers'."""
    file = write_family(tmp_path / "tiny.gguf", name)
    mlx = to_mlx(file, tmp_path / "mlx")
    hf = tmp_path / "hf"
    hf.mkdir()
    mlx_to_hf.convert(mlx, hf)
    for other in (mlx, hf):
        count, failures = said(file, other)
        assert failures == [] and count >= 2 + 4 * 4, "Phi-3 has fused ones"
        one = checkpoint.read(file)
        numbers = [
            hyperparameters.of(each.architecture, each.kind, each.config) for each in (one, checkpoint.read(other))
        ]
        assert hyperparameters.differences(*numbers) == []
        assert {"rope base", "norm epsilon", "number of heads"} <= numbers[0].keys() & numbers[1].keys()


def test_bfloat16_and_padding(tmp_path: Path) -> None:
    """An embedding with rows for tokens that there are not is the same one."""
    values = mx.random.normal((40, 64))
    models = [tmp_path / kind for kind in ("plain", "padded")]
    for model, array in zip(
        models, (values, mx.concatenate([values.astype(mx.bfloat16), mx.ones((8, 64))])), strict=True
    ):
        write_folder(model, "plain")
        mx.save_safetensors(str(model / "model.safetensors"), {"model.embed_tokens.weight": array})
    assert said(*models)[0] == 1
    mx.save_safetensors(str(models[1] / "model.safetensors"), {"model.embed_tokens.weight": values.astype(mx.bfloat16)})
    found = [matrices.of(checkpoint.read(model))["model.embed_tokens.weight"] for model in models]
    assert found[1].type == "BF16" and 0 < matrices.relative_error(*found) < LIMITS["BF16"].matrix


def test_no_number_and_no_room_for_error(tmp_path: Path) -> None:
    def matrix(values: list[float]) -> matrices.Matrix:
        array = np.array([values], np.float32)
        return matrices.Matrix("F32", 1, len(values), lambda rows: array[rows])

    assert matrices.relative_error(matrix([0, 0]), matrix([0, 0])) == 0
    assert not matrices.relative_error(matrix([1, 2]), matrix([1, float("nan")])) <= 1
    assert matrices.relative_error(matrix([1, 2]), matrix([1, 2, 3])) == float("inf")
    assert matrices.relative_error(matrix([3, 4]), matrix([6, 8])) == 1


def test_models_that_are_not_known_are_left_to_their_logits(tmp_path: Path) -> None:
    odd = Checkpoint(tmp_path, "hf", {"model_type": "brandnew"}, {"a.weight": checkpoint.StoredWeight("F32", (2, 2))})
    assert matrices.of(odd) == {} and hyperparameters.of("brandnew", "hf", {"rope_theta": 1.0}) == {}


@pytest.mark.parametrize(
    ("config", "base"),
    [
        ({"rope_theta": 5e5}, 5e5),
        ({"rope_parameters": {"rope_type": "default", "rope_theta": 5e5}}, 5e5),
        ({"rope_parameters": {"full_attention": {"rope_theta": 1e6}, "sliding_attention": {"rope_theta": 1e4}}}, 1e6),
        ({"rope_theta": None}, None),
    ],
)
def test_where_the_rope_base_stands(config: dict[str, Any], base: float | None) -> None:
    assert hyperparameters.of("llama", "hf", config).get("rope base") == base


def test_a_setting_that_differs() -> None:
    gguf = {"general.architecture": "llama", "llama.rope.freq_base": float(np.float32(5e5)), "llama.block_count": 3}
    one = hyperparameters.of("llama", "gguf", gguf)
    assert (
        hyperparameters.differences(
            one, hyperparameters.of("llama", "hf", {"rope_theta": 500000, "num_hidden_layers": 3})
        )
        == []
    )
    assert hyperparameters.differences(
        one, hyperparameters.of("llama", "mlx", {"rope_theta": 10000, "num_hidden_layers": 3})
    ) == ["the rope base is 10000, and 500000 in the reference"]
    assert hyperparameters.of("llama", "gguf", {"general.architecture": "llama"})["rope base"] == 10000, (
        "llama.cpp's default"
    )
