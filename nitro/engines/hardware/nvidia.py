"""NVIDIA GPUs, driver and compiler on this machine, found without loading any of NVIDIA's libraries.

scripts/install.py, which must stand alone, looks in the same places.
"""

import os
import re
import shutil
import subprocess
from pathlib import Path

from msgspec import Struct

PROC = Path("/proc/driver/nvidia")
DEV = Path("/dev")
CUDA_HOMES = ("CUDA_HOME", "CUDA_PATH")


class Nvidia(Struct, frozen=True):
    """What there is of NVIDIA's; empty where there is nothing."""

    gpus: tuple[str, ...] = ()  # names
    driver: str = ""  # version
    nvcc: str = ""  # path
    hidden: bool = False  # CUDA_VISIBLE_DEVICES lets no program see a GPU


def find() -> Nvidia:
    """Look in /proc, in PATH and in CUDA's usual folders, and ask nvidia-smi where that is not enough."""
    return Nvidia(_gpus(), _driver(), _nvcc(), _is_hidden())


def memory() -> int:
    """Bytes of all GPUs together, as nvidia-smi says; 0 where there is none. Takes a second where there is one."""
    if _is_hidden() or not any(DEV.glob("nvidia[0-9]*")):
        return 0
    lines = _smi("--query-gpu=memory.total", "--format=csv,noheader,nounits").split()
    return sum(int(line) * 2**20 for line in lines if line.isdigit())


def _is_hidden() -> bool:
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    return visible is not None and visible.strip() in ("", "-1")


def _gpus() -> tuple[str, ...]:
    # A container sees the host's /proc, but only the device files of its own GPUs.
    folders = sorted(PROC.glob("gpus/*")) if any(DEV.glob("nvidia[0-9]*")) else []
    return tuple(map(_model, folders)) or tuple(re.findall(r"^GPU \d+: (.+?)(?: \(UUID.*)?$", _smi("-L"), re.MULTILINE))


def _model(gpu: Path) -> str:
    found = re.search(r"^Model:\s*(\S.*?)\s*$", _read(gpu / "information"), re.MULTILINE)
    return found[1] if found else "NVIDIA GPU"


def _driver() -> str:
    text = _read(PROC / "version") or _smi("--query-gpu=driver_version", "--format=csv,noheader")
    found = re.search(r"\b\d+\.\d+(\.\d+)?\b", text)
    return found[0] if found else ""


def _nvcc() -> str:
    """The toolkit's installer leaves its folder out of PATH."""
    homes = [home for name in CUDA_HOMES if (home := os.environ.get(name))] + ["/usr/local/cuda"]
    places = [os.environ.get("CUDACXX") or "nvcc", "nvcc", *(f"{home}/bin/nvcc" for home in homes)]
    return next(filter(None, map(shutil.which, places)), "")


def _read(file: Path) -> str:
    try:
        return file.read_text(errors="replace")
    except OSError:
        return ""


def _smi(*arguments: str) -> str:
    try:
        done = subprocess.run(["nvidia-smi", *arguments], capture_output=True, text=True, check=True, timeout=60)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout
