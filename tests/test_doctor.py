"""The GPU that is not used: what is found, what is said of it at start, by --require-gpu and by `nitro doctor`.

Builds, drivers and machines are faked; what runs for real runs on this machine, whatever it is.
"""

import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner
from running import server_process

from nitro import doctor
from nitro.cli.main import main
from nitro.engines.backends import probe, registry
from nitro.engines.backends.llama import library as ggml
from nitro.engines.backends.llama.runner import LlamaRunner
from nitro.engines.hardware import nvidia
from nitro.engines.hardware.gpu_findings import why_no_gpu
from nitro.engines.hardware.libraries import Build, Device, Finding, explain
from nitro.engines.hardware.nvidia import Nvidia
from nitro.engines.runner import LoadError
from nitro.engines.types import EngineSpec

CPU, GPU = Device("AMD EPYC", 2**33, False), Device("NVIDIA L4", 23 * 2**30, True)
LLAMA = Build("llama.cpp", "0.3.36", ("CPU",), (CPU,))
CUDA = Build("llama.cpp", "0.3.36", ("CUDA", "CPU"), (CPU,))
MLX = Build("MLX", "0.32", ("Metal", "CPU"), (Device("Apple M4", 2**34, True),))
NO_LLAMA, NO_MLX = Build("llama.cpp", missing="llama_cpp"), Build("MLX", missing="mlx")
L4 = Nvidia(("NVIDIA L4",), driver="570.124.06")
L4_NVCC = Nvidia(("NVIDIA L4", "NVIDIA L4"), nvcc="/usr/local/cuda/bin/nvcc")


def with_gpu(build: Build) -> Build:
    return msgspec.structs.replace(build, devices=(GPU, CPU))


# Build and device


@pytest.mark.parametrize(
    ("build", "found", "what", "cure"),
    [
        (LLAMA, Nvidia(), "No GPU is found, and llama.cpp is a CPU build.", ""),
        (LLAMA, Nvidia(hidden=True), "No GPU is found, and llama.cpp is a CPU build.", ""),
        (
            LLAMA,
            L4_NVCC,
            "The GPU (2 × NVIDIA L4) is not used: llama.cpp is a CPU build.",
            "Run make install in Nitro's folder; it builds with CUDA.",
        ),
        (
            LLAMA,
            L4,
            "The GPU (NVIDIA L4) is not used: llama.cpp is a CPU build.",
            "Install the CUDA toolkit, which brings nvcc, then run make install in Nitro's folder; "
            "it builds with CUDA.",
        ),
        (
            CUDA,
            Nvidia(),
            "llama.cpp is a CUDA build, but there is no NVIDIA driver, or no GPU.",
            "Install the NVIDIA driver; start a container with --gpus all. Or add --gpu-layers 0.",
        ),
        (
            CUDA,
            L4,
            "llama.cpp is a CUDA build, but cannot use the GPU (NVIDIA L4): the driver is missing here, or older than "
            "that CUDA.",
            "Update it. Install the NVIDIA driver; start a container with --gpus all.",
        ),
        (
            CUDA,
            msgspec.structs.replace(L4, hidden=True),
            "llama.cpp is a CUDA build, but CUDA_VISIBLE_DEVICES hides every GPU.",
            "Unset it.",
        ),
        (
            msgspec.structs.replace(CUDA, backends=("Vulkan", "BLAS", "CPU")),
            Nvidia(),
            "No GPU is found, and llama.cpp is a Vulkan build.",
            "",
        ),
    ],
)
def test_why_no_gpu_computes(build: Build, found: Nvidia, what: str, cure: str) -> None:
    assert why_no_gpu(build, found) == Finding(what, cure)
    assert why_no_gpu(with_gpu(build), found) is None


@pytest.mark.parametrize(
    ("library", "what", "cure"),
    [
        (
            "libcuda.so.1",
            "the NVIDIA driver's library",
            "Install the NVIDIA driver; start a container with --gpus",
        ),
        ("libcublas.so.13", "a library of the CUDA runtime", "(nvidia-cublas, nvidia-cuda-runtime)"),
        ("libcublasLt.so.12", "a library of the CUDA runtime", "(LD_LIBRARY_PATH)"),
        ("libcudart.so.12", "a library of the CUDA runtime", "Install CUDA's runtime libraries"),
        ("libgomp.so.1", "OpenMP's library", "sudo apt install libgomp1"),
        ("libstrange-2.so", "a library that it links", "put its folder on the loader's path"),
    ],
)
def test_a_missing_library(library: str, what: str, cure: str) -> None:
    error = (
        f"Failed to load shared library '/x/lib/libllama.so': {library}: cannot open shared object file: No such file"
    )
    finding = explain(error, path=[])
    assert finding.what == f"{library} is not found, {what}."
    assert cure in finding.cure


