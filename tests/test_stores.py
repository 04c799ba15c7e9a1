"""Models where other programs have put them: each layout is found, read and named; what is broken says so."""

import errno
import json
import os
import shutil
from pathlib import Path

import pytest
import store_layouts
from msgspec.structs import replace
from store_layouts import LAYOUTS
from tiny_models import write_gguf

from nitro.gguf import header
from nitro.models import facts, fetched
from nitro.models.catalog import Catalog
from nitro.models.fact_cache import FactCache
from nitro.models.stored_model import StoredModel
from nitro.models.stores import registry, scan
from soak.gguf_parts import take_apart

VARIABLES = ("OLLAMA_MODELS", "JAN_DATA_FOLDER", "LLAMA_CACHE", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HOME")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home folder without models, in which all stores are looked for."""
    folder = tmp_path / "home"
    folder.mkdir()
    for name in (*VARIABLES, "XDG_CACHE_HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME", registry.VARIABLE):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.setenv("NITRO_DATA", str(folder / "nitro"))
    monkeypatch.setattr("sys.platform", "linux")
    return folder


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_gguf(tmp_path_factory.mktemp("tiny") / "tiny-Q4_0.gguf")


def checkpoint(folder: Path) -> Path:
    """The files of a model for MLX, without what they would hold."""
    folder.mkdir(parents=True)
    config = {"model_type": "llama", "quantization": {"bits": 4, "group_size": 64}, "max_position_embeddings": 2048}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "tokenizer.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(bytes(1000))
    return folder


def stored(*folders: Path) -> dict[str, StoredModel]:
    """By name, without the embedded model."""
    models = scan.models(folders, True, cache=FactCache(Path(os.environ["NITRO_DATA"]) / "facts"))
    return {model.name: model for model in models if model.store != "embedded"}


def only(*folders: Path) -> StoredModel:
    (found,) = stored(*folders).values()
    return found


@pytest.mark.parametrize("layout", LAYOUTS)
def test_each_layout_is_read(home: Path, tiny: Path, layout: str) -> None:
    name = LAYOUTS[layout](home, tiny)
    before = {file: file.lstat().st_mtime_ns for file in home.rglob("*")}
    found = only()
    assert (found.name, found.problem, found.format, found.architecture) == (name, None, "gguf", "llama")
    assert Path(found.path).samefile(tiny)
    assert found.trained_context == 512 and found.size == tiny.stat().st_size
    assert not found.removable
    after = {file: file.lstat().st_mtime_ns for file in home.rglob("*") if "nitro" not in file.parts}
    assert after == {file: time for file, time in before.items() if file in after}, "nothing is written"
    assert set(before) == set(after)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_lost_file_is_listed_with_the_cure(home: Path, tiny: Path, layout: str, tmp_path: Path) -> None:
    lost = shutil.copy(tiny, tmp_path / "lost.gguf")
    name = LAYOUTS[layout](home, lost)
    lost.unlink()
    assert "fetch" in (stored()[name].problem or "")


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_cut_file_is_listed_with_the_cure(home: Path, tiny: Path, layout: str, tmp_path: Path) -> None:
    cut = tmp_path / "cut.gguf"
    cut.write_bytes(tiny.read_bytes()[:-1000])
    name = LAYOUTS[layout](home, cut)
    problem = stored()[name].problem or ""
    assert "ends before its weights" in problem and "etch it again" in problem


def test_all_at_once_and_only_those_that_are_named(
    home: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    names = set()
    for number, (layout, make) in enumerate(LAYOUTS.items()):
        file = shutil.copy(tiny, tmp_path / f"{number}.gguf")
        names.add(make(home, file))
        assert layout
    assert set(stored()) == names
    monkeypatch.setenv(registry.VARIABLE, "ollama, jan")
    assert {model.store for model in stored().values()} == {"ollama", "jan"}
    monkeypatch.setenv(registry.VARIABLE, "")
    assert stored() == {}


def test_a_folder_that_cannot_be_read_is_told_once(
    home: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuses(root: Path) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(root))

    broken = replace(registry.OLLAMA, roots=lambda: [home], find=refuses)
    monkeypatch.setattr(registry, "STORES", (broken,))
    assert stored() == stored() == {}
    assert [record.message for record in caplog.records] == [f"Ollama: {home} cannot be read: Permission denied"]


def test_one_file_that_cannot_be_looked_at_does_not_hide_the_others(home: Path, tiny: Path) -> None:
    """The system refuses names that are too long, to everybody."""
    name = store_layouts.jan(home, tiny)
    folder = home / ".local/share/Jan/data/llamacpp/models/a"
    folder.mkdir(parents=True)
    (folder / "model.yml").write_text(f"model_path: /{'x' * 300}.gguf\n")
    found = stored()
    assert found[name].problem is None and "is missing" in (found["a"].problem or "")


def test_a_file_in_two_stores_is_listed_once(home: Path, tiny: Path) -> None:
    name = store_layouts.lm_studio(home, tiny)
    path = home / ".lmstudio/models"
    found = stored(path)
    assert list(found) == ["tiny-Q4_K_M"] and found["tiny-Q4_K_M"].store == "folder", "--models comes first"
    assert name in stored()


def test_models_that_are_called_the_same_have_names_of_their_own(home: Path, tiny: Path, tmp_path: Path) -> None:
    other = shutil.copy(tiny, tmp_path / "other.gguf")
    store_layouts.hub(home, tiny, "tiny-Q4_K_M.gguf")
    name = store_layouts.lm_studio(home, other)
    assert set(stored()) == {name, f"{name}@lm_studio"}
    assert Catalog().find(name).store == "hub", "the first of the stores"


# Ollama


def test_ollamas_names(home: Path, tiny: Path) -> None:
    for name in ("registry.ollama.ai/library/a/latest", "ollama.com/me/b/7b", "hf.co/maker/c-GGUF/Q4_K_M"):
        file = home / f"{name.replace('/', '-')}.gguf"
        store_layouts.ollama(home, Path(shutil.copy(tiny, file)), name)
    found = stored()
    assert set(found) == {"a:latest", "me/b:7b", "hf.co/maker/c-GGUF:Q4_K_M"}
    assert found["a:latest"].names == ("a",)
    assert "maker/c-GGUF:Q4_K_M" in found["hf.co/maker/c-GGUF:Q4_K_M"].names


def test_ollamas_newer_manifests_come_first(home: Path, tiny: Path, tmp_path: Path) -> None:
    other = shutil.copy(tiny, tmp_path / "other.gguf")
    store_layouts.ollama(home, other)
    store_layouts.ollama(home, tiny, v2=True)
    assert Path(only().path).samefile(tiny)


def test_ollamas_manifest_of_several_forms(home: Path, tiny: Path) -> None:
    store_layouts.ollama(home, tiny)
    file = home / ".ollama/models/manifests/registry.ollama.ai/library/tiny/1b"
    gguf = {"runner": "llamacpp", "format": "gguf", **json.loads(file.read_text())}
    tensors = {"runner": "mlx", "layers": [{"mediaType": "application/vnd.ollama.image.tensor", "digest": ""}]}
    file.write_text(json.dumps({"mediaType": "application/vnd.ollama.manifest.list.v2+json", "manifests": [tensors]}))
    assert "only Ollama opens" in (only().problem or "")
    file.write_text(json.dumps({"manifests": [tensors, gguf]}))
    assert only().problem is None


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", '{"layers": 3}', '{"layers": [3, {"mediaType": 4}]}', "[" * 999]
)
def test_a_damaged_manifest(home: Path, text: str) -> None:
    file = home / ".ollama/models/manifests/registry.ollama.ai/library/broken/latest"
    file.parent.mkdir(parents=True)
    file.write_text(text)
    assert "ollama pull broken" in (only().problem or "")


@pytest.mark.parametrize("digest", ["sha256:../../../etc/passwd", "../x", "sha256:" + "g" * 64, 7, None])
def test_a_digest_never_leads_out_of_the_store(home: Path, digest: object) -> None:
    layer = {"mediaType": "application/vnd.ollama.image.model", "digest": digest}
    file = home / ".ollama/models/manifests/registry.ollama.ai/library/evil/latest"
    file.parent.mkdir(parents=True)
    file.write_text(json.dumps({"layers": [layer]}))
    assert only().path == str(file) and only().problem


# LM Studio, Jan, llama.cpp


def test_lm_studio_elsewhere(home: Path, tiny: Path, tmp_path: Path) -> None:
    name = store_layouts.lm_studio(tmp_path, tiny)
    (home / ".lmstudio-home-pointer").write_text(f"{tmp_path / '.lmstudio'}\n")
    assert list(stored()) == [name]
    (home / ".lmstudio-home-pointer").unlink()
    (home / ".lmstudio").mkdir()
    (home / ".lmstudio/settings.json").write_text(json.dumps({"downloadsFolder": str(tmp_path / ".lmstudio/models")}))
    assert list(stored()) == [name]


def test_lm_studio_has_folders_for_mlx(home: Path) -> None:
    checkpoint(home / ".lmstudio/models/mlx-community/tiny-4bit")
    found = only()
    assert (found.name, found.problem) == ("mlx-community/tiny-4bit", None)
    assert (found.format, found.architecture) == ("mlx", "llama")
    assert (found.quantization, found.trained_context) == ("4-bit", 2048)


def test_jan_elsewhere(home: Path, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = store_layouts.jan(tmp_path, tiny)
    data = tmp_path / ".local/share/Jan/data"
    settings = home / ".local/share/Jan/settings.json"
    settings.parent.mkdir(parents=True)
    settings.write_text(json.dumps({"data_folder": str(data), "quick_ask": False}))
    assert list(stored()) == [name]
    settings.write_text("{")
    assert stored() == {}
    monkeypatch.setenv("JAN_DATA_FOLDER", str(data))
    assert list(stored()) == [name]


def test_jan_imports_files_that_lie_elsewhere(home: Path, tiny: Path) -> None:
    folder = home / ".local/share/Jan/data/llamacpp/models/imported"
    folder.mkdir(parents=True)
    (folder / "model.yml").write_text(f'model_path: "{tiny}"\nname: x\nmmproj_path: {tiny.parent}/mmproj.gguf\n')
    found = only()
    assert (found.name, found.path, found.projector) == ("imported", str(tiny), f"{tiny.parent}/mmproj.gguf")


def test_llama_cpp_elsewhere_and_unfinished(home: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLAMA_CACHE", str(home / "other"))
    (home / "other").mkdir()
    shutil.copy(tiny, home / "other/maker_x_x-Q8_0.gguf.downloadInProgress")
    assert "half fetched" in (stored()["maker_x_x-Q8_0"].problem or "")
    shutil.copy(tiny, home / "other/maker_x_x-Q8_0.gguf")
    assert stored()["maker_x_x-Q8_0"].problem is None


def test_llama_cpps_newer_cache_is_the_hubs(home: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = store_layouts.hub(home, tiny)
    monkeypatch.setenv("LLAMA_CACHE", str(home / ".cache/huggingface/hub"))
    monkeypatch.setenv(registry.VARIABLE, "llama_cpp")
    assert list(stored()) == [name]


# The hub's cache


def test_a_repository_with_several_files(home: Path, tiny: Path) -> None:
    files = ["x-Q4_K_M.gguf", "x-Q8_0.gguf", "mmproj-F16.gguf", "BF16/x-BF16-00001-of-00002.gguf", "imatrix.gguf"]
    store_layouts.hub_files(home, dict.fromkeys(files, tiny), "maker/x-GGUF")
    found = stored()
    assert set(found) == {"maker/x-GGUF:Q4_K_M", "maker/x-GGUF:Q8_0", "maker/x-GGUF:BF16"}
    assert all((model.projector or "").endswith("mmproj-F16.gguf") for model in found.values())
    assert "x-BF16-00002-of-00002.gguf" in (found["maker/x-GGUF:BF16"].problem or "")


def test_a_repository_with_several_models_of_one_type(home: Path, tiny: Path) -> None:
    """Each is called by its file, as `nitro pull` says, whether the other one is here or not."""
    store_layouts.hub_files(home, {"a-Q8_0.gguf": tiny}, "maker/two-GGUF")
    assert Catalog().find("maker/two-GGUF:a-Q8_0").name == "maker/two-GGUF:Q8_0"
    store_layouts.hub_files(home, {"b-Q8_0.GGUF": tiny}, "maker/two-GGUF")
    assert set(stored()) == {"maker/two-GGUF:a-Q8_0", "maker/two-GGUF:b-Q8_0"}


def test_a_repository_for_mlx(home: Path, tmp_path: Path) -> None:
    folder = checkpoint(tmp_path / "tiny")
    files = {file.name: file for file in folder.iterdir()}
    store_layouts.hub_files(home, files, "mlx-community/tiny")
    assert (only().name, only().problem) == ("mlx-community/tiny", None)
    weights = next(file for file in folder.iterdir() if file.suffix == ".safetensors")
    weights.unlink()
    assert "fetch the model again" in (only().problem or "")


def test_a_repository_without_an_owner(home: Path, tiny: Path) -> None:
    store_layouts.hub_files(home, {"gpt2-Q8_0.gguf": tiny}, "gpt2")
    assert only().name == "gpt2:Q8_0"


def test_a_configuration_that_is_too_large_is_not_read(home: Path) -> None:
    folder = checkpoint(home / "models/x")
    with (folder / "config.json").open("r+b") as file:
        file.truncate(facts.MAX_JSON + 1)
    assert "no config.json that can be read" in (only(home / "models").problem or "")


def test_a_half_fetched_repository(home: Path) -> None:
    blobs = home / ".cache/huggingface/hub/models--maker--x/blobs"
    blobs.mkdir(parents=True)
    (blobs / "0123.4567.incomplete").write_bytes(b"GG")
    assert "nitro pull maker/x" in (stored()["maker/x"].problem or "")


def test_a_half_fetched_repository_without_an_owner(home: Path) -> None:
    blobs = home / ".cache/huggingface/hub/models--gpt2/blobs"
    blobs.mkdir(parents=True)
    (blobs / "abc.incomplete").write_bytes(b"half")
    assert "`hf download gpt2`" in (only().problem or ""), "which nitro pull does not take"


def test_the_commit_of_the_main_branch_is_read(home: Path, tiny: Path) -> None:
    store_layouts.hub(home, tiny)
    older = home / ".cache/huggingface/hub/models--maker--tiny-GGUF/snapshots/older"
    older.mkdir()
    (older / "tiny-Q8_0.gguf").symlink_to(tiny)
    assert list(stored()) == ["maker/tiny-GGUF:Q4_0"]


@pytest.mark.parametrize(
    "variable, below",
    [("HF_HUB_CACHE", ""), ("HUGGINGFACE_HUB_CACHE", ""), ("HF_HOME", "hub"), ("XDG_CACHE_HOME", "huggingface/hub")],
)
def test_where_the_cache_is(
    home: Path, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str, below: str
) -> None:
    name = store_layouts.hub(home, tiny)
    (home / ".cache/huggingface/hub").rename(tmp_path / "moved")
    base = tmp_path / "base"
    (base / below).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / "moved").rename(base / below)
    monkeypatch.setenv(variable, str(base))
    assert list(stored()) == [name]


def test_a_cache_that_is_named_from_here_on(home: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store_layouts.hub(home, tiny)
    monkeypatch.chdir(home)
    monkeypatch.setenv("HF_HOME", ".cache/huggingface")
    assert only().path.startswith(str(home)), "as huggingface_hub has it, and what Nitro notes of a pull"


def test_what_nitro_fetched_may_be_removed(home: Path, tiny: Path) -> None:
    store_layouts.hub(home, tiny)
    path = Path(only().path)
    fetched.add("maker/tiny-GGUF", store_layouts.COMMIT, [path])
    assert only().removable
    fetched.remove("maker/tiny-GGUF", [path])
    assert not only().removable


# --models DIR


def test_a_folder_of_models(home: Path, tiny: Path) -> None:
    root = home / "models"
    (root / "a/b/c").mkdir(parents=True)
    shutil.copy(tiny, root / "one.gguf")
    shutil.copy(tiny, root / "a/two.gguf")
    shutil.copy(tiny, root / "a/mmproj-two.gguf")
    shutil.copy(tiny, root / "a/b/c/one.gguf")
    shutil.copy(tiny, root / "a/._two.gguf")
    checkpoint(root / "a/three")
    found = stored(root)
    assert set(found) == {"one", "a/b/c/one", "two", "three"}
    assert found["two"].projector == str(root / "a/mmproj-two.gguf")


def test_a_split_model_is_one(home: Path, tiny: Path) -> None:
    root = home / "models"
    root.mkdir()
    for number in (1, 3):
        shutil.copy(tiny, root / f"big-Q8_0-{number:05}-of-00003.gguf")
    (root / "big-Q8_0-00002-of-00003.gguf.part").write_bytes(b"")
    found = stored(root)["big-Q8_0"]
    assert "big-Q8_0-00002-of-00003.gguf" in (found.problem or "") and "wait" in (found.problem or "")
    assert found.path == str(root / "big-Q8_0-00001-of-00003.gguf")


def test_what_never_ends_is_not_read(home: Path, tiny: Path) -> None:
    """Pipes, loops of links, files that are none."""
    root = home / "models"
    (root / "deep").mkdir(parents=True)
    os.mkfifo(root / "pipe.gguf")
    (root / "deep/loop").symlink_to(root)
    (root / "nowhere.gguf").symlink_to(root / "gone")
    (root / "itself.gguf").symlink_to("itself.gguf")
    (root / "text.gguf").write_text("not a model")
    (root / os.fsdecode(b"\xff.gguf")).write_bytes(b"GGUF")
    found = stored(root)
    assert set(found) == {"pipe", "nowhere", "text", "itself"}
    assert "a pipe" in (found["pipe"].problem or "")
    assert all(model.problem for model in found.values())


def test_a_projector_alone_is_no_model(home: Path, tmp_path: Path) -> None:
    root = home / "models"
    root.mkdir()
    shutil.copy(write_gguf(tmp_path / "x.gguf"), root / "mmproj-model-f16.gguf")
    assert stored(root) == {}


def test_names_from_files_are_safe_to_print(home: Path, tiny: Path) -> None:
    root = home / "models"
    root.mkdir()
    shutil.copy(tiny, root / "bad\x1b[31m\nname.gguf")
    (found,) = stored(root)
    assert found.isprintable()


# Remembered


def test_a_second_look_reads_no_header(home: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = home / "models"
    root.mkdir()
    for number in range(300):
        (root / f"{number}.gguf").symlink_to(tiny)
    first = stored(root)
    reads: list[Path] = []
    monkeypatch.setattr("nitro.gguf.header.read", lambda path, *_: reads.append(path))
    assert stored(root) == first and len(first) == 300 and not reads


def test_a_changed_file_is_read_again(home: Path, tiny: Path) -> None:
    root = home / "models"
    root.mkdir()
    file = root / "x.gguf"
    shutil.copy(tiny, file)
    assert stored(root)["x"].problem is None
    file.write_bytes(tiny.read_bytes()[:-1000])
    assert stored(root)["x"].problem
    shutil.copy(tiny, file)
    assert stored(root)["x"].problem is None


def test_a_full_disk_is_told_once_and_nothing_is_left_on_it(
    home: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    file = home / "nitro" / "facts"
    cache, write = FactCache(file), Path.write_bytes

    def cut(path: Path, content: bytes) -> int:
        write(path, content[:10])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(Path, "write_bytes", cut)
        for name in ("a", "b"):
            shutil.copy(tiny, home / f"{name}.gguf")
            cache.get(home / f"{name}.gguf", "gguf")
            cache.save()
    assert list(file.parent.iterdir()) == []
    assert [record.message for record in caplog.records if record.name == "nitro.models"] == [
        f"{file} cannot be written (No space left on device): the next start reads all headers again"
    ]
    cache.get(tiny, "gguf")
    cache.save()
    assert file.exists()


def test_a_fault_that_may_pass_is_not_remembered(home: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store_layouts.hub(home, tiny)

    def no_more(*_: object, **__: object) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    with monkeypatch.context() as now:
        now.setattr(header, "read_all", no_more)
        assert "Too many open files" in (only().problem or "")
    assert only().problem is None


def test_a_fault_that_quotes_what_is_no_utf8_hides_no_other_model(home: Path, tiny: Path) -> None:
    """A damaged name of a tensor, as the problem of its file has it."""
    root = home / "models"
    root.mkdir()
    shutil.copy(tiny, root / "good.gguf")
    odd = take_apart(tiny.read_bytes())
    odd.tensors[0].name, odd.tensors[0].shape = b"odd \xe9", [1] * 5
    (root / "odd.gguf").write_bytes(odd.whole())
    found = stored(root)
    assert found["good"].problem is None and "tensor odd \ufffd has 5 dimensions" in str(found["odd"].problem)
    assert stored(root) == found


def test_a_damaged_memory_is_forgotten(home: Path, tiny: Path) -> None:
    root = home / "models"
    root.mkdir()
    shutil.copy(tiny, root / "x.gguf")
    first = stored(root)
    (home / "nitro/facts").write_bytes(b"\xc1 damaged")
    assert stored(root) == first
