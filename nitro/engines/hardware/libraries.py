"""What an engine's library is built for, what it finds on this machine, and why it does not load.

Plain data, and sentences about it; why a build uses no GPU is in `gpu_findings`. No library is imported.
"""

import re
import sys
from collections.abc import Sequence
from pathlib import Path

from msgspec import Struct

REBUILD = "Build it again on this machine: make clean, then PIP_NO_CACHE_DIR=1 make install."
DRIVER = "Install the NVIDIA driver; start a container with --gpus all."
ON_THE_PATH = "Install it, or put its folder on the loader's path (LD_LIBRARY_PATH)."

# What the name of a missing library may begin with, what it is, and how to get it
LIBRARIES: tuple[tuple[tuple[str, ...], str, str], ...] = (
    (("libcuda.",), "the NVIDIA driver's library", DRIVER),
    (
        ("libcudart.", "libcublas", "libnccl."),
        "a library of the CUDA runtime",
        "Install CUDA's runtime libraries, with the CUDA toolkit or from pip (nvidia-cublas, nvidia-cuda-runtime), "
        "and put their folders on the loader's path (LD_LIBRARY_PATH).",
    ),
    (("libgomp.",), "OpenMP's library", "On Debian and Ubuntu: sudo apt install libgomp1."),
)


class Finding(Struct, frozen=True):
    """Something that is wrong, in one sentence, and how to fix it in another, or nothing."""

    what: str
    cure: str = ""

    def __str__(self) -> str:
        return f"{self.what} {self.cure}".rstrip()


class Device(Struct, frozen=True):
    """What a library can compute on."""

    name: str
    free: int  # bytes
    is_gpu: bool


class Build(Struct, frozen=True):
    """An engine library as it is installed here."""

    library: str  # "llama.cpp", "MLX"
    version: str = ""
    backends: tuple[str, ...] = ()  # what it is built for: "CUDA", "CPU"
    devices: tuple[Device, ...] = ()  # what it finds
    missing: str = ""  # the Python package that is not installed
    fault: Finding | None = None  # why it does not load

    @property
    def usable(self) -> bool:
        """Whether the library loads."""
        return not self.missing and self.fault is None

    @property
    def has_gpu(self) -> bool:
        """Whether it finds a GPU that it can compute on."""
        return any(device.is_gpu for device in self.devices)

    @property
    def kind(self) -> str:
        """What it is built for beside the CPU, as in "CUDA"; "CPU" where there is nothing else."""
        return "/".join(name for name in self.backends if name not in ("CPU", "BLAS")) or "CPU"


def explain(error: str, path: Sequence[str] = sys.path) -> Finding:
    """What is wrong where a library does not load: a library that it links, or else the error itself."""
    missing = re.search(r"(lib[\w.+-]+\.so[.\d]*): cannot open shared object file", error)
    if not missing:
        return Finding(" ".join(error.split()))
    name = missing[1]
    known = [(what, cure) for starts, what, cure in LIBRARIES if name.startswith(starts)]
    what, cure = known[0] if known else ("a library that it links", ON_THE_PATH)
    folders = _from_pip(name, path)
    if folders:
        cure = f"pip has installed it where the loader does not look: set LD_LIBRARY_PATH={folders}"
    return Finding(f"{name} is not found, {what}.", cure)


def _from_pip(name: str, path: Sequence[str]) -> str:
    """The folders of pip's NVIDIA packages, if one of these holds the library."""
    for root in path:
        folders = sorted(Path(root, "nvidia").glob("**/lib"))
        if any((folder / name).exists() for folder in folders):
            return ":".join(map(str, folders))
    return ""
