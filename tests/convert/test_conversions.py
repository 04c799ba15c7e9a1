"""Whole conversions, each proven by `nitro convert` itself, with transformers and llama.cpp's converter."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from real_models import write_hf, write_texts

from nitro.cli.main import main
from nitro.convert import checkpoint, environments, llama_cpp_converter, preflight
from nitro.convert.comparison import LIMITS
from nitro.errors import ConvertError
from nitro.gguf import header

pytestmark = pytest.mark.convert

TEXTS = ("tokenizer.json", "tokenizer_config.json")
BOTH = ("llama", "qwen2", "qwen3", "olmo2")
MLX_ONLY = ("gemma3_text",)  # llama.cpp's converter wants SentencePiece's own file for it


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory: pytest.TempPathFactory, smollm: Path) -> Path:
    """A folder with tiny checkpoints by kind, each with SmolLM2's tokenizer."""
    root = tmp_path_factory.mktemp("checkpoints")
    script = Path(__file__).with_name("make_checkpoints.py")
    python = environments.python("transformers", print)
    subprocess.run([str(python), "-P", str(script), str(root)], check=True, capture_output=True, env={})
    head = header.read(smollm)
    for folder in list(root.iterdir()):
        config = json.loads((folder / "config.json").read_text())
        write_texts(head, folder, {})
        (folder / "config.json").write_text(json.dumps(config))
    return root


@pytest.fixture(scope="session")
def original(tmp_path_factory: pytest.TempPathFactory, smollm: Path) -> Path:
    """SmolLM2 as an HF folder in float32."""
    return write_hf(smollm, tmp_path_factory.mktemp("original") / "smollm2")


def convert(source: Path, target: Path, *arguments: object) -> Result:
    command = ["convert", str(source), "-o", str(target), *map(str, arguments)]
    return CliRunner().invoke(main, command)


def proof(path: Path) -> dict:
    file = path / "nitro-proof.json" if path.is_dir() else path.with_name(path.name + ".proof.json")
    return json.loads(file.read_text())


@pytest.mark.parametrize(
    ("kind", "to"), [*((kind, to) for kind in BOTH for to in ("gguf", "mlx")), *((kind, "mlx") for kind in MLX_ONLY)]
)
def test_a_tiny_checkpoint(checkpoints: Path, tmp_path: Path, kind: str, to: str) -> None:
    target = tmp_path / ("made.gguf" if to == "gguf" else "made")
    done = convert(checkpoints / kind, target, "--to", to, "--positions", 64)
    assert done.exit_code == 0, done.output
    found = proof(target)
    assert found["passed"] and found["token_ids"] == "200 of 200" and found["chat_template"] == "equal"
    assert found["type"] == "F32" and found["scores"]["mean_kl"] <= LIMITS["F32"].mean
    assert found["scores"]["clear_positions"] >= 3, "the weights matter"


@pytest.mark.parametrize(
    ("to", "flag", "value", "type"),
    [("gguf", "--type", "Q4_K_M", "Q4_K"), ("mlx", "--recipe", "mixed_4_6", "4bit")],
)
def test_the_real_one(original: Path, tmp_path: Path, to: str, flag: str, value: object, type: str) -> None:
    target = tmp_path / ("made.gguf" if to == "gguf" else "made")
    done = convert(original, target, "--to", to, flag, value, "--positions", 200)
    assert done.exit_code == 0, done.output
    assert checkpoint.read(target).type == type
    assert 1e-6 < proof(target)["scores"]["mean_kl"] <= LIMITS[type].mean
    assert sorted(path.name for path in tmp_path.iterdir() if path != target) == (
        [target.name + ".proof.json"] if to == "gguf" else []
    )


def test_a_pre_tokenizer_that_is_not_recognised(original: Path, tmp_path: Path) -> None:
    """Before any weight is read."""
    for name in ("config.json", *TEXTS):
        shutil.copy(original / name, tmp_path)
    tokenizer = json.loads((tmp_path / "tokenizer.json").read_text())
    words = tokenizer["model"]["vocab"]
    words["3"], words["4"] = words["4"], words["3"]
    (tmp_path / "tokenizer.json").write_text(json.dumps(tokenizer))
    shutil.copy(original / "model.safetensors", tmp_path)
    with pytest.raises(ConvertError, match="BPE pre-tokenizer was not recognized"):
        preflight.check_vocabulary(tmp_path, llama_cpp_converter.folder(print), print)


def test_the_backends_hold_what_they_should() -> None:
    """Their pins exclude each other, and torch is in both."""
    ask = "import torch, transformers; print(torch.__version__.partition('+')[0], transformers.__version__)"
    for backend, release in (("transformers", "5.23.0"), ("converter", "4.57.6")):
        python = environments.python(backend, print)
        said = subprocess.run([str(python), "-c", ask], capture_output=True, text=True, check=True).stdout
        assert said.split() == ["2.13.0", release]
