"""What this machine has: Python's platform, compilers, NVIDIA GPUs, the CUDA toolkit. install.py decides by it.

Standard library only, and valid for Python 3.6, as install.py is.
"""

import os
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Callable, Mapping, NamedTuple, Optional, Sequence, Tuple

NO_AMX = "-mno-amx-tile -mno-amx-int8 -mno-amx-bf16"

Ask = Callable[[Sequence[str]], Optional[str]]  # asks something; gives the output, or None if that failed


class Machine(NamedTuple):
    """What decides which engines to install, and how."""

    platform: str  # as sys.platform
    machine: str  # as platform.machine(): what the running Python is built for
    cores: int = 1
    translated: bool = False  # an x86_64 Python on an Apple-Silicon Mac
    gpus: Tuple[str, ...] = ()  # names of the NVIDIA GPUs
    nvcc: str = ""  # path
    nvcc_version: str = ""
    cc: str = ""  # paths of the C and C++ compilers, both or neither
    cxx: str = ""
    cmake: str = ""  # path
    without_amx: str = ""  # the compilers' options to do without the CPU's AMX instructions; "": it has none
    darwin: str = ""  # on a Mac the kernel's release, which says what wheels there are: 25.2.0 is macOS 26.2


def ask_command(command: Sequence[str]) -> Optional[str]:
    """The output of a command; None where it fails, is missing, or takes more than a minute."""
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=60
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.decode(errors="replace") if done.returncode == 0 else None


def look(ask: Ask, environ: Mapping[str, str]) -> Machine:
    """This machine."""
    mac = sys.platform == "darwin"
    cc, cxx = find_compilers(ask, environ)
    nvcc = "" if mac else find_nvcc(environ)
    release = re.search(r"release (\d+\.\d+)", ask([nvcc, "--version"]) or "") if nvcc else None
    return Machine(
        platform=sys.platform,
        machine=platform.machine(),
        cores=os.cpu_count() or 1,
        translated=mac and (ask(["sysctl", "-n", "sysctl.proc_translated"]) or "").strip() == "1",
        gpus=() if mac else find_gpus(ask),
        nvcc=nvcc,
        nvcc_version=release.group(1) if release else "",
        cc=cc,
        cxx=cxx,
        cmake=shutil.which("cmake") or "",
        without_amx=find_without_amx(ask, cc),
        darwin=platform.release() if mac else "",
    )


def find_nvcc(environ: Mapping[str, str]) -> str:
    """The toolkit's installer leaves its folder out of PATH."""
    homes = [environ[name] for name in ("CUDA_HOME", "CUDA_PATH") if environ.get(name)] + ["/usr/local/cuda"]
    places = [environ.get("CUDACXX", ""), "nvcc"] + [os.path.join(home, "bin", "nvcc") for home in homes]
    return next(filter(None, (shutil.which(place) for place in places if place)), "")


def find_gpus(ask: Ask, proc: str = "/proc/driver/nvidia/gpus", dev: str = "/dev") -> Tuple[str, ...]:
    """The names of the NVIDIA GPUs, by the driver or else by nvidia-smi."""
    # A container sees the host's /proc, but only the device files of its own GPUs.
    if list(Path(dev).glob("nvidia[0-9]*")) and os.path.isdir(proc) and os.listdir(proc):
        return tuple(gpu_model(Path(proc, gpu, "information")) for gpu in sorted(os.listdir(proc)))
    listed = re.findall(r"^GPU \d+: (.+?)(?: \(UUID.*)?$", ask(["nvidia-smi", "-L"]) or "", re.MULTILINE)
    return tuple(listed)


def gpu_model(information: Path) -> str:
    """A GPU's name, from the file in which the driver describes it."""
    try:
        found = re.search(r"^Model:\s*(\S.*)$", information.read_text(), re.MULTILINE)
    except OSError:
        found = None
    return found.group(1).strip() if found else "NVIDIA GPU"


def find_without_amx(ask: Ask, cc: str, cpuinfo: str = "/proc/cpuinfo") -> str:
    """The compiler's options that leave AMX out, where the CPU has it and the compiler knows them."""
    try:
        has_amx = re.search(r"^flags\s*:.*\bamx_tile\b", Path(cpuinfo).read_text(), re.MULTILINE)
    except OSError:
        has_amx = None
    known = has_amx and cc and ask([cc, *NO_AMX.split(), "-x", "c", "-E", os.devnull]) is not None
    return NO_AMX if known else ""


def find_compilers(ask: Ask, environ: Mapping[str, str]) -> Tuple[str, str]:
    """Paths of a C and a C++ compiler; both empty where either is missing."""
    # Without the command line tools, a Mac's c++ exists but only offers to install them.
    if sys.platform == "darwin" and ask(["xcode-select", "-p"]) is None:
        return "", ""
    pythons_own = [(sysconfig.get_config_var(name) or "").split(" ")[0] for name in ("CC", "CXX")]
    users_own = [environ.get("CC") or "cc", environ.get("CXX") or ""]
    for cc, cxx in [users_own, pythons_own, ("cc", "c++"), ("gcc", "g++"), ("clang", "clang++")]:
        paths = shutil.which(cc or "cc"), shutil.which(cxx or "")
        if paths[0] and paths[1]:
            return paths[0], paths[1]
    return "", ""
