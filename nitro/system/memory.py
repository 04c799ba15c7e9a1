"""What this machine has of main memory, and amounts of it as users write them."""

import os
import re
from pathlib import Path

_AMOUNT = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(i?B)?", re.IGNORECASE)
_POWERS = {"": 2, "K": 1, "M": 2, "G": 3, "T": 4}


def parse(text: str) -> int:
    """Bytes of "12G", "512M" or a number of MiB. Raises ValueError with what is expected."""
    match = _AMOUNT.fullmatch(text.strip())
    if not match or not 0 < float(match[1]) < 2**40:
        raise ValueError("expected MiB, or a size such as 12G")
    return int(float(match[1]) * 1024 ** _POWERS[match[2].upper()])


def free_host_memory() -> int:
    """Bytes a process can still take without swapping; a container's limit counts. Half of the memory where the system
    does not say."""
    free = _meminfo_available()
    if free is None:
        free = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
    return min(free, _cgroup_room())


def _meminfo_available() -> int | None:
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")), None)


def _cgroup_room(root: Path = Path("/sys/fs/cgroup")) -> int:
    """Bytes left under a cgroup v2 limit; a huge number without one."""
    try:
        room = int((root / "memory.max").read_text()) - int((root / "memory.current").read_text())
    except (OSError, ValueError):  # no cgroup v2, or "max"
        return 2**62
    try:
        lines = (root / "memory.stat").read_text().splitlines()
    except OSError:
        return room
    cached = sum(int(line.split()[1]) for line in lines if line.startswith("inactive_file "))  # page cache, given back
    return max(room + cached, 0)
