"""An embedding model (BERT), from transformers' layout to a GGUF and proven; there is none of it for MLX."""

import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from gguf import GGUFReader

from bench.minilm import folder
from nitro.cli.main import main
from nitro.convert import checkpoint, verify

pytestmark = pytest.mark.convert


@pytest.fixture(scope="session")
def minilm() -> Path:
    return folder()


@pytest.fixture(scope="module")
def converted(minilm: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("made") / "minilm.gguf"
    done = nitro("convert", minilm, "--to", "gguf", "-o", target, "--positions", 384)
    assert done.exit_code == 0, done.output
    assert "nitro serve" not in done.stderr
    return target


def nitro(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def test_it_is_proven(converted: Path) -> None:
    found = json.loads(verify.path_for(converted).read_text())
    assert found["passed"] and found["vocabulary"] == "30522 of 30522"
    assert found["token_ids"] == "195 of 200", "llama.cpp's WordPiece drops vowel signs and Hangul"
    assert found["scores"]["texts"] == 6 and found["scores"]["least"] > 0.99999


def test_quantised(minilm: Path, tmp_path: Path) -> None:
    target = tmp_path / "minilm.gguf"
    done = nitro("convert", minilm, "--to", "gguf", "--type", "Q8_0", "-o", target, "--positions", 384)
    assert done.exit_code == 0, done.output
    assert 0.998 < json.loads(verify.path_for(target).read_text())["scores"]["least"] < 0.99999


def test_a_fault_is_caught(converted: Path, tmp_path: Path) -> None:
    for first, second in (("blk.1.attn_q.weight", "blk.4.attn_q.weight"), ("blk.1.ffn_up.bias", "blk.4.ffn_up.bias")):
        wrong = shutil.copyfile(converted, tmp_path / "doctored.gguf")
        found = {tensor.name: tensor.data for tensor in GGUFReader(wrong, "r+").tensors}
        one, other = found[first], found[second]
        one[:], other[:] = other.copy(), one.copy()
        done = verify.verify(converted, wrong, 384)
        assert not done.passed and "an embedding's cosine" in done.failures[0], first


def test_mlx_has_none_of_it(minilm: Path, tmp_path: Path) -> None:
    done = nitro("convert", minilm, "--to", "mlx", "-o", tmp_path / "made")
    assert done.exit_code == 1
    assert done.stderr.count("\n") == 1 and "has the architecture 'bert', which mlx-lm" in done.stderr


def test_it_is_no_model_of_another_kind(minilm: Path, smollm: Path) -> None:
    assert checkpoint.read(minilm).is_encoder and not checkpoint.read(smollm).is_encoder
    done = nitro("verify", minilm, smollm)
    assert done.exit_code == 1 and "is a model for embeddings, and the other is not" in done.stderr
