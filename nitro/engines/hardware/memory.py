"""How many tokens of KV cache fit, and what this machine has to hold them. Arithmetic and readings; no engine."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nitro.engines import kv_plan
from nitro.engines.kv_plan import MIB as MIB
from nitro.engines.kv_plan import MIN_CONTEXT as MIN_CONTEXT
from nitro.engines.kv_plan import SPARE_SLOTS as SPARE_SLOTS
from nitro.engines.kv_plan import DoesNotFit
from nitro.engines.kv_plan import KVPlan as KVPlan
from nitro.engines.runner import LoadError
from nitro.system.memory import free_host_memory as free_host_memory

MAX_OFFLOAD_BYTES = 8 * 2**30


def plan(requested: int | None, trained: int, parallel: int, token_bytes: int, free_bytes: int) -> KVPlan:
    """As kv_plan.plan. Raises LoadError."""
    with refusing():
        return kv_plan.plan(requested, trained, parallel, token_bytes, free_bytes)


@contextmanager
def refusing() -> Iterator[None]:
    """A context in which what does not fit is a LoadError."""
    try:
        yield
    except DoesNotFit as error:
        raise LoadError(str(error)) from None


def room_for_kv(free_bytes: int, kv_bytes: int | None) -> int:
    """What `plan` may count as free, where the KV cache may take only so much: it gives out half."""
    return free_bytes if kv_bytes is None else min(free_bytes, 2 * kv_bytes)


def offload_tokens(token_bytes: int, free_bytes: int) -> int:
    """How many tokens of idle slots may be offloaded in main memory, of which `free_bytes` are free beside
    the KV pool."""
    return min(MAX_OFFLOAD_BYTES, free_bytes // 4) // token_bytes


def physical_cores() -> int:
    """Cores this process may use, hyper-threads counted once: more threads than that slow matrix products down. A
    container's share counts."""
    if not hasattr(os, "sched_getaffinity"):
        return max((os.cpu_count() or 2) // 2, 1)
    return max(min(_own_cores(), _cgroup_cores()), 1)


def _cgroup_cores(root: Path = Path("/sys/fs/cgroup")) -> int:
    """Cores' worth of time under a cgroup v2 quota, rounded up; a huge number without one."""
    try:
        quota, period = (root / "cpu.max").read_text().split()
        return -(-int(quota) // int(period))
    except (OSError, ValueError):  # no cgroup v2, or "max"
        return 2**31


def _own_cores() -> int:
    cores = set()
    for cpu in os.sched_getaffinity(0):
        try:
            cores.add(Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list").read_text())
        except OSError:
            cores.add(str(cpu))
    return len(cores)
