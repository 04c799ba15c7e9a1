"""How weights lie in memory for MLX's CPU build: in pieces for all cores, bfloat16 as it is. The results stay."""

from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from mlx import nn
from mlx.utils import tree_flatten
from mlx_lm.utils import load_model
from tiny_models import write_folder

from nitro.engines.backends.mlx import split_products, weight_layout
from nitro.engines.backends.mlx.opening import open_model
from nitro.engines.backends.mlx.split_products import SplitEmbedding, SplitLinear

TOKENS = [[5, 17, 900, 3]]


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tiny models are cut, too, and on two cores."""
    monkeypatch.setattr(split_products, "PIECE", 900)
    monkeypatch.setattr(split_products, "SHARE", 100)
    monkeypatch.setattr(split_products, "SHARED_PRODUCTS", 0)
    monkeypatch.setattr(split_products.memory, "physical_cores", lambda: 2)
    monkeypatch.setattr(split_products, "_of_thread", type("Thread", (), {})())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_folder(tmp_path / "model", "plain")


def as_type(folder: Path, goal: Path, dtype: mx.Dtype) -> Path:
    """The folder with weights rounded to bfloat16, stored in that type."""
    goal.mkdir()
    for file in folder.iterdir():
        if file.suffix != ".safetensors":
            (goal / file.name).write_bytes(file.read_bytes())
    weights = mx.load(str(folder / "model.safetensors"))
    assert isinstance(weights, dict)
    rounded = {name: array.astype(mx.bfloat16).astype(dtype) for name, array in weights.items()}
    mx.save_safetensors(str(goal / "model.safetensors"), rounded)
    return goal


def logits(network: Any) -> np.ndarray:
    return np.array(network(mx.array(TOKENS)))


def weight_bytes(network: Any) -> int:
    return sum(array.nbytes for _, array in tree_flatten(network.parameters()))


def test_a_network_of_pieces_computes_the_same(folder: Path) -> None:
    plain, _ = load_model(folder)
    split = open_model(folder).network
    kinds = [type(module) for module in split.modules()]
    assert SplitLinear in kinds and SplitEmbedding in kinds and not {nn.Linear, nn.Embedding} & set(kinds)
    np.testing.assert_allclose(logits(split), logits(plain), rtol=1e-4, atol=1e-4)


def test_bfloat16_stays_and_gives_what_float32_gives(folder: Path, tmp_path: Path) -> None:
    """Half the memory, and the same logits bit by bit."""
    half = open_model(as_type(folder, tmp_path / "half", mx.bfloat16)).network
    full = open_model(as_type(folder, tmp_path / "full", mx.float32)).network
    kept = [module.pieces for module in half.modules() if isinstance(module, SplitLinear)]
    assert kept and all(pieces.dtype == mx.bfloat16 for pieces in kept)
    assert weight_bytes(half) <= 0.55 * weight_bytes(full)
    assert logits(half).dtype == np.float32
    np.testing.assert_array_equal(logits(half), logits(full))


def test_float16_is_computed_in_float32(folder: Path, tmp_path: Path) -> None:
    network = open_model(as_type(folder, tmp_path / "half", mx.float16)).network
    assert {array.dtype for _, array in tree_flatten(network.parameters())} == {mx.float32}


@pytest.mark.parametrize("outputs", [1, 2, 7, 64, 131])
@pytest.mark.parametrize("dtype", [mx.float32, mx.bfloat16])
def test_a_layer_of_any_width(outputs: int, dtype: mx.Dtype) -> None:
    weight = mx.random.normal((outputs, 48)).astype(dtype)
    bias = mx.random.normal((outputs,))
    x = mx.random.normal((2, 3, 48))
    layer = SplitLinear(weight, bias)
    assert mx.array_equal(layer.weight, weight)
    assert layer.pieces[0].size <= split_products.PIECE and layer(x).shape == (2, 3, outputs)
    assert mx.allclose(layer(x), x @ weight.astype(mx.float32).T + bias, rtol=1e-4, atol=1e-4)
    assert set(dict(tree_flatten(layer.parameters()))) == {"pieces", "bias"}


def test_an_embedding_in_pieces() -> None:
    weight = mx.random.normal((131, 48)).astype(mx.bfloat16)
    layer = SplitEmbedding(weight)
    ids = mx.array([[0, 130, 19], [18, 18, 77]])
    assert mx.array_equal(layer(ids), weight[ids].astype(mx.float32))
    x = mx.random.normal((2, 1, 48))
    assert mx.allclose(layer.as_linear(x), x @ weight.astype(mx.float32).T, rtol=1e-4, atol=1e-4)


def test_pieces_take_turns_on_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    layer = SplitLinear(mx.random.normal((64, 48)))
    streams: list[str] = []
    multiply = mx.matmul
    monkeypatch.setattr(mx, "matmul", lambda a, b, stream: streams.append(str(stream)) or multiply(a, b, stream=stream))
    monkeypatch.setattr(split_products, "SHARED_PRODUCTS", 0)
    layer(mx.random.normal((2, 48)))
    assert len(streams) > 2 and streams[0] != streams[1] and streams[::2] == [streams[0]] * len(streams[::2])


def test_a_small_product_is_computed_on_one_core(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its result stays, bit by bit."""
    layer = SplitLinear(mx.random.normal((64, 48)))
    x = mx.random.normal((2, 48))
    shared = layer(x)
    used: list[str] = []
    multiply = mx.matmul
    monkeypatch.setattr(mx, "matmul", lambda a, b, stream: used.append(str(stream)) or multiply(a, b, stream=stream))
    monkeypatch.setattr(split_products, "SHARED_PRODUCTS", 2 * 48 * 64 + 1)
    assert mx.array_equal(layer(x), shared) and len(set(used)) == 1
    monkeypatch.setattr(split_products, "SHARED_PRODUCTS", 2 * 48 * 64)
    assert mx.array_equal(layer(x), shared) and len(set(used)) == 2


def test_a_small_layer_is_computed_on_one_core(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(split_products, "SHARE", 5000)
    monkeypatch.setattr(split_products, "PIECE", 10000)
    assert len(SplitLinear(mx.random.normal((64, 48)))._views.pieces) == 1


def test_packed_weights_stay(folder: Path) -> None:
    network, _ = load_model(folder)
    nn.quantize(network)
    before = dict(tree_flatten(network.parameters()))
    weight_layout.arrange(network)
    after = dict(tree_flatten(network.parameters()))
    assert before.keys() == after.keys()
    for name, array in before.items():
        np.testing.assert_array_equal(np.array(after[name]), np.array(array))


def test_a_gpu_gets_the_files_layout(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mx, "default_device", lambda: mx.Device(mx.DeviceType.gpu, 0))
    network, _ = load_model(folder)
    before = tree_flatten(network.parameters())
    weight_layout.arrange(network)
    assert all(now is then for (_, now), (_, then) in zip(tree_flatten(network.parameters()), before, strict=True))
    weight_layout.arrange(network, mx.float16)
    assert {array.dtype for _, array in tree_flatten(network.parameters())} == {mx.float16}
