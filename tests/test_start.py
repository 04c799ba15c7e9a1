"""What a person sees when `nitro serve` cannot: one line on stderr, status 1, no traceback. Real processes."""

import subprocess
import sys
from pathlib import Path

import pytest
from running import CEILING, RunningServer
from tiny_models import write_folder, write_gguf


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_gguf(tmp_path_factory.mktemp("model") / "tiny.gguf")


def refusal(*arguments: str) -> str:
    """The one line."""
    command = [sys.executable, "-P", "-m", "nitro", "serve", "--port", "0", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=CEILING, stdin=subprocess.DEVNULL)
    assert done.returncode == 1 and done.stdout == "", done.stderr
    *before, line = done.stderr.splitlines()
    assert all(text.startswith("Loading ") for text in before), done.stderr
    assert line.startswith("nitro: ") and "Traceback" not in line
    return line


@pytest.mark.parametrize("engine", ["llama", "mlx"])
def test_a_truncated_file(tmp_path: Path, tiny: Path, engine: str) -> None:
    for length in (100, 20_000, tiny.stat().st_size - 1000):
        broken = tmp_path / "broken.gguf"
        broken.write_bytes(tiny.read_bytes()[:length])
        assert "broken.gguf" in refusal(str(broken), "--engine", engine)


@pytest.mark.parametrize("engine", ["llama", "mlx"])
def test_an_absurd_context(tiny: Path, engine: str) -> None:
    line = refusal(str(tiny), "--engine", engine, "--ctx", "2000000000")
    assert "--ctx 2000000000 needs" in line and "MiB are free" in line


def test_a_folder_that_llama_cannot_open(tmp_path: Path) -> None:
    line = refusal(str(write_folder(tmp_path / "folder", "plain")), "--engine", "llama")
    assert "is a folder" in line and "--engine mlx" in line


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("missing.gguf", "missing.gguf: no such file"),
        ("text.gguf", "text.gguf is not a GGUF file"),
        ("empty", "empty is a folder without config.json"),
        (
            "Qwen/Qwen3-0.6B-MLX-4bit",
            "no model of this name is on this machine; if it is one of the Hugging Face hub, `nitro pull Qwen/",
        ),
    ],
)
def test_no_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, words: str) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.gguf").write_text("This is a letter to my aunt.")
    (tmp_path / "empty").mkdir()
    assert words in refusal(name)


def test_a_port_in_use(fake_server: RunningServer) -> None:
    line = refusal("--port", str(fake_server.server.port))
    assert f"Cannot listen on 127.0.0.1:{fake_server.server.port}" in line and "--port" in line
