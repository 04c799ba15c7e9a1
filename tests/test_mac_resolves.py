"""`make serve` on an Apple-Silicon Mac, as far as another machine can tell: pip will find a wheel of everything."""

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

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


@pytest.mark.parametrize("python", ["3.11", "3.12", "3.13", "3.14"])
def test_everything_has_a_wheel_for_an_apple_silicon_mac(python: str, cache: Path) -> None:
    command = [sys.executable, "-m", "uv", "pip", "compile", "pyproject.toml", "--extra", "mlx"]
    command += ["--constraint", "constraints.txt", "--only-binary", ":all:", "--no-header", "--no-annotate"]
    command += ["--python-platform", "aarch64-apple-darwin", "--python-version", python]
    settings = {"MACOSX_DEPLOYMENT_TARGET": "15.0", "UV_CACHE_DIR": str(cache), "UV_PYTHON_DOWNLOADS": "never"}
    env = {**index_for_uv(), **os.environ, **settings}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    resolved = set(done.stdout.lower().split())
    pinned = set((ROOT / "constraints.txt").read_text().lower().split())
    assert resolved <= pinned, "the Mac would get versions that nobody chose"
    names = {pin.split("==")[0] for pin in resolved}
    assert {"mlx", "mlx-lm", "mlx-metal", "gguf", "tokenizers"} <= names
    assert not {"llama-cpp-python", "mlx-cpu", "torch"} & names
