"""Weights turned round for MLX's CPU build: where they lie changes, and nothing else."""

from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from mlx import nn
from mlx.utils import tree_flatten
from tiny_models import write_folder

from nitro.engines.backends.mlx import weight_layout
from nitro.engines.backends.mlx.folder_loader import open_folder
from nitro.engines.backends.mlx.runner import MlxRunner
from nitro.engines.types import EngineSpec

TOKENS = [[5, 17, 900, 3]]


@pytest.fixture
def network(tmp_path: Path) -> Any:
    return open_folder(write_folder(tmp_path / "model", "plain")).network


def by_rows(weight: mx.array) -> bool:
    return memoryview(weight).c_contiguous


def multiplied(network: Any) -> list[mx.array]:
    return [module.weight for module in network.modules() if isinstance(module, nn.Linear | nn.Embedding)]


def test_what_is_multiplied_by_lies_by_rows(network: Any) -> None:
    before = {name: np.array(array) for name, array in tree_flatten(network.parameters())}
    logits = np.array(network(mx.array(TOKENS)))
    assert len(multiplied(network)) > 7
    assert not any(by_rows(weight.T) for weight in multiplied(network))
    weight_layout.arrange(network)
    assert all(by_rows(weight.T) for weight in multiplied(network))
    after = dict(tree_flatten(network.parameters()))
    assert before.keys() == after.keys()
    for name, array in before.items():
        np.testing.assert_array_equal(np.array(after[name]), array)
    np.testing.assert_allclose(np.array(network(mx.array(TOKENS))), logits, rtol=1e-4, atol=1e-4)


def test_the_runner_turns_them(tmp_path: Path) -> None:
    runner = MlxRunner(EngineSpec("mlx", str(write_folder(tmp_path / "model", "plain")), context=100, parallel=1))
    try:
        assert all(by_rows(weight.T) for weight in multiplied(runner._model.network))
    finally:
        runner.close()


def test_packed_weights_stay(network: Any) -> None:
    nn.quantize(network)
    before = tree_flatten(network.parameters())
    assert not multiplied(network)
    weight_layout.arrange(network)
    assert all(now is then for (_, now), (_, then) in zip(tree_flatten(network.parameters()), before, strict=True))


def test_metal_keeps_the_files_layout(network: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mx.metal, "is_available", lambda: True)
    before = multiplied(network)
    weight_layout.arrange(network)
    assert all(now is then for now, then in zip(multiplied(network), before, strict=True))
