"""`nitro list`, `show` and `rm`, and `nitro serve NAME`, with models where other programs have put them."""

import json
import shutil
from pathlib import Path

import pytest
import store_layouts
from click.testing import CliRunner, Result
from store_layouts import COMMIT, LAYOUTS
from test_stores import VARIABLES
from tiny_models import write_gguf

from nitro.cli.main import main
from nitro.errors import StartError
from nitro.models import fact_cache, fetched, model_source
from nitro.models.stores import registry


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in (*VARIABLES, "XDG_CACHE_HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME", registry.VARIABLE):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("NITRO_DATA", str(tmp_path / "data"))
    monkeypatch.setattr("sys.platform", "linux")
    fact_cache.shared.cache_clear()
    return tmp_path / "home"


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_gguf(tmp_path_factory.mktemp("tiny") / "tiny-Q4_0.gguf")


def nitro(*arguments: str, input: str | None = None) -> Result:
    return CliRunner().invoke(main, arguments, input=input, catch_exceptions=False)


def test_list(home: Path, tiny: Path, tmp_path: Path) -> None:
    name = store_layouts.ollama(home, tiny)
    cut = tmp_path / "cut.gguf"
    cut.write_bytes(tiny.read_bytes()[:-100])
    store_layouts.lm_studio(home, cut)
    done = nitro("list")
    assert done.exit_code == 0
    lines = {line.split()[0]: line for line in done.stdout.splitlines()}
    assert list(lines) == ["NAME", "maker/tiny-GGUF:Q4_K_M", name, "SmolLM2-135M-Instruct"]
    assert "llama, mlx" in lines[name] and "512" in lines[name] and lines[name].endswith("Ollama")
    assert "broken" in lines["maker/tiny-GGUF:Q4_K_M"] and "none" in lines["maker/tiny-GGUF:Q4_K_M"]
    assert "ends before its weights do" in done.stderr
    rows = {row["name"]: row for row in json.loads(nitro("list", "--json").stdout)}
    assert rows[name]["engines"] == ["llama", "mlx"] and rows[name]["context"] == 512
    assert rows[name]["size"] == tiny.stat().st_size and rows[name]["problem"] is None


def test_a_folder_of_ones_own(home: Path, tiny: Path) -> None:
    assert "tiny-Q4_0" in nitro("list", "--models", str(tiny.parent)).stdout
    done = nitro("list", "--models", str(home / "nowhere"))
    assert done.exit_code == 1 and "there is no such folder" in done.stderr


def test_show(home: Path, tiny: Path) -> None:
    name = store_layouts.jan(home, tiny)
    done = nitro("show", "maker/tiny_q4")
    assert done.exit_code == 0 and done.stdout.startswith(name)
    assert "Tiny Q4" in done.stdout and "512 tokens" in done.stdout and "Jan" in done.stdout
    about = json.loads(nitro("show", "--json", name).stdout)
    assert about["kv_bytes_per_token"] == 256 and about["layers"] == 2 and about["chat_template"]
    assert about["memory_at_start"] <= about["memory_at_most"] and not about["removable"]


