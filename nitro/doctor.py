"""`nitro doctor`: reports this machine's hardware and engines, and what to fix.

Each engine's library is probed in a process of its own (backends/probe.py), so that a crash is a finding.
"""

import os
import platform
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from nitro import __version__
from nitro.doctor_report import Driver, Engine, EngineDevice, Machine, Memory, Model, PrefixCache, Report, RpcWorker
from nitro.engines.backends import registry
from nitro.engines.backends.registry import ENGINES, EngineDescriptor
from nitro.engines.hardware import machine, memory, nvidia
from nitro.engines.hardware.gpu_findings import named, why_no_gpu
from nitro.engines.hardware.libraries import REBUILD, Build, Device, Finding
from nitro.engines.hardware.nvidia import Nvidia
from nitro.engines.prefix_files.folder import PrefixFolder
from nitro.engines.remote import greeting, library_file
from nitro.engines.remote import workers as rpc_workers
from nitro.errors import StartError
from nitro.models import default_model
from nitro.system import signals, terminal

PROBE = (sys.executable, "-P", "-m", "nitro.engines.backends.probe")
TIMEOUT = 120.0  # seconds a library has to answer: the first use of a GPU may take many


class Facts(Struct, frozen=True):
    """What can be known of a machine without a judgement."""

    python: str  # version
    processor: str  # what that Python is built for
    memory: tuple[int, int]  # free, total; bytes
    cores: int
    nvidia: Nvidia
    engines: dict[str, Build]  # by the names of --engine
    system: str = "linux"  # as sys.platform
    translated: bool = False  # an x86_64 Python that Rosetta runs on an Apple-Silicon Mac
    model: str = ""  # the embedded model's file
    no_model: str = ""  # why there is none
    prefix_cache: PrefixCache | None = None  # None: none is set
    no_rpc: str = ""  # why llama.cpp can have no layers on other machines
    workers: tuple[RpcWorker, ...] = ()  # that were named, as they answered

    @property
    def automatic(self) -> list[EngineDescriptor]:
        """The engines that --engine auto takes on this machine."""
        return registry.automatic(registry.platform_name(self.system, self.processor))


def run(as_json: bool = False, prefix_cache: Path | None = None, rpc: str | None = None) -> int:
    """Print what there is and what to fix. Returns the exit status: 1 if there is anything to fix. `prefix_cache`: the
    folder of --prefix-cache; `rpc`: the workers of --rpc."""
    facts = collect()
    if prefix_cache is not None:
        folder = PrefixFolder(prefix_cache, 0)
        facts = replace(facts, prefix_cache=PrefixCache(str(folder.path), *folder.usage()))
    if rpc is not None:
        facts = replace(facts, workers=tuple(map(ask_worker, rpc.split(","))))
    findings = diagnose(facts)
    if as_json:
        print(msgspec.json.format(msgspec.json.encode(report(facts, findings))).decode())
        return 1 if findings else 0
    terminal.say(f"Nitro {__version__}", bold=True)
    terminal.facts(describe(facts))
    terminal.say("To fix" if findings else "Nothing is wrong.", bold=bool(findings))
    for number, finding in enumerate(findings, 1):
        terminal.say(f"  {number}. {finding}", indent=5)
    return 1 if findings else 0


# Judging


def diagnose(facts: Facts) -> list[Finding]:
    """Everything that is wrong, in the order in which to fix it."""
    return [finding for check in (_python, _engines, _gpu, _model, _workers) for finding in check(facts)]


def _python(facts: Facts) -> Iterator[Finding]:
    if facts.translated:
        yield Finding(
            "This Python is an x86_64 one, run by Rosetta on an Apple-Silicon Mac.",
            "Install an arm64 one (brew install python, with the Homebrew in /opt/homebrew), put it first in PATH, "
            "then make clean and make install.",
        )


def _engines(facts: Facts) -> Iterator[Finding]:
    """A missing engine is a finding only where no other one serves in its place."""
    for build in facts.engines.values():
        if build.fault:
            yield Finding(f"{build.library} does not load: {build.fault}")
    needed = facts.automatic
    if all(facts.engines[engine.name].missing for engine in needed):
        *others, last = [engine.library for engine in needed]
        none = f"Neither {', '.join(others)} nor {last} is installed." if others else f"{last} is not installed."
        yield Finding(none, "Run make install in Nitro's folder.")


def _gpu(facts: Facts) -> Iterator[Finding]:
    """Engines that compute on the CPU although there is a GPU, or ought to be."""
    for engine in ENGINES:
        build = facts.engines[engine.name]
        if build.usable and not build.has_gpu:
            yield from GPU_CHECKS[engine.gpu](facts, engine, build)


def _no_cuda(facts: Facts, _engine: EngineDescriptor, build: Build) -> Iterator[Finding]:
    finding = why_no_gpu(build, facts.nvidia)
    if finding and finding.cure:
        yield finding


def _no_metal(facts: Facts, engine: EngineDescriptor, build: Build) -> Iterator[Finding]:
    if engine in facts.automatic:
        why = f"{build.library} finds no Metal on this Mac and computes on the CPU."
        yield Finding(why, "Virtual Macs have none; use a real one.")


