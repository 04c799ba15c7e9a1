"""`nitro verify` with the real default model: its GGUF beside itself, its MLX twin, and models with a fault each."""

import json
import shutil
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from click.testing import CliRunner, Result
from doctored import doctor
from real_models import write_mlx
from references import computed_once
from running import RunningServer
from tiny_models import write_gguf

from nitro.cli.main import main
from nitro.convert import verify
from nitro.convert.comparison import LIMITS, SAME
from nitro.engines.types import ModelInfo
from nitro.models.handle import ServedModel
from nitro.models.model_source import ModelSource


@pytest.fixture(scope="module", autouse=True)
def each_reference_is_computed_once(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with computed_once(tmp_path_factory.mktemp("references")):
        yield


@pytest.fixture(scope="module")
def mlx(smollm: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_mlx(smollm, tmp_path_factory.mktemp("twin") / "smollm")


def test_the_corpus() -> None:
    corpus = verify.corpus()
    assert len(corpus["strings"]) == len(set(corpus["strings"])) == 200
    assert len(corpus["texts"]) >= 6
    assert all(unicodedata.is_normalized("NFC", text) for text in (*corpus["strings"], *corpus["texts"]))
    assert sum(any(low <= ord(char) <= high for char in "".join(corpus["strings"])) for low, high in SCRIPTS) == len(
        SCRIPTS
    )


SCRIPTS = [
    *((0x400, 0x4FF), (0x370, 0x3FF), (0x590, 0x5FF), (0x600, 0x6FF), (0x900, 0x97F), (0xB80, 0xBFF), (0xE00, 0xE7F)),
    *((0x10A0, 0x10FF), (0x3040, 0x309F), (0x30A0, 0x30FF), (0x4E00, 0x9FFF), (0xAC00, 0xD7AF), (0x1F600, 0x1F64F)),
]


def test_a_gguf_and_its_mlx_twin(smollm: Path, mlx: Path) -> None:
    """Only the kernels differ: the numbers that the engines' own comparison gave."""
    found = verify.verify(smollm, mlx, 200)
    assert found.passed, found.failures
    assert (found.token_ids, found.vocabulary, found.chat_template) == ("200 of 200", "49152 of 49152", "equal")
    assert (found.reference_type, found.type) == ("Q4_1", "4bit")
    assert (found.matrices, found.settings) == (211, 5)
    assert 1e-6 < found.scores.mean_kl <= SAME.mean
    assert found.scores.positions >= 190 and found.scores.top1 >= SAME.top1


SEEN_BY_LOGITS = {"permuted heads": "Q4_K", "swapped tensor": "Q5_K", "rope base": "Q6_K"}  # down to such types


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        ("tokenizer", "token ids differ in"),
        ("rare tokens", "2 of 49152 tokens differ, such as 40012 ('Ġpowerless', 'Ġdiplomats'), 40026"),
        ("permuted heads", "60 of 211 matrices differ, such as model.layers."),
        ("swapped tensor", "2 of 211 matrices differ, such as model.layers.1.mlp."),
        ("rope base", "the rope base is 10000, and 100000 in the reference"),
        ("stale template", "the chat template renders a different prompt"),
    ],
)
def test_a_fault_is_caught(smollm: Path, tmp_path: Path, fault: str, says: str) -> None:
    found = verify.verify(smollm, doctor(smollm, tmp_path / "doctored.gguf", fault), 200)
    assert not found.passed
    assert any(says in line for line in found.failures), found.failures
    assert (found.token_ids == "200 of 200") == (fault != "tokenizer"), "which the strings alone do not see"
    if least := SEEN_BY_LOGITS.get(fault):
        assert found.scores.mean_kl > LIMITS[least].mean


def test_a_stale_template_in_a_folder_is_caught(smollm: Path, mlx: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(mlx, tmp_path / "stale")
    (folder / "chat_template.jinja").write_text("{% for m in messages %}{{ m.content }}{% endfor %}")
    (folder / "config.json").write_text((folder / "config.json").read_text().replace("100000", "10000"))
    found = verify.verify(smollm, folder, 200)
    assert [line.split(" ")[2] for line in found.failures if "template" in line] == ["template"]
    assert "the rope base is 10000, and 100000 in the reference" in found.failures


def nitro(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def test_the_command_tells_and_writes(tmp_path: Path) -> None:
    one, other = write_gguf(tmp_path / "one.gguf"), write_gguf(tmp_path / "other.gguf", seed=1)
    twin = write_gguf(tmp_path / "twin.gguf")
    done = nitro("verify", one, twin, "--positions", 64)
    assert done.exit_code == 0 and "passed" in done.stdout and "200 of 200" in done.stdout
    assert json.loads((tmp_path / "twin.gguf.proof.json").read_text())["passed"] is True
    done = nitro("verify", one, other, "--positions", 64)
    assert done.exit_code == 1 and "FAILED: 16 of 16 matrices" in done.stdout and "mean KL" in done.stdout
    assert json.loads((tmp_path / "other.gguf.proof.json").read_text())["passed"] is False
    done = nitro("verify", twin, other, "--reference", one, "--positions", 64)
    assert done.exit_code == 1 and done.stdout.count("one.gguf") == 2


def test_what_cannot_be_read_is_one_line(tmp_path: Path) -> None:
    done = nitro("verify", tmp_path / "none", tmp_path)
    assert (done.exit_code, done.stderr) == (1, f"nitro: {tmp_path / 'none'}: no such file or folder.\n")


def test_a_proof_is_shown_of_the_same_weights_only(tmp_path: Path) -> None:
    model = write_gguf(tmp_path / "one.gguf")
    served = ServedModel(ModelSource(str(model), "one", 0), engine=None)
    own, others = (_info(mark) for mark in (verify.fingerprint_of(model), "another"))
    assert served.proof(own) is None
    verify.write(model, verify.verify(model, model, 64))
    assert served.proof(own)["passed"] is True
    assert served.proof(others) is None
    verify.path_for(model).write_text("{")
    assert served.proof(own) is None


def test_the_server_shows_it(tmp_path: Path, serve: Callable[..., RunningServer]) -> None:
    model = write_gguf(tmp_path / "one.gguf")
    verify.write(model, verify.verify(model, model, 64))
    server = serve(engine="llama", model=str(model), context=64, parallel=1).ready()
    described = httpx.get(f"{server.url}/v1/models").json()["data"][0]
    assert described["proof"]["passed"] is True
    assert described["proof"]["token_ids"] == "200 of 200"


def _info(fingerprint: str) -> ModelInfo:
    class Info:
        pass

    info = Info()
    info.fingerprint = fingerprint
    return info