def test_show_a_file_or_folder(home: Path, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As `nitro serve` takes them."""
    monkeypatch.chdir(tmp_path)
    shutil.copy(tiny, "x-Q4_0.gguf")
    shutil.copy(tiny, "mmproj-x-F16.gguf")
    Path("mlx").mkdir()
    Path("mlx/config.json").write_text('{"model_type": "llama"}')
    Path("text.gguf").write_text("no model")
    for name in ("x-Q4_0.gguf", "./x-Q4_0.gguf", str(tmp_path / "x-Q4_0.gguf")):
        about = json.loads(nitro("show", "--json", name).stdout)
        assert (about["name"], about["path"]) == ("x-Q4_0", str(tmp_path / "x-Q4_0.gguf"))
        assert about["projector"] == str(tmp_path / "mmproj-x-F16.gguf") and about["layers"] == 2
    assert "is missing; fetch the model again" in nitro("show", "mlx").stdout
    assert "problem" in nitro("show", "text.gguf").stdout
    assert nitro("show", "nowhere.gguf").exit_code == 1 == nitro("show", "a\0b").exit_code


def test_a_name_that_means_nothing_or_much(home: Path, tiny: Path) -> None:
    store_layouts.ollama(home, tiny)
    for command in ("show", "rm"):
        done = nitro(command, "gpt-4")
        assert done.exit_code == 1 and done.stderr.startswith("nitro: There is no model 'gpt-4' here; there are Smol")


def test_what_others_have_called_a_file_is_safe_to_print(home: Path, tiny: Path) -> None:
    folder = home / "\x1b]0;models"
    folder.mkdir(parents=True)
    shutil.copy(tiny, folder / "whole.gguf")
    (folder / "cut.gguf").write_bytes(tiny.read_bytes()[:-100])
    for arguments in (("list",), ("show", "whole"), ("show", "cut"), ("rm", "whole")):
        done = nitro(*arguments, "--models", str(folder))
        assert "\x1b" not in done.stdout + done.stderr, arguments


def test_a_store_that_is_none(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(registry.VARIABLE, "hub, olama")
    said = "NITRO_STORES: there is no store 'olama'; there are hub, lm_studio, ollama, jan, llama_cpp."
    done = nitro("list")
    assert (done.exit_code, done.stderr) == (1, f"nitro: {said}\n")
    done = nitro("serve")
    assert done.exit_code == 1 and said in done.stderr, "before a request asks for a model"


# rm


@pytest.mark.parametrize(
    "layout, command", [("ollama", "ollama rm tiny:1b"), ("lm_studio", "lms rm"), ("hub", "hf cache")]
)
def test_what_is_not_nitros_stays(home: Path, tiny: Path, layout: str, command: str) -> None:
    name = LAYOUTS[layout](home, tiny)
    before = sorted(home.rglob("*"))
    done = nitro("rm", "--yes", name[:-1])
    assert done.exit_code == 1 and f"is it {name} that is meant?" in done.stderr
    done = nitro("rm", "--yes", name)
    assert done.exit_code == 1 and "was not fetched by Nitro" in done.stderr and command in done.stderr
    assert sorted(home.rglob("*")) == before


def test_the_command_has_the_name_that_its_program_knows(home: Path, tiny: Path, tmp_path: Path) -> None:
    name = store_layouts.ollama(home, tiny)
    shutil.copy(tiny, tmp_path / f"{name}.gguf")
    done = nitro("rm", "--yes", "--models", str(tmp_path), f"{name}@ollama")
    assert done.exit_code == 1 and done.stderr.endswith(f"ollama rm {name}\n")


def test_a_folders_models_and_the_embedded_one_stay(home: Path, tiny: Path) -> None:
    done = nitro("rm", "--yes", "--models", str(tiny.parent), "tiny-Q4_0")
    assert done.exit_code == 1 and "a folder of yours" in done.stderr and tiny.exists()
    assert "comes with Nitro" in nitro("rm", "--yes", "SmolLM2-135M-Instruct").stderr


def repository(home: Path, tiny: Path, *files: str) -> Path:
    """A repository that Nitro fetched, with blobs of its own."""
    folder = home / ".cache/huggingface/hub/models--maker--x"
    for name in files:
        pointer = folder / "snapshots" / COMMIT / name
        blob = folder / "blobs" / f"of-{name}"
        for made in (pointer, blob):
            made.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(tiny, blob)
        pointer.symlink_to(Path("../../blobs") / blob.name)
    (folder / "refs").mkdir()
    (folder / "refs/main").write_text(COMMIT)
    fetched.add("maker/x", COMMIT, [folder / "snapshots" / COMMIT / name for name in files])
    return folder


def test_what_nitro_fetched_is_removed(home: Path, tiny: Path) -> None:
    folder = repository(home, tiny, "x-Q4_0.gguf", "x-Q8_0.gguf", "mmproj-F16.gguf")
    assert nitro("rm", "maker/x:Q4_0", input="n\n").exit_code == 1
    assert (folder / "blobs/of-x-Q4_0.gguf").exists(), "it asks"
    done = nitro("rm", "maker/x:Q4_0", input="y\n")
    assert done.exit_code == 0 and "are free again" in done.stdout
    assert {blob.name for blob in (folder / "blobs").iterdir()} == {"of-x-Q8_0.gguf", "of-mmproj-F16.gguf"}
    assert nitro("rm", "--yes", "maker/x").exit_code == 0
    assert not folder.exists()
    assert fetched.read() == {}


def test_a_folder_of_which_nitro_fetched_a_gguf_only_is_not_nitros(home: Path, tiny: Path) -> None:
    folder = repository(home, tiny, "x-Q4_0.gguf", "x-Q8_0.gguf")
    checkpoint(folder)
    before = sorted(folder.rglob("*"))
    done = nitro("rm", "--yes", "maker/x")
    assert done.exit_code == 1 and "was not fetched by Nitro" in done.stderr
    assert sorted(folder.rglob("*")) == before


def test_of_a_folder_what_nitro_fetched_is_removed(home: Path, tiny: Path) -> None:
    folder = repository(home, tiny, "x-Q4_0.gguf", "x-Q8_0.gguf")
    ours = checkpoint(folder)
    fetched.add("maker/x", COMMIT, ours)
    (ours[0].parent / "README.md").write_text("Another program's.")
    assert nitro("rm", "--yes", "maker/x").exit_code == 0
    left = {file.name for file in ours[0].parent.iterdir()}
    assert left == {"README.md", "x-Q4_0.gguf", "x-Q8_0.gguf"}
    assert not fetched.read()["maker/x"] & set(map(str, ours))


@pytest.mark.parametrize("began", [False, True])
def test_what_nitro_fetched_in_part_is_removed(home: Path, began: bool) -> None:
    """Nothing but the part is there, or small files of the repository are too."""
    folder = home / ".cache/huggingface/hub/models--maker--x"
    (folder / "blobs").mkdir(parents=True)
    part, other = (folder / "blobs" / f"{name}.incomplete" for name in ("abc.nitro", "def"))
    part.write_bytes(bytes(1000))
    if began:
        (folder / "snapshots" / COMMIT).mkdir(parents=True)
        other.write_bytes(b"Another program's.")
    assert "`nitro rm maker/x` removes what is here" in nitro("list").stderr
    done = nitro("rm", "--yes", "maker/x")
    assert (done.exit_code, done.stdout) == (0, "Removed maker/x; 1000 B are free again.\n")
    assert not part.exists() and other.exists() == folder.exists() == began
    done = nitro("rm", "--yes", "maker/x")
    assert done.exit_code == 1 and "half fetched" not in done.stderr


def checkpoint(folder: Path) -> list[Path]:
    """A model for MLX beside what else is in the snapshot."""
    files = {"config.json": '{"model_type": "llama"}', "tokenizer.json": "{}", "model.safetensors": "weights"}
    found = [folder / "snapshots" / COMMIT / name for name in files]
    for file in found:
        file.write_text(files[file.name])
    return found


def test_a_blob_that_another_commit_has_stays(home: Path, tiny: Path) -> None:
    folder = repository(home, tiny, "x-Q4_0.gguf")
    older = folder / "snapshots/older/x-Q4_0.gguf"
    older.parent.mkdir()
    older.symlink_to("../../blobs/of-x-Q4_0.gguf")
    assert nitro("rm", "--yes", "maker/x").exit_code == 0
    assert older.exists()


def test_a_blob_in_a_store_that_is_shared_stays(home: Path, tiny: Path) -> None:
    folder = repository(home, tiny, "x-Q4_0.gguf")
    blob = folder / "blobs/of-x-Q4_0.gguf"
    shared = home / ".cache/huggingface/hub/blobs/ab/abcd"
    shared.parent.mkdir(parents=True)
    blob.rename(shared)
    blob.symlink_to(shared)
    assert nitro("rm", "--yes", "maker/x").exit_code == 0
    assert shared.exists() and not folder.exists()


def test_a_pointer_never_leads_out_of_the_repository(home: Path, tiny: Path, tmp_path: Path) -> None:
    folder = repository(home, tiny, "x-Q4_0.gguf")
    other = shutil.copy(tiny, tmp_path / "other.gguf")
    pointer = folder / "snapshots" / COMMIT / "x-Q4_0.gguf"
    pointer.unlink()
    pointer.symlink_to(other)
    assert nitro("rm", "--yes", "maker/x").exit_code == 0
    assert Path(other).exists() and not pointer.is_symlink()


# serve NAME


def test_a_name_is_found_in_the_stores(home: Path, tiny: Path) -> None:
    name = store_layouts.ollama(home, tiny)
    source = model_source.find("TINY", None, "auto")
    assert (source.id, source.stem) == (name, name) and Path(source.path).samefile(tiny)
    assert model_source.find("tiny", "gpt-4", "auto").id == "gpt-4"
    assert model_source.find("tiny-Q4", None, "auto", [tiny.parent]).path == str(tiny)
    embedded = model_source.find("smollm", None, "auto")
    assert embedded == model_source.find(None, None, "auto"), "with its own defaults"


def test_a_file_wins_over_a_name(home: Path, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store_layouts.ollama(home, tiny)
    shutil.copy(tiny, tmp_path / "tiny:1b")
    monkeypatch.chdir(tmp_path)
    assert model_source.find("tiny:1b", None, "auto").path == "tiny:1b"


def test_what_is_no_name(home: Path, tiny: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut.gguf"
    cut.write_bytes(tiny.read_bytes()[:-100])
    store_layouts.ollama(home, cut)
    for name, words in (
        ("maker/x", "`nitro pull maker/x` fetches it"),
        ("maker/x:Q4_K_M", "`nitro pull maker/x:Q4_K_M` fetches it"),
        ("gpt-4", "no model of this name is on this machine; `nitro list` lists those that are here: SmolLM2"),
        ("tiny", "ends before its weights do"),
        ("x.gguf", "x.gguf: no such file."),
        ("./tiny", "./tiny: no such file."),
    ):
        with pytest.raises(StartError) as caught:
            model_source.find(name, None, "auto")
        assert words in str(caught.value)
