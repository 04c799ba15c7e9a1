"""Backends in environments of their own: whole or made again, and workers that fail."""

import json
import subprocess
import sys
import tarfile
from importlib import metadata
from pathlib import Path

import pytest

from nitro.convert import environments, llama_cpp_converter, native, preflight, routes
from nitro.convert.checkpoint import Checkpoint
from nitro.convert.environments import MARKER, Backend
from nitro.convert.plan import ConversionPlan
from nitro.errors import ConvertError

PROBE = Backend(("nothing",), "no_such_module")


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The environments that were made, in order; nothing is installed."""
    calls: list[Path] = []

    def make(home: Path, pins: tuple[str, ...]) -> None:
        calls.append(home)
        (home / "bin").mkdir(parents=True, exist_ok=True)
        (home / "bin" / "python").write_text("")

    monkeypatch.setenv("NITRO_CACHE", str(tmp_path))
    monkeypatch.setitem(environments.BACKENDS, "probe", PROBE)
    monkeypatch.setattr(environments, "_make", make)
    return calls


def test_an_environment_is_made_once(made: list[Path]) -> None:
    said: list[str] = []
    first = environments.python("probe", said.append)
    assert environments.python("probe", said.append) == first
    assert (len(made), len(said)) == (1, 1)


def test_a_half_made_one_is_made_again(made: list[Path]) -> None:
    environments.python("probe", print)
    (made[0] / MARKER).unlink()
    environments.python("probe", print)
    assert len(made) == 2


def test_other_pins_make_another(made: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    environments.python("probe", print)
    monkeypatch.setitem(environments.BACKENDS, "probe", Backend(("something",), "no_such_module"))
    environments.python("probe", print)
    assert len(made) == 2


def test_what_is_installed_here_is_used(made: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(environments.BACKENDS, "probe", Backend(("nothing",), "numpy"))
    assert environments.python("probe", print) == Path(sys.executable)
    assert made == []


def test_pins_of_what_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """From Nitro's metadata, or where it runs from a checkout, from its pyproject.toml: the same."""
    here = environments.pinned("llama-cpp-python")

    def version(name: str) -> str:
        raise metadata.PackageNotFoundError

    monkeypatch.setattr(environments.metadata, "version", version)
    monkeypatch.setattr(environments.metadata, "requires", lambda name: ['llama-cpp-python==1.2.3; extra == "llama"'])
    assert environments.pinned("llama-cpp-python") == "llama-cpp-python==1.2.3"
    monkeypatch.setattr(environments.metadata, "requires", version)
    assert environments.pinned("llama-cpp-python") == here


@pytest.mark.parametrize("kind", ["gguf_to_mlx", "mlx_to_hf"])
def test_our_own_conversions_run_where_mlx_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """In that environment, with nothing of this one but Nitro's sources."""
    asked: list[tuple[str, str, bool]] = []

    def run(backend: str, worker: str, request: dict, *rest: object, **more: object) -> dict:
        asked.append((backend, worker, request["check"]))
        assert Path(request["nitro"], "convert", f"{request['conversion']}.py").is_file()
        return {"notices": ["one"]}

    monkeypatch.setattr(environments, "run", run)
    native.check(kind, tmp_path, print)
    assert native.convert(kind, tmp_path, tmp_path / "target", print) == ["one"]
    assert asked == [("mlx", "native", True), ("mlx", "native", False)]


NEEDED = {
    ("gguf", "mlx"): {"llama", "mlx"},
    ("gguf", "hf"): {"llama", "mlx", "transformers"},
    ("gguf", "gguf"): {"llama"},
    ("hf", "mlx"): {"mlx", "transformers"},
    ("hf", "gguf"): {"llama", "transformers"},
    ("mlx", "hf"): {"mlx", "transformers"},
    ("mlx", "gguf"): {"llama", "mlx"},
}


@pytest.mark.parametrize("route", routes.STEPS)
def test_all_environments_are_there_before_a_weight_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, route: tuple[str, str]
) -> None:
    """But for the converter's, which the preflight asks."""
    asked: set[str] = set()
    monkeypatch.setattr(environments, "python", lambda backend, say: asked.add(backend))
    plan = ConversionPlan(Checkpoint(tmp_path, route[0], {}, {}), route[1], tmp_path / "target")
    preflight.backends(plan, print)
    assert asked == NEEDED[route]


