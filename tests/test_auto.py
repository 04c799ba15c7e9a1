"""Which runner is loaded on which machine, and one sentence where none can be. The machines are faked."""

import platform
import subprocess
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest

from nitro.engines.backends import registry
from nitro.engines.backends.fake import FakeRunner
from nitro.engines.hardware import machine
from nitro.engines.runner import CannotOpen, LoadError
from nitro.engines.types import EngineSpec


class OpensNothing(FakeRunner):
    def __init__(self, spec: EngineSpec):
        raise CannotOpen("MLX cannot open it, says the test.")


class Unloadable(FakeRunner):
    def __init__(self, spec: EngineSpec):
        raise LoadError("There is no memory, says the test.")


@pytest.fixture
def on(monkeypatch: pytest.MonkeyPatch):
    """Pretend to be on another machine: on("darwin", "arm64", installed=["mlx"])."""

    def pretend(system: str, processor: str, translated: bool = False, installed: tuple[str, ...] = ()) -> None:
        monkeypatch.setattr(sys, "platform", system)
        monkeypatch.setattr(platform, "machine", lambda: processor)
        done = subprocess.CompletedProcess([], 0, stdout=b"1\n" if translated else b"")
        monkeypatch.setattr(subprocess, "run", lambda *_, **__: done)
        monkeypatch.setattr(registry, "find_spec", lambda name: ModuleSpec(name, None) if name in installed else None)

    return pretend


def use(monkeypatch: pytest.MonkeyPatch, **runners: type) -> None:
    monkeypatch.setattr(registry, "RUNNERS", {name: f"{__name__}:{each.__name__}" for name, each in runners.items()})


@pytest.mark.parametrize(
    ("system", "processor", "installed", "engines"),
    [
        ("darwin", "arm64", ("mlx", "llama_cpp"), ["mlx", "llama"]),
        ("darwin", "arm64", ("mlx",), ["mlx"]),
        ("darwin", "arm64", ("llama_cpp",), ["llama"]),
        ("darwin", "arm64", (), ["mlx"]),
        ("darwin", "x86_64", ("llama_cpp",), ["llama"]),
        ("linux", "x86_64", ("mlx", "llama_cpp"), ["llama"]),
        ("linux", "aarch64", ("mlx", "llama_cpp"), ["llama"]),
    ],
)
def test_candidates(on, system: str, processor: str, installed: tuple[str, ...], engines: list[str]) -> None:
    on(system, processor, installed=installed)
    assert registry.candidates() == engines


@pytest.mark.parametrize("engine", ["auto", "mlx"])
def test_rosetta_is_named(on, engine: str) -> None:
    on("darwin", "x86_64", translated=True, installed=("llama_cpp",))
    with pytest.raises(LoadError, match="run by Rosetta on an Apple-Silicon Mac"):
        registry.load(EngineSpec(engine, ""))


def test_rosetta_and_no_choice(on, monkeypatch: pytest.MonkeyPatch) -> None:
    on("darwin", "x86_64", translated=True)
    monkeypatch.setitem(registry.RUNNERS, "llama", "nitro.engines.backends.fake:FakeRunner")
    assert isinstance(registry.load(EngineSpec("llama", "")), FakeRunner)


def test_a_mac_without_rosetta_is_asked_nothing(on, monkeypatch: pytest.MonkeyPatch) -> None:
    on("darwin", "arm64")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: pytest.fail("sysctl was asked"))
    assert machine.is_apple_silicon() and not machine.is_translated()


def test_a_file_that_mlx_cannot_hold_goes_to_llama(
    on, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    on("darwin", "arm64", installed=("mlx", "llama_cpp"))
    monkeypatch.setattr(
        registry, "RUNNERS", {"mlx": f"{__name__}:OpensNothing", "llama": "nitro.engines.backends.fake:FakeRunner"}
    )
    assert type(registry.load(EngineSpec("auto", ""))) is FakeRunner
    assert "MLX cannot open it, says the test. It goes to llama." in caplog.text


def test_it_stays_an_error_where_llama_is_not_installed(on, monkeypatch: pytest.MonkeyPatch) -> None:
    on("darwin", "arm64", installed=("mlx",))
    use(monkeypatch, mlx=OpensNothing)
    with pytest.raises(CannotOpen, match="says the test"):
        registry.load(EngineSpec("auto", ""))


def test_other_faults_do_not_go_to_llama(on, monkeypatch: pytest.MonkeyPatch) -> None:
    on("darwin", "arm64", installed=("mlx", "llama_cpp"))
    use(monkeypatch, mlx=Unloadable, llama=OpensNothing)
    with pytest.raises(LoadError, match="no memory, says the test"):
        registry.load(EngineSpec("auto", ""))


def test_a_runner_by_name() -> None:
    assert isinstance(registry.load(EngineSpec("nitro.engines.backends.fake:FakeRunner", "")), FakeRunner)


@pytest.mark.parametrize(
    ("engine", "sentence"),
    [
        ("vllm", "there is no such engine; there are mlx, llama"),
        ("nosuch:Thing", r"needs nosuch, which is not installed\.$"),
        ("nitro.engines.backends.fake:Nothing", "cannot be loaded"),
    ],
)
def test_no_such_runner(engine: str, sentence: str) -> None:
    with pytest.raises(LoadError, match=sentence):
        registry.load(EngineSpec(engine, ""))


@pytest.mark.parametrize(
    ("system", "processor", "engine", "extra"),
    [
        ("darwin", "arm64", "mlx", "mlx"),
        ("linux", "x86_64", "mlx", "mlx-cpu"),
        ("linux", "x86_64", "llama", "llama"),
    ],
)
def test_a_library_that_is_not_installed(
    on, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, system: str, processor: str, engine: str, extra: str
) -> None:
    on(system, processor)
    (tmp_path / "needy_runner.py").write_text("import no_such_library")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(registry.RUNNERS, engine, "needy_runner:Runner")
    with pytest.raises(LoadError, match=rf"needs no_such_library, .* pip install '\.\[{extra}\]'"):
        registry.load(EngineSpec(engine, ""))


def test_a_library_that_links_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    error = "Failed to load shared library 'libllama.so': libcuda.so.1: cannot open shared object file: No such file"
    (tmp_path / "driverless_runner.py").write_text(f"raise RuntimeError({error!r})")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(LoadError, match=r"cannot be loaded: libcuda\.so\.1 is not found, .* Install the NVIDIA driver"):
        registry.load(EngineSpec("driverless_runner:Runner", ""))


def test_a_library_that_does_not_load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As llama-cpp-python does it where a CUDA library is missing."""
    (tmp_path / "broken_runner.py").write_text("raise RuntimeError('Failed to load shared library libcublas.so')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(LoadError, match=r"cannot be loaded: Failed to load shared library libcublas\.so"):
        registry.load(EngineSpec("broken_runner:Runner", ""))
    assert "broken_runner" not in sys.modules
