"""MLX folders in ggml's blocks: written from a GGUF, compared with it, served, and unpacked again."""

import json
import sys
from pathlib import Path

import gguf
import mlx.core as mx
import numpy as np
import pytest
from tiny_models import write_gguf

from bench.quantized_models import quantize
from nitro.convert import checkpoint, environments, gguf_to_mlx, matrices, mlx_to_hf, native, preflight, routes, verify
from nitro.convert.checkpoint import FTYPES
from nitro.convert.comparison import LogitScores
from nitro.convert.plan import ConversionPlan, default_target
from nitro.engines.backends.mlx import block_layers
from nitro.engines.backends.mlx.folder_loader import open_folder
from nitro.engines.backends.mlx.opening import open_model
from nitro.engines.runner import LoadError
from nitro.errors import ConvertError
from nitro.gguf import architectures, header, packing, weights

WIDE = 256  # columns, which the blocks of K-quants need
needs_kernels = pytest.mark.skipif(not block_layers.is_installed(), reason="mlx-kquant is not installed")


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_gguf(tmp_path_factory.mktemp("original") / "tiny.gguf", width=WIDE)


def quantised(original: Path, folder: Path, type: str) -> Path:
    request = {"source": original, "target": folder / f"{type}.gguf", "ftype": FTYPES[type]}
    environments.run("llama", "quantize_gguf", {**request, "imatrix": None, "requantize": False})
    return folder / f"{type}.gguf"


def in_blocks(file: Path) -> Path:
    target = file.with_suffix("")
    target.mkdir()
    gguf_to_mlx.convert(file, target, in_blocks=True)
    return target


@pytest.mark.parametrize("type", ["Q4_K_M", "Q6_K", "Q3_K_M", "Q2_K", "IQ4_XS", "IQ3_S", "Q5_1"])
def test_the_very_numbers_of_the_file(original: Path, tmp_path: Path, type: str) -> None:
    file = quantised(original, tmp_path, type)
    folder = in_blocks(file)
    gguf, mlx = checkpoint.read(file), checkpoint.read(folder)
    assert (mlx.kind, mlx.parameters) == ("mlx", gguf.parameters)
    assert verify.compare_matrices(gguf, mlx) == (16, [])
    ours, theirs = matrices.of(mlx), matrices.of(gguf)
    assert {name: matrix.type for name, matrix in ours.items()} == {name: m.type for name, m in theirs.items()}
    assert all(matrices.relative_error(theirs[name], ours[name]) == 0 for name in ours)
    (tmp_path / "hf").mkdir()
    mlx_to_hf.convert(folder, tmp_path / "hf")
    plain = matrices.of(checkpoint.read(tmp_path / "hf"))
    assert all(matrices.relative_error(plain[name], ours[name]) == 0 for name in ours)


@pytest.mark.parametrize("type", ["TQ1_0", "TQ2_0"])
def test_ternary_weights_are_q2_k_blocks_of_the_same_numbers(original: Path, tmp_path: Path, type: str) -> None:
    """mlx-kquant has none of their own."""
    file = quantize(original, tmp_path / f"{type}.gguf", type, pure=False)
    assert {tensor.type for tensor in header.read(file).tensors.values()} >= {type, "Q6_K"}
    ours, theirs = (matrices.of(checkpoint.read(path)) for path in (in_blocks(file), file))
    assert len(ours) > 8 and all(matrices.relative_error(ours[name], theirs[name]) == 0 for name in ours)
    random = np.random.default_rng(0).standard_normal((4, WIDE)).astype(np.float32)
    rows = gguf.quants.quantize(random, gguf.GGMLQuantizationType[type])
    expected, found = (
        gguf.quants.dequantize(blocks, gguf.GGMLQuantizationType[kind])
        for blocks, kind in ((rows, type), (packing.ternary_as_q2_k(rows, type), "Q2_K"))
    )
    assert np.array_equal(expected, found) and len(np.unique(np.sign(expected))) == 3


def test_the_layout_is_mlx_kquants(original: Path, tmp_path: Path) -> None:
    file = quantised(original, tmp_path, "Q4_K_M")
    folder = in_blocks(file)
    head = header.read_all(file)
    config = json.loads((folder / "config.json").read_text())
    assert config["quantization"] == config["quantization_config"]
    assert config["quantization"]["mode"] == "kquant" and "group_size" not in config["quantization"]
    arrays = mx.load(str(folder / "model.safetensors"))
    assert isinstance(arrays, dict)
    for name, goal in architectures.model_names(head).items():
        layer = goal.removesuffix(".weight")
        if len(head.tensors[name].shape) == 1:
            assert layer not in config["quantization"]["per_tensor"]
            continue
        assert config["quantization"]["per_tensor"][layer] == head.tensors[name].type.lower()
        assert arrays[f"{layer}.scales"].shape == (1,) and arrays[f"{layer}.scales"].dtype == mx.uint8
        stored = architectures.in_model_order(head, name, weights.stored(head.tensors[name]))
        np.testing.assert_array_equal(np.array(arrays[goal]), stored)


