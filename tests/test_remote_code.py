"""Python code that a model's folder brings is never run; a folder that needs some is refused with a sentence. All
architectures of llama.cpp's converter, and conversions with torch, are tested in tests/convert/test_folders_code.py."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from running import CEILING, server_process
from tiny_models import write_folder, write_gguf

from nitro.cli.main import main
from nitro.convert import environments

WORKERS = Path(environments.__file__).with_name("workers")
ASK = """
import sys
sys.path.insert(0, sys.argv[1])
import remote_code
remote_code.forbid()
from transformers import AutoTokenizer
AutoTokenizer.from_pretrained(sys.argv[2], trust_remote_code=True)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An MLX model with a Python file that would write a marker beside the folder."""
    folder = write_folder(tmp_path / "model", "plain")
    (folder / "own.py").write_text(f"open({str(tmp_path / 'marker')!r}, 'w').close()\nclass Own: pass\n")
    return folder


def edit(file: Path, **changes: object) -> None:
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


@pytest.mark.parametrize("kind", ["OwnTokenizer", "PreTrainedTokenizerFast"])
def test_transformers_is_kept_from_it_whoever_trusts_the_folder(folder: Path, kind: str) -> None:
    """It is refused where nothing else would do, and merely not run where a class is known."""
    edit(folder / "config.json", model_type="own")
    map = {"AutoTokenizer": ["own.Own", "own.Own"]}
    edit(folder / "tokenizer_config.json", auto_map=map, tokenizer_class=kind, eos_token="<|im_end|>")
    command = [sys.executable, "-c", ASK, str(WORKERS), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert not (folder.parent / "marker").exists()
    if kind == "OwnTokenizer":
        refusal = f"ValueError: {folder} needs its own Python code (auto_map), which is never run"
        assert done.stderr.splitlines()[-1] == refusal
    else:
        assert done.returncode == 0, done.stderr


def test_mlx_lm_is_kept_from_it(folder: Path, tmp_path: Path) -> None:
    """To serve, to convert, and to compare."""
    edit(folder / "config.json", model_file="own.py", auto_map={"AutoModelForCausalLM": "own.Own"})
    refusal = f"nitro: {folder} needs its own Python code (model_file), which is never run.\n"
    with server_process(str(folder), "--engine", "mlx") as server:
        _, said = server.process.communicate(timeout=CEILING)
        assert (server.process.returncode, said.partition("\n")[2]) == (1, refusal)
    other = write_gguf(tmp_path / "other.gguf")
    for command in (["convert", folder, "--to", "gguf"], ["convert", folder, "--to", "hf"], ["verify", folder, other]):
        done = CliRunner().invoke(main, list(map(str, command)))
        assert (done.exit_code, done.output) == (1, refusal)
    assert not (tmp_path / "marker").exists()
