"""`nitro doctor`: what this machine has, what Nitro makes of it, and what to mend.

Engine libraries are asked in processes of their own (hardware/probe.py), so that one which crashes is a finding.
"""

import os
import platform
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence

import msgspec
from msgspec import Struct
from rich.console import Console

from nitro import __version__
from nitro.engines.hardware import machine, nvidia
from nitro.engines.hardware import memory as fit
from nitro.engines.hardware.libraries import ANEW, Build, Device, Finding, named, without_gpu
from nitro.engines.hardware.nvidia import Nvidia
from nitro.errors import StartError
from nitro.models import default_model

ENGINES = {"llama": "llama.cpp", "mlx": "MLX"}
PROBE = (sys.executable, "-P", "-m", "nitro.engines.hardware.probe")
PATIENCE = 120.0  # seconds a library has to answer: a GPU's first use may take many
SIGNALS = {each.value: each.name for each in signal.Signals}


class Facts(Struct, frozen=True):
    """What can be known of a machine without a judgement."""

    python: str  # version
    processor: str  # what that Python is built for
    memory: tuple[int, int]  # free, in all; bytes
    cores: int
    nvidia: Nvidia
    engines: dict[str, Build]  # by the names of --engine
    apple_silicon: bool = False
    translated: bool = False
    model: str = ""  # the embedded model's file
    no_model: str = ""  # why there is none


def run() -> int:
    """Look, tell, and give the exit status: 1 if there is anything to mend."""
    facts = collect()
    findings = diagnose(facts)
    console = Console(soft_wrap=True)
    console.print(f"[bold]Nitro {__version__}[/bold]", highlight=False)
    for name, value in describe(facts).items():
        console.print(f"  {name:10} {value}", highlight=False, markup=False)
    console.print("[bold]To mend[/bold]" if findings else "Nothing is wrong.", highlight=False)
    for number, finding in enumerate(findings, 1):
        console.print(f"  {number}. {finding}", highlight=False, markup=False)
    return 1 if findings else 0


# Judging


def diagnose(facts: Facts) -> list[Finding]:
    """Everything that is wrong, in the order in which to mend it."""
    return [finding for check in (_python, _engines, _gpu, _model) for finding in check(facts)]


def _python(facts: Facts) -> Iterator[Finding]:
    if facts.translated:
        yield Finding(
            "This Python is an x86_64 one, run by Rosetta on an Apple-Silicon Mac.",
            "Install an arm64 one (brew install python, with the Homebrew in /opt/homebrew), put it first in PATH, "
            "then make clean and make install.",
        )


def _engines(facts: Facts) -> Iterator[Finding]:
    """An engine that is not installed is missed only where nothing else serves in its place."""
    broken = {name: build for name, build in facts.engines.items() if build.fault}
    for build in broken.values():
        yield Finding(f"{build.library} does not load: {build.fault}")
    needed = ("mlx", "llama") if facts.apple_silicon else ("llama",)
    if not any(name in broken or facts.engines[name].usable for name in needed):
        none = "Neither MLX nor llama.cpp is installed." if facts.apple_silicon else "llama.cpp is not installed."
        yield Finding(none, "Run make install in Nitro's folder.")


def _gpu(facts: Facts) -> Iterator[Finding]:
    llama, mlx = facts.engines["llama"], facts.engines["mlx"]
    finding = without_gpu(llama, facts.nvidia) if llama.usable else None
    if finding and finding.cure:
        yield finding
    if facts.apple_silicon and mlx.usable and not mlx.has_gpu:
        yield Finding(
            "MLX finds no Metal on this Mac and computes on the CPU.", "Virtual Macs have none; use a real one."
        )


def _model(facts: Facts) -> Iterator[Finding]:
    if facts.no_model:
        yield Finding(facts.no_model)


# Looking


def collect() -> Facts:
    try:
        model, no_model = str(default_model.path()), ""
    except StartError as error:
        model, no_model = "", str(error)
    return Facts(
        python=platform.python_version(),
        processor=platform.machine(),
        memory=(fit.free_host_memory(), os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")),
        cores=fit.physical_cores(),
        nvidia=nvidia.find(),
        engines={name: ask(name) for name in ENGINES},
        apple_silicon=machine.is_apple_silicon(),
        translated=machine.is_translated(),
        model=model,
        no_model=no_model,
    )


def ask(engine: str, program: Sequence[str] = PROBE) -> Build:
    """What the probe says of an engine's library, or how the probe ended."""
    try:
        done = subprocess.run([*program, engine], stdin=subprocess.DEVNULL, capture_output=True, timeout=PATIENCE)
        if done.returncode == 0:
            return msgspec.json.decode(done.stdout.splitlines()[-1], type=Build)
    except (subprocess.TimeoutExpired, msgspec.DecodeError, IndexError):
        return _failed(engine, "it was asked what it is, and did not answer.")
    if done.returncode < 0:
        name = SIGNALS.get(-done.returncode, f"signal {-done.returncode}")
        why = ": it is built for another processor" if name == "SIGILL" else ""
        return _failed(engine, f"its process was killed by {name}{why}.")
    last = done.stderr.decode(errors="replace").strip().rpartition("\n")[2]
    return _failed(engine, f"its process ended with status {done.returncode} ({last}).")


def _failed(engine: str, what: str) -> Build:
    return Build(ENGINES[engine], fault=Finding(what, ANEW))


# Telling


def describe(facts: Facts) -> dict[str, str]:
    free, total = map(_gib, facts.memory)
    translated = ", run by Rosetta" if facts.translated else ""
    return {
        "Python": f"{facts.python}, {facts.processor}{translated}",
        "memory": f"{free} free of {total}",
        "cores": str(facts.cores),
        "NVIDIA": _nvidia(facts.nvidia),
        **{build.library: _build(build) for build in facts.engines.values()},
        "model": f"{default_model.ID}: {facts.model or 'not installed'}",
    }


def _nvidia(found: Nvidia) -> str:
    hidden = ", hidden by CUDA_VISIBLE_DEVICES" if found.hidden else ""
    parts = {"GPU": named(found.gpus), "driver": found.driver, "nvcc": found.nvcc}
    return ", ".join(f"{name}: {value}" if value else f"no {name}" for name, value in parts.items()) + hidden


def _build(build: Build) -> str:
    if build.missing:
        return f"not installed (no {build.missing})"
    if build.fault:
        return "does not load"
    devices = ", ".join(map(_device, build.devices))
    return f"{build.version}, {build.kind} build, usable; devices: {devices or 'none'}"


def _device(device: Device) -> str:
    return f"{device.name} ({_gib(device.free)} free)" if device.is_gpu else device.name  # main memory stands above


def _gib(count: int) -> str:
    return f"{count / 2**30:.1f} GiB"
