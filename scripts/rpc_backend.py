#!/usr/bin/env python3
"""Builds llama.cpp's backend for other machines (RPC) for the llama-cpp-python that is installed, without building
llama.cpp again: two of its files are compiled, and linked with the ggml that is there. Takes some seconds.

    python scripts/rpc_backend.py [FOLDER]    FOLDER: sources of that version, where they are unpacked already

Runs with the Python for which it builds. The library lies in that Python's folder, named after the version; one that is
there is kept. Where there is no compiler, or no source, a file beside it says so, and nitro tells who asks for --rpc.

Standard library only.
"""

import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

PACKAGE = "llama-cpp-python"
SOURCE = "vendor/llama.cpp/ggml"  # in its source distribution
FORM = 3  # of what is built: with another one, a library that is there is not kept
OURS = tuple(Path(__file__).resolve().parent / "ggml_rpc" / name for name in ("offered_memory.cpp", "sign_of_life.cpp"))
FILES = ("src/ggml-rpc/ggml-rpc.cpp", "src/ggml-rpc/transport.cpp")
# As ggml's own build compiles a backend that is loaded while a program runs (ggml/src/CMakeLists.txt)
DEFINED = ("GGML_BACKEND_DL", "GGML_BACKEND_SHARED", "GGML_BACKEND_BUILD", "GGML_SHARED")
# What of ggml-backend.h and of the system goes through our files; see there
REPLACED = {
    "accept": "nitro_accept",
    "ggml_backend_dev_memory": "nitro_rpc_memory",
    "ggml_backend_buft_alloc_buffer": "nitro_rpc_alloc",
    "ggml_backend_buffer_free": "nitro_rpc_free",
}


class CannotBuild(Exception):
    """The message says why, as a sentence without its end."""


def target(release: str) -> Path:
    """Where the library for this release of llama-cpp-python lies: nitro/engines/remote/library_file.py looks there."""
    return Path(sys.prefix) / "lib" / "nitro" / f"libggml-rpc-{release}-{FORM}.so"


def build(source: Path | None) -> Path:
    """The library, built unless it exists. Raises CannotBuild."""
    try:
        release = version(PACKAGE)
    except PackageNotFoundError:
        raise CannotBuild(f"{PACKAGE} is not installed") from None
    library = target(release)
    if library.is_file():
        return library
    compiler = os.environ.get("CXX") or shutil.which("c++") or shutil.which("g++") or shutil.which("clang++")
    if not compiler:
        raise CannotBuild("no C++ compiler was found when Nitro was installed")
    library.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=str(library.parent)) as folder:
        made = Path(folder) / library.name
        compile_library(compiler.split(), (source or fetch(release, Path(folder))) / SOURCE, Path(folder), made)
        os.replace(str(made), str(library))
    return library


def fetch(release: str, folder: Path) -> Path:
    """The sources of this release: pip has them in its cache where it has built them. Raises CannotBuild."""
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", PACKAGE]
    pin = f"{PACKAGE}=={release}"
    if subprocess.call([*pip, "--dest", str(folder), pin], stdin=subprocess.DEVNULL) != 0:
        raise CannotBuild(f"pip could not fetch the sources of {pin}")
    (archive,) = folder.glob("*.tar.gz")
    with tarfile.open(str(archive)) as opened:
        opened.extractall(str(folder), filter="data")
    (found,) = (path for path in folder.iterdir() if path.is_dir())
    return found


def compile_library(compiler: list[str], ggml: Path, folder: Path, made: Path) -> None:
    """Compile the sources in `ggml` into `made`. Raises CannotBuild."""
    if not all((ggml / name).is_file() for name in FILES):
        raise CannotBuild(f"{ggml} has no backend for RPC")
    common = ["-O2", "-std=c++17", "-fPIC", "-fvisibility=hidden", f"-I{ggml / 'include'}", f"-I{ggml / 'src'}"]
    common += ["-D" + name for name in DEFINED]
    renamed = [f"-D{name}={ours}" for name, ours in REPLACED.items()]
    objects = []
    for source, flags in [*((ggml / name, renamed) for name in FILES), *((path, []) for path in OURS)]:
        objects.append(str(folder / (source.stem + ".o")))
        run([*compiler, *common, *flags, "-c", str(source), "-o", objects[-1]])
    libraries = installed_libraries()
    base = next((path for path in sorted(libraries.glob("libggml-base.*")) if path.suffix in (".0", ".dylib")), None)
    if base is None:
        raise CannotBuild(f"{libraries} has no libggml-base")
    run([*compiler, "-shared", "-o", str(made), *objects, str(base), f"-Wl,-rpath,{libraries}", "-lpthread"])


def installed_libraries() -> Path:
    """The folder with ggml's libraries of the llama-cpp-python that is installed. Raises CannotBuild."""
    spec = find_spec("llama_cpp")
    if not spec or not spec.origin:
        raise CannotBuild(f"{PACKAGE} is not installed")
    return Path(spec.origin).parent / "lib"


def run(command: list[str]) -> None:
    """Raises CannotBuild where the command fails; its own message is shown."""
    try:
        done = subprocess.call(command, stdin=subprocess.DEVNULL)
    except OSError as error:
        raise CannotBuild(f"{command[0]}: {error.strerror}") from None
    if done != 0:
        raise CannotBuild(f"the compiler ({command[0]}) failed")


def main(arguments: list[str]) -> int:
    """Build, or note why not. Returns the exit status: 0 in both cases, since everything else of Nitro works."""
    reason = Path(sys.prefix) / "lib" / "nitro" / "no-rpc"
    try:
        build(Path(arguments[0]).resolve() if arguments else None)
    except CannotBuild as problem:
        reason.parent.mkdir(parents=True, exist_ok=True)
        reason.write_text(f"{problem}\n")
        print(f"nitro: --rpc is not available: {problem}", flush=True)
        return 0
    if reason.exists():
        reason.unlink()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
