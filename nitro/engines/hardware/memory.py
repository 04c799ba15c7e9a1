"""How many tokens of KV cache fit, and what this machine has to hold them. Arithmetic and readings; no engine."""

import os
from dataclasses import dataclass, field
from pathlib import Path

from nitro.engines.runner import LoadError
from nitro.system.memory import free_host_memory as free_host_memory

MIN_CONTEXT = 256  # tokens; a model that cannot have this much is of no use
MIB = 2**20
MAX_OFFLOAD_BYTES = 8 * 2**30
SPARE_SLOTS = 8  # idle slots beyond the parallel ones, each a cached prefix


@dataclass(frozen=True, slots=True)
class KVPlan:
    """How the KV cache is divided."""

    context: int  # tokens each sequence can use
    pool: int  # tokens in all
    full_windows: bool = True  # whether layers that see a window only keep all tokens, as the others do
    token_bytes: int = field(default=0, compare=False)  # KV cache of each


def plan(requested: int | None, trained: int, parallel: int, token_bytes: int, free_bytes: int) -> KVPlan:
    """The context each sequence gets, and the pool they share.

    The pool is context × parallel where that fits into half of the free memory, else what fits there, and never less
    than one context. Where no context is requested, it is the trained length, or as much as half of the free memory
    holds. Raises LoadError where the context does not fit at all.
    """
    room = free_bytes // token_bytes
    if requested is not None and requested > room:
        raise LoadError(
            f"--ctx {requested} needs {requested * token_bytes / MIB:.0f} MiB for the KV cache of one request; "
            f"{free_bytes / MIB:.0f} MiB are free, enough for --ctx {room}."
        )
    context = requested if requested is not None else min(trained, room // 2)
    minimum = min(trained, MIN_CONTEXT)
    if requested is None and context < minimum:
        raise LoadError(
            f"There is no memory for a KV cache: {free_bytes / MIB:.0f} MiB are free, of which half may be used, "
            f"and {minimum} tokens need {minimum * token_bytes / MIB:.0f} MiB."
        )
    return KVPlan(context, max(context, min(context * parallel, room // 2)), token_bytes=token_bytes)


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
