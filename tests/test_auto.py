"""Which runner is loaded, and one sentence where it cannot be."""

import sys
from pathlib import Path

import pytest

from nitro.engines import auto
from nitro.engines.fake import FakeRunner
from nitro.engines.runner import LoadError
from nitro.engines.types import EngineSpec


def test_a_runner_by_name() -> None:
    assert isinstance(auto.load(EngineSpec("nitro.engines.fake:FakeRunner", "")), FakeRunner)


@pytest.mark.parametrize(
    ("engine", "sentence"),
    [
        ("mlx", "no such engine; it has llama"),
        ("nosuch:Thing", "needs nosuch, which is not installed"),
        ("nitro.engines.fake:Nothing", "cannot be loaded"),
    ],
)
def test_no_such_runner(engine: str, sentence: str) -> None:
    with pytest.raises(LoadError, match=sentence):
        auto.load(EngineSpec(engine, ""))


def test_a_library_that_does_not_load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As llama-cpp-python does it where a CUDA library is missing."""
    (tmp_path / "broken_runner.py").write_text("raise RuntimeError('Failed to load shared library libcublas.so')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(LoadError, match=r"cannot be loaded: Failed to load shared library libcublas\.so"):
        auto.load(EngineSpec("broken_runner:Runner", ""))
    assert "broken_runner" not in sys.modules
