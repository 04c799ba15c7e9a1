"""Which runner is loaded on which machine, and one sentence where none can be. The machines are faked."""

import importlib
import platform
import subprocess
import sys
from dataclasses import replace
from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest
from tiny_models import write_gguf

from bench.quantized_models import quantize
from nitro.engines.backends import loading, registry
from nitro.engines.backends.fake import FakeRunner
from nitro.engines.backends.mlx import block_layers
from nitro.engines.hardware import machine
from nitro.engines.options import EngineOptions
from nitro.engines.runner import CannotOpen, LoadError
from nitro.engines.types import SAMPLERS, EngineSpec


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
        monkeypatch.setattr(loading, "find_spec", lambda name: ModuleSpec(name, None) if name in installed else None)

    return pretend


def use(monkeypatch: pytest.MonkeyPatch, **runners: type) -> None:
    """Let these classes be the engines' runners."""
    replaced = (
        replace(engine, runner=f"{runners[engine.name].__module__}:{runners[engine.name].__name__}")
        if engine.name in runners
        else engine
        for engine in registry.ENGINES
    )
    monkeypatch.setattr(registry, "ENGINES", tuple(replaced))


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
    assert loading.candidates() == engines


@pytest.mark.parametrize("engine", ["auto", "mlx"])
def test_rosetta_is_named(on, engine: str) -> None:
    on("darwin", "x86_64", translated=True, installed=("llama_cpp",))
    with pytest.raises(LoadError, match="run by Rosetta on an Apple-Silicon Mac"):
        loading.load(EngineSpec(engine, ""))


def test_rosetta_and_no_choice(on, monkeypatch: pytest.MonkeyPatch) -> None:
    on("darwin", "x86_64", translated=True)
    use(monkeypatch, llama=FakeRunner)
    assert isinstance(loading.load(EngineSpec("llama", "")), FakeRunner)


def test_a_mac_without_rosetta_is_asked_nothing(on, monkeypatch: pytest.MonkeyPatch) -> None:
    on("darwin", "arm64")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: pytest.fail("sysctl was asked"))
    assert not machine.is_translated()


