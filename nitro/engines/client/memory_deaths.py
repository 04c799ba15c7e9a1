"""Whether the system has ended an engine process because memory ran out, and what is known of that.

The system says so in counters: of the process's own bound (`--engine-memory`), of the cgroups that this server is in,
as a container's, and of the whole machine (proc(5): /proc/vmstat, oom_kill). A counter that has risen since the process
was started, and an end by SIGKILL, are taken for it.
"""

from pathlib import Path

from nitro.system import cgroups
from nitro.system.cgroups import Cgroups
from nitro.system.memory import free_host_memory
from nitro.system.memory_bound import MemoryBound

MIB = 2**20
VMSTAT = Path("/proc/vmstat")


class MemoryWitness:
    """Made before a process is started."""

    def __init__(self, groups: Cgroups | None = None, vmstat: Path | None = None):
        bounded = [folder for folder in (groups or Cgroups()).lineage if cgroups.limit(folder) < cgroups.NO_LIMIT]
        self._vmstat = vmstat or VMSTAT
        self._kills = {folder: cgroups.kills(folder) for folder in bounded}
        self._machine_kills = self._on_machine()
        self.free = free_host_memory()  # bytes, then

    def reason(self, bound: MemoryBound | None, peak: int) -> str | None:
        """Why the process was ended by SIGKILL, as a sentence; None: not for want of memory, as far as is known.
        `peak`: bytes that it had at most, 0 if that is not known."""
        had = f" It had up to {peak // MIB} MiB." if peak else ""
        said = "The system ended the engine process for want of memory"
        if bound and bound.was_exceeded:
            return f"{said}: it may take {bound.bytes // MIB} MiB (--engine-memory).{had}"
        for folder, before in self._kills.items():
            if cgroups.kills(folder) > before:
                most = cgroups.limit(folder) // MIB
                return (
                    f"{said}: the server and its engines may take {most} MiB together, of which {self.free // MIB} MiB "
                    f"were free when it was started.{had}"
                )
        if self._on_machine() > self._machine_kills:
            return f"{said}, of which {self.free // MIB} MiB were free when it was started.{had}"
        return None

    def _on_machine(self) -> int:
        return cgroups.counters(self._vmstat).get("oom_kill", 0)
