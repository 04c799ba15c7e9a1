"""What this machine has of main memory, and amounts of it as users write them."""

import os
import re
import resource
from pathlib import Path

from nitro.system import cgroups
from nitro.system.cgroups import Cgroups

_AMOUNT = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(i?B)?", re.IGNORECASE)
_POWERS = {"": 2, "K": 1, "M": 2, "G": 3, "T": 4}


def parse(text: str) -> int:
    """Bytes of "12G", "512M" or a number of MiB. Raises ValueError with what is expected."""
    match = _AMOUNT.fullmatch(text.strip())
    if not match or not 0 < float(match[1]) < 2**40:
        raise ValueError("expected MiB, or a size such as 12G")
    return int(float(match[1]) * 1024 ** _POWERS[match[2].upper()])


def free_host_memory() -> int:
    """Bytes this process can still take without swapping; the limits of a container, of a cgroup and of the process
    itself count. Half of the memory where the system does not say."""
    free = _meminfo_available()
    if free is None:
        free = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
    return min(free, _cgroup_room(), _data_room())


def _meminfo_available() -> int | None:
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")), None)


def _cgroup_room(folder: Path | None = None) -> int:
    """Bytes left under the limit of a cgroup or, without one, of those that this process is in; a huge number where
    there is none."""
    folders = Cgroups().lineage if folder is None else [folder]
    return min(map(cgroups.room, folders), default=cgroups.NO_LIMIT)


def _data_room() -> int:
    """Bytes left under RLIMIT_DATA, which counts what a process may write to and has no file (getrlimit(2)); a huge
    number where nothing is set."""
    limit = resource.getrlimit(resource.RLIMIT_DATA)[0]
    if limit == resource.RLIM_INFINITY:
        return cgroups.NO_LIMIT
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return cgroups.NO_LIMIT
    taken = next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmData:")), 0)
    return max(limit - taken, 0)
