"""`make serve` on an Apple-Silicon Mac, as far as another machine can tell: pip will find a wheel of everything."""

import ast
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.markers import Marker

ROOT = Path(__file__).parents[1]


def pip_settings() -> dict[str, str]:
    """Lists, which a file may spread over lines, with spaces between their items."""
    command = [sys.executable, "-m", "pip", "config", "list"]
    listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    settings = {}
    for section in ("global", "install", ":env:"):  # the later ones win
        for name, value in re.findall(rf"^{section}\.([\w-]+)=(.*)$", listed, re.MULTILINE):
            settings[name] = " ".join(str(ast.literal_eval(value)).split())
    return settings


def index_for_uv() -> dict[str, str]:
    """uv does not read pip's configuration, where a machine may say how it reaches an index."""
    pip = pip_settings()
    uv = {
        "UV_DEFAULT_INDEX": pip.get("index-url", ""),
        "UV_INDEX": pip.get("extra-index-url", ""),
        "UV_INDEX_STRATEGY": "unsafe-best-match",  # as pip does: a version from any of the indexes
        "UV_FIND_LINKS": pip.get("find-links", "").replace(" ", ","),
        "SSL_CERT_FILE": pip.get("cert", ""),
    }
    return {name: value for name, value in uv.items() if value}


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("uv")


def resolve(cache: Path, python: str, macos: str, *what: str) -> subprocess.CompletedProcess[str]:
    """What uv would install on an Apple-Silicon Mac, from wheels alone."""
    command = [sys.executable, "-m", "uv", "pip", "compile", *what, "--constraint", "constraints.txt"]
    command += ["--only-binary", ":all:", "--no-header", "--no-annotate"]
    command += ["--python-platform", "aarch64-apple-darwin", "--python-version", python]
    settings = {"MACOSX_DEPLOYMENT_TARGET": macos, "UV_CACHE_DIR": str(cache), "UV_PYTHON_DOWNLOADS": "never"}
    env = {**index_for_uv(), **os.environ, **settings}
    return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=300)


def pinned() -> set[str]:
    return set((ROOT / "constraints.txt").read_text().lower().split())


@pytest.mark.parametrize(
    ("python", "macos"), [*((f"3.{minor}", "15.0") for minor in (11, 12, 13, 14)), ("3.12", "26.2")]
)
def test_everything_has_a_wheel_for_an_apple_silicon_mac(python: str, macos: str, cache: Path) -> None:
    done = resolve(cache, python, macos, "pyproject.toml", "--extra", "mlx")
    assert done.returncode == 0, done.stderr
    resolved = set(done.stdout.lower().split())
    assert resolved <= pinned(), "the Mac would get versions that nobody chose"
    names = {pin.split("==")[0] for pin in resolved}
    assert {"mlx", "mlx-lm", "mlx-metal", "gguf", "tokenizers"} <= names
    assert not {"llama-cpp-python", "mlx-cpu", "torch"} & names


@pytest.mark.parametrize("python", ["3.11", "3.14"])
def test_mlx_kquant_has_a_wheel_for_a_newer_macos_only(python: str, cache: Path, tmp_path: Path) -> None:
    """uv does not know what Darwin a deployment target is, so that the extra's marker is tried below."""
    pin = next(pin for pin in pinned() if pin.startswith("mlx-kquant=="))
    (tmp_path / "wanted.txt").write_text(f"{pin}\nmlx\nmlx-lm\n")
    done = resolve(cache, python, "26.2", str(tmp_path / "wanted.txt"))
    assert done.returncode == 0, done.stderr
    assert set(done.stdout.lower().split()) <= pinned() and pin in done.stdout
    assert resolve(cache, python, "15.0", str(tmp_path / "wanted.txt")).returncode != 0


@pytest.mark.parametrize(
    ("system", "processor", "darwin", "wanted"),
    [
        ("darwin", "arm64", "25.2.0", True),  # macOS 26.2
        ("darwin", "arm64", "26.0.0", True),
        ("darwin", "arm64", "25.1.0", False),
        ("darwin", "arm64", "24.6.0", False),
        ("darwin", "x86_64", "25.2.0", False),
        ("darwin", "arm64", "23.0.0", False),
        ("linux", "x86_64", "6.1.0-18-amd64", False),
        ("linux", "arm64", "25.2.0-generic", False),
    ],
)
def test_which_macs_get_mlx_kquant(system: str, processor: str, darwin: str, wanted: bool) -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    marker = next(Marker(line.split(";")[1]) for line in extras["mlx"] if line.startswith("mlx-kquant"))
    machine = {"sys_platform": system, "platform_machine": processor, "platform_release": darwin}
    assert marker.evaluate(machine) is wanted


def test_no_release_of_a_system_is_taken_for_a_version() -> None:
    """pip 24.1 to 25.3, which Python 3.13 brings, fails on every Linux whose release is not one: 6.8.0-45-generic. It
    evaluates all of a marker, and the markers of every extra."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"].values()
    wanted = [line for lines in (project["dependencies"], *extras) for line in lines]
    markers = [str(Marker(line.split(";")[1])) for line in wanted if ";" in line]
    assert any("platform_release" in marker for marker in markers)
    for marker in markers:
        assert not re.search("platform_(release|version) *[<>=!~]", marker), marker
