"""Builds llama.cpp's own server from the sources of the installed llama-cpp-python, with the options of its wheel, so
that both compute with the same kernels. Run: `python -m bench.build_llama_server`; it prints the binary's path.

Sources and build are kept in build/llama.cpp-VERSION.
"""

import os
import shlex
import shutil
import subprocess
import sys
import tarfile
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from scripts import this_machine

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = "llama-cpp-python"

# The wheel's options, and what only the server adds. No web page, no download of one, no TLS.
OPTIONS = {
    "CMAKE_BUILD_TYPE": "Release",
    "BUILD_SHARED_LIBS": "ON",
    "LLAMA_BUILD_COMMON": "ON",
    "LLAMA_BUILD_TOOLS": "ON",
    "LLAMA_BUILD_SERVER": "ON",
    "LLAMA_BUILD_UI": "OFF",
    "LLAMA_USE_PREBUILT_UI": "OFF",
    "LLAMA_BUILD_TESTS": "OFF",
    "LLAMA_BUILD_EXAMPLES": "OFF",
    "LLAMA_BUILD_APP": "OFF",
    "LLAMA_OPENSSL": "OFF",
}


def build() -> Path:
    """The path of the binary, built unless it exists. Raises CalledProcessError."""
    binary = folder() / "bin" / "llama-server"
    if not binary.is_file():
        source = package() / "vendor" / "llama.cpp"
        options = [f"-D{name}={value}" for name, value in (OPTIONS | _device()).items()]
        user_options = shlex.split(os.environ.get("CMAKE_ARGS", ""))  # the wheel's build reads it as well
        _run(["cmake", "-S", str(source), "-B", str(folder()), *options, *user_options])
        jobs = str(os.cpu_count() or 1)
        _run(["cmake", "--build", str(folder()), "--config", "Release", "--target", "llama-server", "-j", jobs])
    return binary


def folder() -> Path:
    """Where sources and build of this version are kept."""
    return ROOT / "build" / f"llama.cpp-{version(PACKAGE)}"


def package() -> Path:
    """The folder of the package's source distribution, with llama.cpp's sources; downloaded unless it exists."""
    name = f"{PACKAGE.replace('-', '_')}-{version(PACKAGE)}"
    found = folder() / name
    if not (found / "vendor" / "llama.cpp" / "CMakeLists.txt").is_file():
        folder().mkdir(parents=True, exist_ok=True)
        pip = [sys.executable, "-m", "pip", "download", "--no-deps", "--no-binary", PACKAGE, "--dest", str(folder())]
        _run([*pip, f"{PACKAGE}=={version(PACKAGE)}"])
        with tarfile.open(folder() / f"{name}.tar.gz") as archive:
            archive.extractall(folder(), filter="data")
    return found


def _device() -> dict[str, str]:
    """CUDA where the installed wheel has it. Metal needs no option."""
    spec = find_spec("llama_cpp")
    assert spec and spec.origin
    return {"GGML_CUDA": "ON"} if list((Path(spec.origin).parent / "lib").glob("*ggml-cuda*")) else {}


def _run(command: list[str]) -> None:
    option = this_machine.find_without_amx(this_machine.ask_command, shutil.which("cc") or "")
    flags = {name: f"{os.environ.get(name, '')} {option}".strip() for name in ("CFLAGS", "CXXFLAGS")}
    subprocess.run(command, check=True, stdout=sys.stderr, env={**os.environ, **flags})


if __name__ == "__main__":
    print(build())