def test_a_missing_library_that_pip_has_installed(tmp_path: Path) -> None:
    for file in ("cublas/lib/libcublas.so.12", "cuda_runtime/lib/libcudart.so.12"):
        (tmp_path / "nvidia" / file).parent.mkdir(parents=True)
        (tmp_path / "nvidia" / file).touch()
    error = "libcudart.so.12: cannot open shared object file: No such file or directory"
    folders = f"LD_LIBRARY_PATH={tmp_path}/nvidia/cublas/lib:{tmp_path}/nvidia/cuda_runtime/lib"
    assert explain(error, path=["/nowhere", str(tmp_path)]).cure.endswith(folders)


def test_any_other_error_stays_as_it_is() -> None:
    error = "dlopen(libllama.dylib):\n  Library not loaded: libggml.dylib"
    assert explain(error) == Finding("dlopen(libllama.dylib): Library not loaded: libggml.dylib")


# What there is of NVIDIA's


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with nothing in proc/, dev/ and bin/."""
    for name in ("proc", "dev", "bin"):
        (tmp_path / name).mkdir()
    monkeypatch.setattr(nvidia, "PROC", tmp_path / "proc")
    monkeypatch.setattr(nvidia, "DEV", tmp_path / "dev")
    for name in ("CUDA_HOME", "CUDA_PATH", "CUDACXX", "CUDA_VISIBLE_DEVICES"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    return tmp_path


def program(file: Path, text: str = "") -> str:
    file.parent.mkdir(exist_ok=True)
    file.write_text(f"#!/bin/sh\n{text}\n")
    file.chmod(0o755)
    return str(file)


def test_a_driver_as_the_kernel_tells_it(machine: Path) -> None:
    for name, text in (("0000:01:00.0", "Model: \t\t NVIDIA L4\nIRQ: 5\n"), ("0000:02:00.0", None)):
        (machine / "proc" / "gpus" / name).mkdir(parents=True)
        if text:
            (machine / "proc" / "gpus" / name / "information").write_text(text)
    (machine / "proc" / "version").write_text(
        "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  570.133.20  Release Build\nGCC version: 12.2.0\n"
    )
    assert nvidia.find().gpus == (), "a container without the device file"
    (machine / "dev" / "nvidia0").touch()
    assert nvidia.find().gpus == ("NVIDIA L4", "NVIDIA GPU")
    assert nvidia.find().driver == "570.133.20"


def test_a_driver_as_nvidia_smi_tells_it(machine: Path) -> None:
    program(
        machine / "bin" / "nvidia-smi",
        'if [ "$1" = -L ]; then echo "GPU 0: NVIDIA H100 80GB HBM3 (UUID: GPU-1)"; else echo 550.54.15; fi',
    )
    found = nvidia.find()
    assert (found.gpus, found.driver) == (("NVIDIA H100 80GB HBM3",), "550.54.15")


@pytest.mark.parametrize("text", ["echo NVIDIA-SMI has failed 1.2; exit 9", "echo No devices found."])
def test_a_driver_that_does_not_work(machine: Path, text: str) -> None:
    program(machine / "bin" / "nvidia-smi", text)
    assert (nvidia.find().gpus, nvidia.find().driver) == ((), "")


def test_nvcc(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    in_home = program(machine / "bin2" / "nvcc")
    (machine / "cuda").mkdir()
    (machine / "cuda" / "bin").symlink_to(machine / "bin2")
    monkeypatch.setenv("CUDA_HOME", str(machine / "cuda"))
    assert Path(nvidia.find().nvcc).resolve() == Path(in_home)
    in_path = program(machine / "bin" / "nvcc")
    assert nvidia.find().nvcc == in_path


@pytest.mark.parametrize(("value", "hidden"), [("", True), ("-1", True), ("0", False), ("0,1", False)])
@pytest.mark.usefixtures("machine")
def test_hidden_gpus(monkeypatch: pytest.MonkeyPatch, value: str, hidden: bool) -> None:
    assert not nvidia.find().hidden
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", value)
    assert nvidia.find().hidden == hidden


# At start


def load(smollm: Path, **flags: object) -> str:
    """Where the KV cache of a model lies that was loaded with these flags."""
    runner = LlamaRunner(EngineSpec("llama", str(smollm), context=256, parallel=1, **flags))
    runner.close()
    return runner.info.kv_place


@pytest.fixture
def cpu_build(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ggml, "build", lambda: LLAMA)


@pytest.mark.usefixtures("cpu_build")
def test_a_gpu_that_is_not_used_is_shouted_about(
    smollm: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(nvidia, "find", lambda: L4_NVCC)
    assert load(smollm)
    (record,) = [record for record in caplog.records if record.levelname == "WARNING"]
    assert "2 × NVIDIA L4) is not used" in record.message and "make install" in record.message


@pytest.mark.parametrize(("found", "flags"), [(Nvidia(), {}), (L4, {"gpu_layers": 0})])
@pytest.mark.usefixtures("cpu_build")
def test_nothing_is_said_where_there_is_none_or_none_is_wanted(
    smollm: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    found: Nvidia,
    flags: dict[str, int],
) -> None:
    monkeypatch.setattr(nvidia, "find", lambda: found)
    assert load(smollm, **flags)
    assert not [record for record in caplog.records if record.levelname == "WARNING"]


@pytest.mark.parametrize(
    ("build", "found", "reason"),
    [
        (LLAMA, Nvidia(), "No GPU is found, and llama.cpp is a CPU build"),
        (LLAMA, L4, "is not used: llama.cpp is a CPU build"),
        (CUDA, Nvidia(), "there is no NVIDIA driver"),
    ],
)
def test_require_gpu_says_why(
    smollm: Path, monkeypatch: pytest.MonkeyPatch, build: Build, found: Nvidia, reason: str
) -> None:
    monkeypatch.setattr(ggml, "build", lambda: build)
    monkeypatch.setattr(nvidia, "find", lambda: found)
    with pytest.raises(LoadError, match=f"^--require-gpu cannot be met. .*{reason}"):
        load(smollm, require_gpu=True)


@pytest.mark.parametrize(
    ("placed", "asked", "said"),
    [
        ((0, 31), None, r"0 of 31"),
        ((10, 31), None, r"10 of 31"),
        ((10, 31), 99, r"10 of 31"),
        ((10, 31), 12, r"10 of 12"),
    ],
)
def test_require_gpu_counts_layers(
    smollm: Path, monkeypatch: pytest.MonkeyPatch, placed: tuple[int, int], asked: int | None, said: str
) -> None:
    monkeypatch.setattr(ggml, "build", lambda: with_gpu(CUDA))
    monkeypatch.setattr(ggml.Log, "offloaded", lambda _: placed)
    with pytest.raises(LoadError, match=f"{said} layers lie on a GPU"):
        load(smollm, require_gpu=True, gpu_layers=asked)


@pytest.mark.parametrize(("placed", "asked"), [((31, 31), None), ((12, 31), 12)])
def test_require_gpu_is_content(
    smollm: Path, monkeypatch: pytest.MonkeyPatch, placed: tuple[int, int], asked: int | None
) -> None:
    monkeypatch.setattr(ggml, "build", lambda: with_gpu(CUDA))
    monkeypatch.setattr(ggml, "devices", lambda: [GPU])
    monkeypatch.setattr(ggml.Log, "offloaded", lambda _: placed)
    load(smollm, require_gpu=True, gpu_layers=asked)


@pytest.mark.parametrize("required", [True, False])
def test_a_gpu_of_whose_layers_the_log_says_nothing(
    smollm: Path, monkeypatch: pytest.MonkeyPatch, required: bool
) -> None:
    """It would compute with what suits a CPU, and nobody would know."""
    monkeypatch.setattr(ggml, "build", lambda: with_gpu(CUDA))
    with pytest.raises(LoadError, match=r"its log does not say how many layers .* --gpu-layers 0 computes on the CPU"):
        load(smollm, require_gpu=required)
    assert load(smollm, gpu_layers=0) == "CPU"


def test_require_gpu_and_no_layers(smollm: Path) -> None:
    with pytest.raises(LoadError, match="exclude each other"):
        load(smollm, require_gpu=True, gpu_layers=0)


def test_require_gpu_on_mlx(monkeypatch: pytest.MonkeyPatch) -> None:
    mx = pytest.importorskip("mlx.core")
    from nitro.engines.backends.mlx.runner import MlxRunner

    monkeypatch.setattr(mx.metal, "is_available", lambda: False)
    with pytest.raises(LoadError, match=r"^--require-gpu cannot be met\. MLX finds no Metal"):
        MlxRunner(EngineSpec("mlx", "/nowhere", require_gpu=True))


def test_mlx_on_cuda_is_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    mx = pytest.importorskip("mlx.core")
    from nitro.engines.backends.mlx import library

    monkeypatch.setattr(mx.metal, "is_available", lambda: False)
    assert (library.gpu_kind(), library.build().has_gpu) == ("", False)
    monkeypatch.setattr(mx, "default_device", lambda: mx.Device(mx.gpu))
    build = library.build()
    assert (library.gpu_kind(), build.has_gpu) == ("CUDA", True) and "CUDA" in str(build)
    library.check_gpu(EngineSpec("mlx", "/nowhere", require_gpu=True))


def test_a_server_that_requires_a_gpu_ends_without_one(tmp_path: Path) -> None:
    if ggml.build().has_gpu:
        pytest.skip("this machine has a GPU")
    with server_process("--require-gpu", "--engine", "llama", cwd=tmp_path) as server:
        said = server.process.stderr.read().splitlines()
        assert server.process.wait() == 1
    assert said[-1].startswith("nitro: --require-gpu cannot be met. "), said


def test_the_banner_tells_where_the_kv_cache_lies(tmp_path: Path) -> None:
    with server_process("--engine", "llama", "--ctx", "256", "--parallel", "1", cwd=tmp_path) as server:
        server.wait_ready()
    place = "" if ggml.build().has_gpu else "CPU"
    assert f", KV cache: {place}" in "".join(server.said)


# The probe


def test_the_probe_of_a_library_that_is_not_there() -> None:
    engine = replace(registry.MLX, probe="no_such_library.build:build")
    assert probe.probe(engine) == Build("MLX", missing="no_such_library")


@pytest.mark.parametrize(
    ("error", "what", "cure"),
    [
        ("libcudart.so.12: cannot open shared object file", "libcudart.so.12 is not found", "Install CUDA's runtime"),
        ("version `GLIBC_2.99' not found", "version `GLIBC_2.99' not found", "Build it again"),
    ],
)
def test_the_probe_of_a_library_that_does_not_load(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: str, what: str, cure: str
) -> None:
    (tmp_path / "broken_build.py").write_text(f"raise RuntimeError({error!r})")
    monkeypatch.syspath_prepend(tmp_path)
    build = probe.probe(replace(registry.LLAMA, probe="broken_build:build"))
    assert build.fault and not build.usable
    assert what in build.fault.what and cure in build.fault.cure


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("import ctypes; ctypes.string_at(0)", "its process was killed by SIGSEGV."),
        (
            "import os; os.kill(os.getpid(), 4)",
            "its process was killed by SIGILL: it is built for another processor.",
        ),
        pytest.param(
            "import os; os.kill(os.getpid(), 40)",
            "its process was killed by signal 40.",
            marks=pytest.mark.skipif(sys.platform != "linux", reason="a signal without a name"),
        ),
        ("import sys; sys.exit('a\\nb')", "its process ended with status 1 (b)."),
        ("print('hello')", "it did not answer the probe."),
        ("", "it did not answer the probe."),
    ],
)
def test_a_probe_that_crashes_is_a_finding(script: str, said: str) -> None:
    build = doctor.probe(registry.LLAMA, [sys.executable, "-c", script])
    assert build.library == "llama.cpp" and build.fault and build.fault.what == said
    assert "make install" in build.fault.cure


def test_a_probe_that_hangs_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "TIMEOUT", 0.2)
    build = doctor.probe(registry.MLX, [sys.executable, "-c", "import time; time.sleep(60)"])
    assert build.library == "MLX" and build.fault and "did not answer" in build.fault.what


@pytest.mark.parametrize("engine", registry.ENGINES, ids=lambda engine: engine.name)
def test_the_probe_on_this_machine(engine: registry.EngineDescriptor) -> None:
    build = doctor.probe(engine)
    assert build.library == engine.library and build.fault is None
    assert build.missing or (build.version and build.devices and "CPU" in build.backends)


# The diagnosis

BOX = doctor.Facts("3.13.1", "x86_64", (2**34, 2**35), 8, Nvidia(), {"llama": LLAMA, "mlx": NO_MLX}, model="/m.gguf")
MAC = msgspec.structs.replace(BOX, processor="arm64", system="darwin", engines={"llama": NO_LLAMA, "mlx": MLX})


def box(facts: doctor.Facts = BOX, **changes: object) -> doctor.Facts:
    return msgspec.structs.replace(facts, **changes)


def engines(llama: Build, mlx: Build = NO_MLX) -> dict[str, dict[str, Build]]:
    return {"engines": {"llama": llama, "mlx": mlx}}


BROKEN = Build("llama.cpp", fault=Finding("libcublas.so.13 is not found.", "Install it."))
SLOW_MLX = Build("MLX", "0.32", ("CPU",), (CPU,))

# what it is called here, the facts, what each finding says
DIAGNOSES: dict[str, tuple[doctor.Facts, list[str]]] = {
    "a CPU box": (BOX, []),
    "a CPU box with MLX's CPU build": (box(**engines(LLAMA, SLOW_MLX)), []),
    "a GPU server": (box(nvidia=L4_NVCC, **engines(with_gpu(CUDA))), []),
    "a Mac": (MAC, []),
    "a Mac with both": (box(MAC, **engines(with_gpu(LLAMA), MLX)), []),
    "a Mac with llama.cpp only": (box(MAC, **engines(with_gpu(LLAMA))), []),
    "a CPU build beside a GPU": (box(nvidia=L4), [r"\(NVIDIA L4\) is not used: .* Install the CUDA toolkit"]),
    "a CPU build beside a GPU and nvcc": (box(nvidia=L4_NVCC), [r"is not used: .* build\. Run make install"]),
    "a CUDA build without a driver": (box(**engines(CUDA)), ["CUDA build, but .* Install the NVIDIA driver"]),
    "a CUDA build that a driver does not suit": (box(nvidia=L4, **engines(CUDA)), ["CUDA build, but .* Update it"]),
    "a missing library": (
        box(**engines(BROKEN)),
        ["llama.cpp does not load: libcublas.so.13 is not found. Install it."],
    ),
    "a broken engine that is not needed": (
        box(**engines(LLAMA, msgspec.structs.replace(BROKEN, library="MLX"))),
        ["MLX does not load"],
    ),
    "a Mac with a broken spare engine": (box(MAC, **engines(BROKEN, MLX)), ["llama.cpp does not load"]),
    "nothing installed": (box(**engines(NO_LLAMA)), ["^llama.cpp is not installed. Run make install"]),
    "MLX alone where it is slow": (box(**engines(NO_LLAMA, SLOW_MLX)), ["^llama.cpp is not installed"]),
    "a Mac with nothing": (
        box(MAC, **engines(NO_LLAMA)),
        ["^Neither MLX nor llama.cpp is installed. Run make install"],
    ),
    "a Mac without Metal": (box(MAC, **engines(NO_LLAMA, SLOW_MLX)), ["MLX finds no Metal"]),
    "Rosetta": (box(translated=True), ["run by Rosetta .* arm64"]),
    "no model": (box(model="", no_model="Not here: pip install it."), ["Not here: pip install it."]),
    "all at once": (
        box(translated=True, nvidia=L4, no_model="Not here.", **engines(CUDA, BROKEN)),
        ["Rosetta", "does not load", "CUDA build", "Not here."],
    ),
}


@pytest.mark.parametrize("name", DIAGNOSES)
def test_diagnosis(name: str) -> None:
    facts, said = DIAGNOSES[name]
    findings = [str(finding) for finding in doctor.diagnose(facts)]
    assert len(findings) == len(said), findings
    for finding, part in zip(findings, said, strict=True):
        assert re.search(part, finding), finding


def tell(monkeypatch: pytest.MonkeyPatch, facts: doctor.Facts) -> tuple[int, str]:
    monkeypatch.setattr(doctor, "collect", lambda: facts)
    result = CliRunner().invoke(main, ["doctor"])
    return result.exit_code, " ".join(result.output.split())


def test_what_is_told_of_a_gpu_server(monkeypatch: pytest.MonkeyPatch) -> None:
    status, said = tell(monkeypatch, box(nvidia=L4, **engines(with_gpu(CUDA))))
    assert status == 0 and said.endswith("Nothing is wrong.")
    for part in (
        "Python 3.13.1, x86_64",
        "memory 16.0 GiB free of 32.0 GiB",
        "cores 8",
        "NVIDIA GPU: NVIDIA L4, driver: 570.124.06, no nvcc",
        "llama.cpp 0.3.36, CUDA build, usable; devices: NVIDIA L4 (23.0 GiB free), AMD EPYC",
        "MLX not installed (no mlx)",
        "model SmolLM2-135M-Instruct: /m.gguf",
    ):
        assert part in said, part


def test_what_is_told_of_much_trouble(monkeypatch: pytest.MonkeyPatch) -> None:
    trouble = box(translated=True, nvidia=Nvidia(hidden=True), model="", no_model="[bold]Not[/bold]", **engines(BROKEN))
    status, said = tell(monkeypatch, trouble)
    assert status == 1
    for part in (
        "x86_64, run by Rosetta",
        "NVIDIA no GPU, no driver, no nvcc, hidden by CUDA_VISIBLE_DEVICES",
        "llama.cpp does not load",
        "model SmolLM2-135M-Instruct: not installed",
        "To fix 1. This Python",
        "2. llama.cpp does not load: libcublas.so.13",
        "3. [bold]Not[/bold]",
    ):
        assert part in said, part


def test_doctor_on_this_machine(tmp_path: Path) -> None:
    command = [sys.executable, "-P", "-m", "nitro", "doctor"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.stderr == ""
    assert done.returncode == (0 if done.stdout.endswith("Nothing is wrong.\n") else 1)
    assert ("To fix\n  1. " in done.stdout) == (done.returncode == 1)
    for name in ("Python", "memory", "cores", "NVIDIA", "llama.cpp", "MLX", "model"):
        assert f"\n  {name} " in done.stdout


# For programs

EXAMPLE = re.search(r"```json\n(.*?)```", (Path(__file__).parents[1] / "docs/shell.md").read_text("utf-8"), re.DOTALL)


def fields(value: object) -> object:
    """The names and kinds of what JSON has; of a list, those of all its members."""
    if isinstance(value, dict):
        return {name: fields(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [fields(inner) for inner in value[:1]]
    return "text" if value is None else {str: "text", bool: "bool", int: "number"}[type(value)]


def told_as_json(monkeypatch: pytest.MonkeyPatch, facts: doctor.Facts) -> tuple[int, dict]:
    monkeypatch.setattr(doctor, "collect", lambda: facts)
    result = CliRunner().invoke(main, ["doctor", "--json"])
    return result.exit_code, json.loads(result.stdout)


def test_the_report_for_programs_has_what_is_documented(monkeypatch: pytest.MonkeyPatch) -> None:
    assert EXAMPLE
    status, told = told_as_json(monkeypatch, box(nvidia=L4))
    assert status == 1 and told["ok"] is False
    assert fields(told) == fields(json.loads(EXAMPLE[1]))


def test_the_report_for_programs_says_what_the_other_says(monkeypatch: pytest.MonkeyPatch) -> None:
    facts = box(translated=True, nvidia=L4_NVCC, model="", no_model="Not here.", **engines(BROKEN, MLX))
    status, told = told_as_json(monkeypatch, facts)
    assert status == 1
    assert [f"{found['what']} {found['cure']}".rstrip() for found in told["findings"]] == [
        str(finding) for finding in doctor.diagnose(facts)
    ]
    llama, mlx = told["engines"]
    assert (llama["name"], llama["installed"], llama["usable"], llama["version"]) == ("llama", True, False, None)
    assert (mlx["usable"], mlx["automatic"], mlx["devices"][0]["gpu"]) == (True, False, True)
    assert told["model"]["path"] is None and told["nvidia"]["gpus"] == ["NVIDIA L4"] * 2
    assert told["machine"]["memory"] == {"free": 2**34, "total": 2**35}


def test_a_machine_with_nothing_to_fix(monkeypatch: pytest.MonkeyPatch) -> None:
    status, told = told_as_json(monkeypatch, MAC)
    assert (status, told["ok"], told["findings"]) == (0, True, [])
    assert [engine["automatic"] for engine in told["engines"]] == [True, True]
