"""Cgroups of version 2 (Linux's Documentation/admin-guide/cgroup-v2.rst), as far as they bound and count memory.

A cgroup is a folder. Where there is only version 1, or none, nothing is found here.
"""

from collections.abc import Iterator
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")
PROC = Path("/proc")
NO_LIMIT = 2**62  # bytes


class Cgroups:
    """The cgroups that this process can see. `root` and `proc`: where the system shows them."""

    def __init__(self, root: Path = ROOT, proc: Path = PROC):
        self.root, self.proc = root, proc

    @property
    def own(self) -> Path | None:
        """The folder of the cgroup that this process is in; None: it is in none of version 2."""
        if not (self.root / "cgroup.controllers").exists():
            return None
        lines = _read(self.proc / "self" / "cgroup").splitlines()
        place = next((line.removeprefix("0::") for line in lines if line.startswith("0::")), None)
        if place is None or ".." in place:  # of another namespace: it cannot be seen
            return None
        return self.root / place.lstrip("/")

    @property
    def lineage(self) -> list[Path]:
        """The own one and all above it, which bound it too."""
        own = self.own
        return [] if own is None else [own, *(folder for folder in own.parents if folder.is_relative_to(self.root))]

    def family(self, pids: set[int]) -> set[int]:
        """Those of them that are this process or descend from it."""
        ours = int((self.proc / "self").resolve().name)
        return {pid for pid in pids if ours in self._ancestors(pid)}

    def _ancestors(self, pid: int) -> Iterator[int]:
        while pid > 1:
            yield pid
            stat = _read(self.proc / str(pid) / "stat").rpartition(")")[2].split()  # a name may hold spaces
            pid = int(stat[1]) if len(stat) > 1 else 0
        yield pid


def limit(folder: Path) -> int:
    """Bytes that all processes in a cgroup may take together; NO_LIMIT where nothing is said."""
    text = _read(folder / "memory.max").strip()
    return int(text) if text.isdecimal() else NO_LIMIT


def room(folder: Path) -> int:
    """Bytes that are left of the limit. Page cache that has not been used lately counts, since the system takes it
    back."""
    most, taken = limit(folder), _read(folder / "memory.current").strip()
    if most == NO_LIMIT or not taken.isdecimal():
        return NO_LIMIT
    return max(most - int(taken) + counters(folder / "memory.stat").get("inactive_file", 0), 0)


def kills(folder: Path) -> int:
    """How many processes in it the system has ended for want of memory."""
    return counters(folder / "memory.events").get("oom_kill", 0)


def processes(folder: Path) -> set[int]:
    """Those in it. Raises OSError."""
    return set(map(int, (folder / "cgroup.procs").read_text().split()))


def counters(file: Path) -> dict[str, int]:
    """A file of lines "name number"; empty where it cannot be read."""
    pairs = (line.split() for line in _read(file).splitlines())
    return {pair[0]: int(pair[1]) for pair in pairs if len(pair) == 2 and pair[1].isdecimal()}


def _read(file: Path) -> str:
    try:
        return file.read_text()
    except OSError:
        return ""