GPU_CHECKS: dict[str, Callable[[Facts, EngineDescriptor, Build], Iterator[Finding]]] = {
    "CUDA": _no_cuda,
    "Metal": _no_metal,
}


def _model(facts: Facts) -> Iterator[Finding]:
    if facts.no_model:
        yield Finding(facts.no_model)


def _workers(facts: Facts) -> Iterator[Finding]:
    if facts.workers and facts.no_rpc:
        yield Finding(facts.no_rpc)
    for worker in facts.workers:
        if worker.fault:
            yield Finding(worker.fault)


# Looking


def collect() -> Facts:
    """Everything that is known of this machine. Takes about a second: each engine's library is loaded."""
    model = no_model = ""
    try:
        model = str(default_model.path())
    except StartError as error:
        no_model = str(error)
    with ThreadPoolExecutor(len(ENGINES)) as pool:
        builds = pool.map(probe, ENGINES)
    return Facts(
        python=platform.python_version(),
        processor=platform.machine(),
        memory=(memory.free_host_memory(), os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")),
        cores=memory.physical_cores(),
        nvidia=nvidia.find(),
        engines={engine.name: build for engine, build in zip(ENGINES, builds, strict=True)},
        system=sys.platform,
        translated=machine.is_translated(),
        model=model,
        no_model=no_model,
        no_rpc="" if library_file.find() else library_file.why_not(),
    )


def ask_worker(text: str) -> RpcWorker:
    """What a worker says, or why not. Any network will do: it is only greeted."""
    try:
        (worker,) = rpc_workers.parse(text, insecure=True)
        offer = greeting.greet(worker)
    except (rpc_workers.BadWorkers, greeting.WorkerFault) as error:
        return RpcWorker(text, None, None, str(error))
    return RpcWorker(text, greeting.written(offer.protocol), offer.free, None)


def probe(engine: EngineDescriptor, program: Sequence[str] = PROBE) -> Build:
    """What the probe says of an engine's library, or how the probe ended. `program`: what is run instead, in tests."""
    try:
        done = subprocess.run([*program, engine.name], stdin=subprocess.DEVNULL, capture_output=True, timeout=TIMEOUT)
        if done.returncode == 0:
            return msgspec.json.decode(done.stdout.splitlines()[-1], type=Build)
    except (subprocess.TimeoutExpired, msgspec.DecodeError, IndexError):
        return _failed(engine, "it did not answer the probe.")
    if done.returncode < 0:
        name = signals.name_of(-done.returncode)
        why = ": it is built for another processor" if name == "SIGILL" else ""
        return _failed(engine, f"its process was killed by {name}{why}.")
    last = done.stderr.decode(errors="replace").strip().rpartition("\n")[2]
    return _failed(engine, f"its process ended with status {done.returncode} ({last}).")


def _failed(engine: EngineDescriptor, what: str) -> Build:
    return Build(engine.library, fault=Finding(what, REBUILD))


# Telling


def report(facts: Facts, findings: list[Finding]) -> Report:
    """The same for programs."""
    free, total = facts.memory
    return Report(
        nitro=__version__,
        ok=not findings,
        findings=findings,
        machine=Machine(
            system=facts.system,
            processor=facts.processor,
            translated=facts.translated,
            python=facts.python,
            cores=facts.cores,
            memory=Memory(free, total),
        ),
        nvidia=Driver(
            gpus=list(facts.nvidia.gpus),
            driver=facts.nvidia.driver or None,
            nvcc=facts.nvidia.nvcc or None,
            hidden=facts.nvidia.hidden,
        ),
        engines=[_engine(name, build, facts) for name, build in facts.engines.items()],
        model=Model(default_model.ID, facts.model or None),
        prefix_cache=facts.prefix_cache,
        rpc=not facts.no_rpc,
        workers=list(facts.workers),
    )


def _engine(name: str, build: Build, facts: Facts) -> Engine:
    return Engine(
        name=name,
        library=build.library,
        installed=not build.missing,
        usable=build.usable,
        automatic=any(engine.name == name for engine in facts.automatic),
        version=build.version or None,
        backends=list(build.backends),
        devices=[EngineDevice(device.name, device.is_gpu, device.free) for device in build.devices],
    )


def describe(facts: Facts) -> dict[str, str]:
    """The lines of the report: names and values."""
    free, total = map(_gib, facts.memory)
    translated = ", run by Rosetta" if facts.translated else ""
    return {
        "Python": f"{facts.python}, {facts.processor}{translated}",
        "memory": f"{free} free of {total}",
        "cores": str(facts.cores),
        "NVIDIA": _nvidia(facts.nvidia),
        **{build.library: _build(build) for build in facts.engines.values()},
        "model": f"{default_model.ID}: {facts.model or 'not installed'}",
        **({"prefixes": _prefixes(facts.prefix_cache)} if facts.prefix_cache else {}),
        "other machines": facts.no_rpc or "llama.cpp can have layers there (--rpc)",
        **{f"worker {worker.name}": _worker(worker) for worker in facts.workers},
    }


def _worker(found: RpcWorker) -> str:
    if found.free is None:
        return "cannot be used"
    offers = ", ".join(map(_gib, found.free))
    return f"offers {offers}; protocol {found.protocol}"


def _prefixes(found: PrefixCache) -> str:
    return f"{found.files} files of {_gib(found.bytes)} in {found.path}"


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