def test_a_file_that_mlx_cannot_hold_goes_to_llama(
    on, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    on("darwin", "arm64", installed=("mlx", "llama_cpp"))
    use(monkeypatch, mlx=OpensNothing, llama=FakeRunner)
    assert type(loading.load(EngineSpec("auto", ""))) is FakeRunner
    assert "MLX cannot open it, says the test. Trying --engine llama." in caplog.text


@pytest.mark.skipif(not block_layers.is_installed(), reason="mlx-kquant is not installed")
def test_mlx_takes_k_quants_on_apple_silicon(on, tmp_path: Path) -> None:
    file = quantize(write_gguf(tmp_path / "wide.gguf", width=256), tmp_path / "some.gguf", "Q4_K")
    on("darwin", "arm64", installed=("mlx", "llama_cpp"))
    runner = loading.load(EngineSpec("auto", str(file), context=512))
    assert type(runner).__name__ == "MlxRunner"
    runner.close()


def test_it_stays_an_error_where_llama_is_not_installed(on, monkeypatch: pytest.MonkeyPatch) -> None:
    on("darwin", "arm64", installed=("mlx",))
    use(monkeypatch, mlx=OpensNothing)
    with pytest.raises(CannotOpen, match="says the test"):
        loading.load(EngineSpec("auto", ""))


def test_other_faults_do_not_go_to_llama(on, monkeypatch: pytest.MonkeyPatch) -> None:
    on("darwin", "arm64", installed=("mlx", "llama_cpp"))
    use(monkeypatch, mlx=Unloadable, llama=OpensNothing)
    with pytest.raises(LoadError, match="no memory, says the test"):
        loading.load(EngineSpec("auto", ""))


def test_a_runner_by_name() -> None:
    assert isinstance(loading.load(EngineSpec("nitro.engines.backends.fake:FakeRunner", "")), FakeRunner)


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
        loading.load(EngineSpec(engine, ""))


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
    use(monkeypatch, **{engine: type("Runner", (), {"__module__": "needy_runner"})})
    with pytest.raises(LoadError, match=rf"needs no_such_library, .* pip install '\.\[{extra}\]'"):
        loading.load(EngineSpec(engine, ""))


def test_a_library_that_links_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    error = "Failed to load shared library 'libllama.so': libcuda.so.1: cannot open shared object file: No such file"
    (tmp_path / "driverless_runner.py").write_text(f"raise RuntimeError({error!r})")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(LoadError, match=r"cannot be loaded: libcuda\.so\.1 is not found, .* Install the NVIDIA driver"):
        loading.load(EngineSpec("driverless_runner:Runner", ""))


def test_a_library_that_does_not_load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As llama-cpp-python does it where a CUDA library is missing."""
    (tmp_path / "broken_runner.py").write_text("raise RuntimeError('Failed to load shared library libcublas.so')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(LoadError, match=r"cannot be loaded: Failed to load shared library libcublas\.so"):
        loading.load(EngineSpec("broken_runner:Runner", ""))
    assert "broken_runner" not in sys.modules


# Options


@pytest.mark.parametrize(
    ("system", "engine", "options", "sentence"),
    [
        (
            "linux",
            "mlx",
            {"threads": 2},
            "--threads is for llama.cpp, and MLX has no such option. Leave it out, or add ",
        ),
        ("linux", "mlx", {"gpu_layers": 0}, "--gpu-layers is for llama.cpp, and MLX has .*, or add --engine llama."),
        ("linux", "llama", {"wired_limit": "4096"}, "--wired-limit is for MLX, and llama.cpp has .* Leave it out.$"),
        ("darwin", "llama", {"wired_limit": "recommended"}, "--wired-limit is .* Leave it out, or add --engine mlx.$"),
        ("darwin", "auto", {"gpu_layers": 5}, "--gpu-layers is for llama.cpp, .*, or add --engine llama."),
    ],
)
def test_an_option_that_the_engine_does_not_have(
    on, monkeypatch: pytest.MonkeyPatch, system: str, engine: str, options: dict, sentence: str
) -> None:
    """Refused by name, before a runner is imported."""
    on(system, "arm64" if system == "darwin" else "x86_64", installed=("mlx", "llama_cpp"))
    monkeypatch.setattr(importlib, "import_module", lambda name: pytest.fail(f"{name} was imported"))
    with pytest.raises(LoadError, match=f"^{sentence}"):
        loading.load(EngineSpec(engine, "", **options))


@pytest.mark.parametrize(
    ("engine", "options"),
    [
        ("llama", {"threads": 2, "gpu_layers": 0, "require_gpu": True, "wired_limit": "off"}),
        ("mlx", {"require_gpu": True, "wired_limit": "recommended", "threads": None}),
    ],
)
def test_options_that_the_engine_has(on, monkeypatch: pytest.MonkeyPatch, engine: str, options: dict) -> None:
    on("linux", "x86_64")
    use(monkeypatch, llama=FakeRunner, mlx=FakeRunner)
    assert isinstance(loading.load(EngineSpec(engine, "", context=99, **options)), FakeRunner)


def test_a_new_engine_is_a_row_of_the_registry(on, monkeypatch: pytest.MonkeyPatch) -> None:
    """Chosen where its platform is, and refused what it does not have."""
    on("plan9", "mips", installed=("counting",))
    counting = replace(
        registry.MLX,
        name="counting",
        library="Counter",
        module="counting",
        runner="nitro.engines.backends.fake:FakeRunner",
        automatic=frozenset({"plan9-mips"}),
        options=frozenset({"threads"}),
    )
    monkeypatch.setattr(registry, "ENGINES", (counting, *registry.ENGINES))
    assert isinstance(loading.load(EngineSpec("auto", "", threads=3)), FakeRunner)
    with pytest.raises(LoadError, match=r"^--gpu-layers is for llama.cpp, and Counter has no such option\."):
        loading.load(EngineSpec("counting", "", gpu_layers=3))
    with pytest.raises(LoadError, match="there are counting, mlx, llama"):
        loading.load(EngineSpec("nosuch", ""))


def test_a_runner_of_ones_own_gets_any_option() -> None:
    loading.load(EngineSpec("nitro.engines.backends.fake:FakeRunner", "", threads=2, wired_limit="recommended"))


def test_what_the_registry_says_can_be_found() -> None:
    for engine in registry.ENGINES:
        assert engine.options <= set(EngineOptions.__struct_fields__) and engine.samplers <= set(SAMPLERS)
        for place in (engine.runner, engine.probe):
            module, _, name = place.partition(":")
            assert getattr(importlib.import_module(module), name)
