"""`nitro doctor --json`: what is known of a machine, for programs. docs/shell.md describes it.

Fields are added, but none is renamed, removed, or given another type. Sizes are bytes. What is not known is null.
"""

from msgspec import Struct

from nitro.engines.hardware.libraries import Finding


class Memory(Struct):
    """Main memory."""

    free: int
    total: int


class Machine(Struct):
    """The computer, and the Python that runs there."""

    system: str  # "linux", "darwin"
    processor: str  # what that Python is built for: "x86_64", "arm64"
    translated: bool  # by Rosetta
    python: str
    cores: int  # physical ones
    memory: Memory


class Driver(Struct):
    """What there is of NVIDIA's."""

    gpus: list[str]
    driver: str | None
    nvcc: str | None  # path
    hidden: bool  # by CUDA_VISIBLE_DEVICES


class EngineDevice(Struct):
    """What an engine can compute on."""

    name: str
    gpu: bool
    free: int


class Engine(Struct):
    """An engine's library, as it is installed here."""

    name: str  # of --engine
    library: str
    installed: bool
    usable: bool  # whether it loads
    automatic: bool  # whether --engine auto may take it on this machine
    version: str | None
    backends: list[str]  # that it is built for: "CUDA", "CPU"
    devices: list[EngineDevice]


class Model(Struct):
    """The model that comes with Nitro."""

    name: str
    path: str | None


class PrefixCache(Struct):
    """The files of --prefix-cache, of all servers that share the folder."""

    path: str
    files: int
    bytes: int


class RpcWorker(Struct):
    """A worker of --rpc."""

    name: str  # HOST:PORT
    protocol: str | None  # as "7.0.0"
    free: list[int] | None  # by device
    fault: str | None  # why it cannot be used now; one that has a client is busy


class Report(Struct):
    """All of it. `ok`: nothing is to fix, and the exit status is 0."""

    nitro: str  # version
    ok: bool
    findings: list[Finding]  # in the order in which to fix them
    machine: Machine
    nvidia: Driver
    engines: list[Engine]
    model: Model
    prefix_cache: PrefixCache | None  # null: none is set
    rpc: bool  # whether llama.cpp can have layers on other machines
    workers: list[RpcWorker]  # that were named