def test_pip_that_fails_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NITRO_CACHE", str(tmp_path))
    monkeypatch.setitem(environments.BACKENDS, "probe", Backend(("./no-such-folder",), "no_such_module"))
    with pytest.raises(ConvertError, match=r"Pip could not install \./no-such-folder: "):
        environments.python("probe", print)
    assert not (tmp_path / "environments" / "probe" / MARKER).exists()


WORKERS = {
    "raises": ("def run(request): raise ValueError('the thing is broken')", "^the thing is broken.$"),
    "dies": ("import os\ndef run(request): os.kill(os.getpid(), 9)", "dies was killed by SIGKILL; there may be too"),
    "ends": ("import sys\nsys.exit('no such luck')", "ends ended with status 1: no such luck"),
}


@pytest.mark.parametrize("name", WORKERS)
def test_a_worker_that_fails_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    source, says = WORKERS[name]
    _worker(tmp_path, monkeypatch, name, source)
    with pytest.raises(ConvertError, match=says):
        environments.run("here", name, {})


def test_a_worker_that_finds_the_disk_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _worker(tmp_path, monkeypatch, "full", "def run(request): raise OSError(28, 'No space left on device')")
    with pytest.raises(OSError, match="No space left") as caught:
        environments.run("here", "full", {})
    assert caught.value.errno == 28


def test_a_worker_ends_with_its_parent(tmp_path: Path) -> None:
    (tmp_path / "waits.py").write_text("import threading\ndef run(request): threading.Event().wait()")
    _copy_run(tmp_path)
    (tmp_path / "request.json").write_text(json.dumps({}))
    command = [sys.executable, str(tmp_path / "run.py"), "waits", str(tmp_path / "request.json"), str(tmp_path / "r")]
    process = subprocess.Popen(command, stdin=subprocess.PIPE)
    process.stdin.close()
    assert process.wait(60) == 1


def _copy_run(folder: Path) -> None:
    """What runs a worker, and what every worker is kept from."""
    for name in ("run.py", "remote_code.py"):
        (folder / name).write_text(environments.WORKER_SCRIPT.with_name(name).read_text())


def _worker(folder: Path, monkeypatch: pytest.MonkeyPatch, name: str, source: str) -> None:
    (folder / f"{name}.py").write_text(source)
    _copy_run(folder)
    monkeypatch.setattr(environments, "WORKER_SCRIPT", folder / "run.py")
    monkeypatch.setitem(environments.BACKENDS, "here", Backend((), "sys"))


def test_of_a_source_distribution_only_the_converter_is_kept(tmp_path: Path) -> None:
    root = tmp_path / "llama_cpp_python-1" / "vendor" / "llama.cpp"
    for name in ("convert_hf_to_gguf.py", "conversion/base.py", "src/llama.cpp", "gguf-py/gguf/__init__.py"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("")
    archive = tmp_path / "sources.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(tmp_path / "llama_cpp_python-1", "llama_cpp_python-1")
    llama_cpp_converter.unpack(archive, tmp_path / "whole")
    kept = {str(file.relative_to(tmp_path / "whole")) for file in (tmp_path / "whole").rglob("*") if file.is_file()}
    assert kept == {"convert_hf_to_gguf.py", "conversion/base.py", "gguf-py/gguf/__init__.py"}


def test_a_source_distribution_without_converter(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "sources.tar.gz", "w:gz"):
        pass
    with pytest.raises(ConvertError, match=r"does not contain convert_hf_to_gguf\.py"):
        llama_cpp_converter.unpack(tmp_path / "sources.tar.gz", tmp_path / "whole")


def test_an_interpreter_has_a_module() -> None:
    assert environments.has(Path(sys.executable), "json")
    assert not environments.has(Path(sys.executable), "no_such_module")


def test_mlx_is_the_one_that_serves() -> None:
    pins = (Path(__file__).parents[1] / "constraints.txt").read_text().split()
    mlx = next(pin for pin in environments.BACKENDS["mlx"].pins if pin.startswith(("mlx==", "mlx[cpu]==")))
    assert mlx.replace("[cpu]", "") in pins
