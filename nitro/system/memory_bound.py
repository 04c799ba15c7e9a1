"""Bounds what a child process takes of main memory.

Where this process may make cgroups of version 2, the child gets one of its own: what it takes in all counts, and when
that is too much the system ends it, and nothing else. That needs a cgroup that was handed over to us, as systemd's
`Delegate=` does, with nobody in it but us and our children. A cgroup that has some of its own must be empty (its "no
internal processes" rule): so those in it are moved into one beside, SERVER.

Elsewhere on Linux it is RLIMIT_DATA (getrlimit(2)), which counts what is allocated, but no files that are mapped:
beyond it an allocation fails. Other systems have nothing of the kind.
"""

import contextlib
import errno
import itertools
import logging
import os
import resource
import sys
from pathlib import Path
from typing import Protocol

from nitro.system import cgroups
from nitro.system.cgroups import Cgroups

log = logging.getLogger("nitro.engine")

SERVER = "nitro-server"  # the cgroup of those that were in the one that was handed over; DelegateSubgroup= may name it
CHILD = "nitro-child-"  # the cgroup of a child: and the id of the process that made it, and a number
_numbers = itertools.count(1)


class MemoryBound(Protocol):
    """The bound of one process."""

    bytes: int
    kind: str  # "cgroup", or "RLIMIT_DATA"

    @property
    def was_exceeded(self) -> bool:
        """Whether the system has ended the process for taking more."""

    def release(self) -> None:
        """The process is gone."""


class CgroupBound:
    """A cgroup that holds one process."""

    kind = "cgroup"

    def __init__(self, folder: Path, limit: int):
        self.folder, self.bytes = folder, limit

    @property
    def was_exceeded(self) -> bool:
        """See MemoryBound."""
        return cgroups.kills(self.folder) > 0

    def release(self) -> None:
        """Remove it."""
        with contextlib.suppress(OSError):  # a process of somebody else was put into it, say
            self.folder.rmdir()


class DataBound:
    """A limit on what the process allocates. Beyond it allocations fail, which the process itself must survive."""

    kind = "RLIMIT_DATA"
    was_exceeded = False

    def __init__(self, limit: int):
        self.bytes = limit

    def release(self) -> None:
        """Nothing is left."""


def is_possible() -> bool:
    """Whether this system has anything of the kind."""
    return sys.platform == "linux"


def hold(pid: int, limit: int, groups: Cgroups | None = None) -> MemoryBound:
    """Bound a process from now on, to so many bytes. Raises OSError where the system cannot."""
    try:
        return _by_cgroup(pid, limit, groups or Cgroups())
    except OSError as error:
        log.debug("no cgroup for process %d: %s", pid, error)
    if sys.platform != "linux":
        raise OSError(errno.ENOTSUP, "memory can be bounded on Linux only")
    resource.prlimit(pid, resource.RLIMIT_DATA, (limit, limit))
    return DataBound(limit)


def inherited() -> str:
    """The limits of memory that children of this process begin with, for people; "": there are none."""
    limits = {name: resource.getrlimit(getattr(resource, name))[0] for name in ("RLIMIT_AS", "RLIMIT_DATA")}
    there = {name: most // 2**20 for name, most in limits.items() if most != resource.RLIM_INFINITY}
    return " and ".join(f"{name} of {mib} MiB" for name, mib in there.items())


def _by_cgroup(pid: int, limit: int, groups: Cgroups) -> CgroupBound:
    """Raises OSError."""
    parent = _parent(groups)
    _sweep(parent, groups)
    folder = parent / f"{CHILD}{os.getpid()}-{next(_numbers)}"
    folder.mkdir()
    bound = CgroupBound(folder, limit)
    try:
        (folder / "memory.max").write_text(str(limit))
        with contextlib.suppress(OSError):  # where nothing is swapped it is not there
            (folder / "memory.swap.max").write_text("0")
        (folder / "cgroup.procs").write_text(str(pid))
    except OSError:
        bound.release()
        raise
    return bound


def _parent(groups: Cgroups) -> Path:
    """The cgroup in which others may be made that bound memory. Raises OSError where there is none."""
    own = groups.own
    if own is None:
        raise OSError(errno.ENOTSUP, "there is no cgroup of version 2")
    if own.name == SERVER:
        own = own.parent
    elif "memory" not in (own / "cgroup.subtree_control").read_text().split():
        inside = cgroups.processes(own)
        if inside - groups.family(inside):
            raise OSError(errno.EBUSY, f"other programs are in {own}")
        if "memory" not in (own / "cgroup.controllers").read_text().split():
            raise OSError(errno.ENOTSUP, f"{own} does not count memory")
        (own / SERVER).mkdir(exist_ok=True)
        for process in inside:
            (own / SERVER / "cgroup.procs").write_text(str(process))
    control = own / "cgroup.subtree_control"
    if "memory" not in control.read_text().split():
        control.write_text("+memory")
    return own


def _sweep(parent: Path, groups: Cgroups) -> None:
    """Remove the cgroups of servers that were killed. Those that hold a process stay."""
    for folder in parent.glob(f"{CHILD}*"):
        maker = folder.name.removeprefix(CHILD).partition("-")[0]
        if not (groups.proc / maker).exists():
            with contextlib.suppress(OSError):
                folder.rmdir()