@pytest.mark.parametrize("fault", ["rows", "byte"])
def test_a_row_that_was_moved_is_found(original: Path, tmp_path: Path, fault: str) -> None:
    """The limit of the very same blocks leaves no room: the first rows of a matrix exchanged, or one byte."""
    file = quantised(original, tmp_path, "Q4_K_M")
    folder = in_blocks(file)
    arrays = mx.load(str(folder / "model.safetensors"))
    assert isinstance(arrays, dict)
    name = "model.layers.1.mlp.up_proj.weight"
    changed = np.array(arrays[name])
    if fault == "rows":
        changed[[0, 1]] = changed[[1, 0]]
    else:
        changed[0, 20] ^= 0x40
    arrays[name] = mx.array(changed)
    mx.save_safetensors(str(folder / "model.safetensors"), arrays, {"format": "mlx"})
    failures = verify.compare_matrices(checkpoint.read(file), checkpoint.read(folder))[1]
    assert "1 of 16 matrices differ" in failures[0] and name in failures[0]


@needs_kernels
@pytest.mark.parametrize("type", ["Q4_K_M", "IQ3_S"])
def test_it_computes_what_the_file_does(original: Path, tmp_path: Path, type: str) -> None:
    file = quantised(original, tmp_path, type)
    tokens = mx.array([[1, 5, 9, 77, 200, 3, 8, 8, 100]])
    found = [np.array(open_model(each).network(tokens)) for each in (file, in_blocks(file))]
    np.testing.assert_allclose(*found, rtol=1e-4, atol=1e-4)


@needs_kernels
def test_mlx_kquant_reads_it(original: Path, tmp_path: Path) -> None:
    from mlx_kquant.loader import load

    folder = in_blocks(quantised(original, tmp_path, "Q4_K_M"))
    tokens = mx.array([[1, 5, 9, 77, 200, 3]])
    theirs = np.array(load(folder)[0](tokens).astype(mx.float32))
    np.testing.assert_allclose(np.array(open_model(folder).network(tokens)), theirs, atol=0.2)


@needs_kernels
def test_the_whole_way(original: Path, tmp_path: Path) -> None:
    """With its proof, from a file that is not quantised."""
    source = checkpoint.read(original)
    target = default_target(original, "mlx", "Q6_K", None)
    assert target.name == "tiny-MLX-Q6_K"
    proof = routes.convert(ConversionPlan(source, "mlx", tmp_path / target.name, "Q6_K", positions=64), print)
    assert (proof.passed, proof.type, proof.matrices) == (True, "Q6_K", 16)
    proof = verify.verify(quantised(original, tmp_path, "Q6_K"), tmp_path / target.name, 64)
    assert proof.passed, proof.failures
    assert isinstance(proof.scores, LogitScores)
    assert proof.limits["mean"] == 1e-3 and proof.scores.mean_kl < 1e-5


@needs_kernels
def test_a_proof_is_computed_in_float32(original: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On the CPU, also where a GPU is: with its products a proof would fail, which are bfloat16."""
    from nitro.convert.workers import score_mlx

    chosen: list[mx.Device] = []
    monkeypatch.setattr(mx, "set_default_device", chosen.append)
    monkeypatch.setitem(sys.modules, "nitro", sys.modules["nitro"])  # the worker puts one of its own there
    folder = in_blocks(quantised(original, tmp_path, "Q4_K_M"))
    network = score_mlx._network(folder, str(native.PACKAGE))
    assert chosen == [mx.cpu] and type(network.lm_head).__name__ == "BlockLinear"


def test_it_is_refused_where_its_kernels_are_not(
    original: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = in_blocks(quantised(original, tmp_path, "Q4_K_M"))
    monkeypatch.setattr(block_layers, "is_installed", lambda: False)
    with pytest.raises(LoadError, match=r"its weights are in ggml's blocks\. The package mlx-kquant"):
        open_folder(folder)
    config = json.loads((folder / "config.json").read_text())
    config["quantization"]["per_tensor"]["lm_head"] = "q9_k"
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(LoadError, match="lm_head is in blocks of q9_k; supported are q4_0"):
        open_folder(folder)
    with pytest.raises(ConvertError, match="lm_head is in blocks of q9_k"):
        checkpoint.read(folder).type  # noqa: B018


def test_nothing_is_converted_where_its_kernels_are_not(
    original: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The proof needs them; that shows before, and not after hours."""
    monkeypatch.setattr(environments, "has", lambda interpreter, module: module != "mlx_kquant")
    monkeypatch.setattr(environments, "python", lambda backend, notify: Path(sys.executable))
    source = checkpoint.read(original)
    with pytest.raises(ConvertError, match="--to mlx --type needs the package mlx-kquant"):
        preflight.backends(ConversionPlan(source, "mlx", tmp_path / "target", "Q6_K"), print)
    preflight.backends(ConversionPlan(source, "mlx", tmp_path / "target"), print)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"type": "Q8_0"}, "MLX has a layout of its own for Q8_0; use --bits"),
        ({"type": "Q4_K_M", "bits": 4}, "leave out --bits"),
        ({"type": "Q9"}, "Q9 is not a supported GGUF type"),
    ],
)
def test_options(original: Path, tmp_path: Path, options: dict, says: str) -> None:
    plan = ConversionPlan(checkpoint.read(original), "mlx", tmp_path / "target", **options)
    with pytest.raises(ConvertError, match=says):
        preflight._check_options(plan)


def test_blocks_of_another_type(original: Path, tmp_path: Path) -> None:
    source = checkpoint.read(quantised(original, tmp_path, "Q4_K_M"))
    preflight._check_quantization(ConversionPlan(source, "mlx", tmp_path / "target", "Q4_K_M"))
    for type in ("Q4_K_S", "Q6_K"):
        with pytest.raises(ConvertError, match=r"already quantised \(mostly Q4_K\)"):
            preflight._check_quantization(ConversionPlan(source, "mlx", tmp_path / "target", type))
