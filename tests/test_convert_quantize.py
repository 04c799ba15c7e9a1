"""Quantising beyond a type's name: importance matrices for GGUF, and recipes of mixed bits for MLX."""

import json
import subprocess
import sys
from pathlib import Path

import gguf
import numpy as np
import pytest
import tiny_models
from click.testing import CliRunner
from running import RunningServer

from nitro.cli.main import main
from nitro.config import ServeConfig
from nitro.convert import checkpoint, environments
from nitro.convert.checkpoint import FTYPES
from nitro.convert.plan import NEED_IMATRIX
from nitro.errors import ConvertError

NAME = "blk.0.ffn_down.weight"
IMPORTANT = 8  # columns at the front

# Importance matrices


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Wide enough for K-quants."""
    return tiny_models.write_gguf(tmp_path / "wide.gguf", width=256)


def write_imatrix(source: Path, target: Path, columns: int | None = None) -> Path:
    """As llama-imatrix writes it: of each matrix the sums of squares by column, and how many were added."""
    writer = gguf.GGUFWriter(target, "")
    writer.add_type("imatrix")
    writer.add_array("imatrix.datasets", ["text"])
    writer.add_uint32("imatrix.chunk_count", 1)
    writer.add_uint32("imatrix.chunk_size", 512)
    for name, weight in checkpoint.read(source).weights.items():
        if name.startswith("blk.") and len(weight.shape) == 2:
            sums = np.full((1, columns or weight.shape[1]), 0.01, np.float32)
            sums[:, :IMPORTANT] = 1000.0
            writer.add_tensor(f"{name}.in_sum2", sums * 4)
            writer.add_tensor(f"{name}.counts", np.full((1, 1), 4, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return target


def quantize(source: Path, target: Path, type: str, imatrix: Path | None = None) -> np.ndarray:
    """The values of one matrix of what was made."""
    request = {"source": source, "target": target, "ftype": FTYPES[type], "imatrix": imatrix, "requantize": False}
    environments.run("llama", "quantize_gguf", request)
    return values(target)


def values(file: Path) -> np.ndarray:
    tensor = next(tensor for tensor in gguf.GGUFReader(file).tensors if tensor.name == NAME)
    return gguf.quants.dequantize(tensor.data, tensor.tensor_type)


@pytest.mark.parametrize("type", ["Q4_0", "Q4_K_M", "IQ4_XS"])
def test_what_matters_is_kept_better(source: Path, tmp_path: Path, type: str) -> None:
    imatrix = write_imatrix(source, tmp_path / "imatrix.gguf")
    made = quantize(source, tmp_path / "with.gguf", type, imatrix), quantize(source, tmp_path / "without.gguf", type)
    error = [np.abs(each - values(source))[:, :IMPORTANT].mean() for each in made]
    assert error[0] < 0.9 * error[1]


def test_a_type_of_two_bits(source: Path, tmp_path: Path) -> None:
    made = quantize(source, tmp_path / "q.gguf", "IQ2_XXS", write_imatrix(source, tmp_path / "imatrix.gguf"))
    assert checkpoint.read(tmp_path / "q.gguf").weights[NAME].type.startswith("IQ2")
    assert np.corrcoef(made.ravel(), values(source).ravel())[0, 1] > 0.5


def test_the_types_that_need_one(source: Path, tmp_path: Path) -> None:
    """The table is llama.cpp's: each type is tried without."""
    script = tmp_path / "tries.py"
    script.write_text(
        "import json, sys\n"
        f"sys.path.insert(0, {str(environments.WORKER_SCRIPT.parent)!r})\n"
        "import quantize_gguf\n"
        "refused = []\n"
        f"for name, ftype in {FTYPES!r}.items():\n"
        f"    request = dict(source={str(source)!r}, target={str(tmp_path / 'tried.gguf')!r}, ftype=ftype)\n"
        "    try:\n"
        "        quantize_gguf.run(request | dict(imatrix=None, requantize=False, threads=1))\n"
        "    except ValueError as error:\n"
        "        refused.append((name, str(error)))\n"
        "print(json.dumps(refused))\n"
    )
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=True)
    refused = dict(json.loads(done.stdout.splitlines()[-1]))
    assert set(refused) == set(NEED_IMATRIX), refused
    assert all("importance matrix" in why or "imatrix" in why for why in refused.values()), refused


BAD = {
    "no GGUF": (lambda file, source: file.write_bytes(b"\x05\0\0\0not one"), "is not an importance matrix in GGUF"),
    "a model": (lambda file, source: file.write_bytes(source.read_bytes()), "is not an importance matrix in GGUF"),
    "a folder": (lambda file, source: file.mkdir(), "no such file"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_no_matrix(source: Path, tmp_path: Path, case: str) -> None:
    write, says = BAD[case]
    write(tmp_path / "imatrix", source)
    command = ["convert", str(source), "--to", "gguf", "--type", "Q4_0", "--imatrix", str(tmp_path / "imatrix")]
    done = CliRunner().invoke(main, command)
    assert done.exit_code == 1 and says in done.stderr and done.stderr.count("\n") == 1


def test_a_matrix_of_another_model(source: Path, tmp_path: Path) -> None:
    with pytest.raises(ConvertError, match=r"imatrix size 64 is different from tensor size 256 for blk\.0"):
        quantize(source, tmp_path / "q.gguf", "Q4_0", write_imatrix(source, tmp_path / "imatrix.gguf", columns=64))


# Recipes


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("recipe")
    source = tiny_models.write_folder(folder / "source", "plain")
    about = json.loads((source / "tokenizer_config.json").read_text())
    (source / "tokenizer_config.json").write_text(json.dumps({**about, "eos_token": about["eos_token"]["content"]}))
    request = {
        "check": False,
        "config": json.loads((source / "config.json").read_text()),
        "source": source,
        "target": folder / "mixed",
        "bits": None,
        "group_size": 32,
        "recipe": "mixed_3_6",
        "dtype": None,
    }
    environments.run("mlx", "hf_to_mlx", request)
    return folder / "mixed"


def test_layers_have_different_bits(mixed: Path) -> None:
    weights, kept = checkpoint.read(mixed).weights, json.loads((mixed / "config.json").read_text())["quantization"]
    first, last = (f"model.layers.{number}.mlp.down_proj" for number in (0, 1))
    bits = {layer: weights[f"{layer}.weight"].shape[1] * 32 // tiny_models.FEED_FORWARD for layer in (first, last)}
    assert bits == {first: 3, last: 6} == {layer: kept[layer]["bits"] for layer in (first, last)}


def test_its_type_is_that_of_most_weights(mixed: Path) -> None:
    """Of which the limits of its proof are chosen; config.json's default says 4."""
    found, source = checkpoint.read(mixed), checkpoint.read(mixed.with_name("source"))
    assert found.type == "3bit"
    assert found.parameters == source.parameters


def test_it_is_served(mixed: Path) -> None:
    with RunningServer(ServeConfig(engine="mlx", model=str(mixed), port=0, context=128)) as server:
        reply = (
            server.ready()
            .client()
            .chat.completions.create(
                model="", messages=[{"role": "user", "content": "Hello"}], temperature=0, max_tokens=8
            )
        )
    assert reply.usage.completion_tokens > 0 and reply.model == "mixed"


def test_an_unknown_recipe(tmp_path: Path) -> None:
    done = CliRunner().invoke(main, ["convert", str(tmp_path), "--to", "mlx", "--recipe", "mixed_9_9"])
    assert done.exit_code == 2
    assert all(name in done.output for name in ("mixed_2_6", "mixed_3_4", "mixed_3_6", "mixed_4_6"))
