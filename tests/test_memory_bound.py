"""What bounds an engine's memory, and what the system tells of a process that it ended. Cgroups are faked, as tests can
seldom make some; RLIMIT_DATA is real."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from nitro.config import ServeConfig, check_engine_memory
from nitro.engines.client import memory_deaths
from nitro.engines.client.memory_deaths import MIB, MemoryWitness
from nitro.errors import StartError
from nitro.system import cgroups, memory, memory_bound
from nitro.system.cgroups import NO_LIMIT, Cgroups
from nitro.system.memory_bound import CHILD, SERVER, CgroupBound, DataBound, hold


class FakeSystem:
    """A tree of cgroups, and the processes in them, as files of the same names."""

    def __init__(self, folder: Path, own: str = "/system.slice/nitro.service"):
        self.root, self.proc = folder / "cgroup", folder / "proc"
        self.own = self.root / own.lstrip("/")
        self.own.mkdir(parents=True)
        (self.proc / "10").mkdir(parents=True)
        (self.proc / "self").symlink_to(self.proc / "10")
        (self.proc / "10" / "cgroup").write_text(f"1:name=systemd:/other\n0::{own}\n")
        (self.root / "cgroup.controllers").write_text("cpu memory\n")
        self.write("cgroup.controllers", "cpu memory\n")
        self.write("cgroup.subtree_control", "\n")
        self.write("cgroup.procs", "10\n11\n")
        self.process(10, 1)
        self.process(11, 10)
        self.process(12, 1, "an (odd) name")

    def write(self, name: str, text: str, folder: Path | None = None) -> None:
        (folder or self.own).mkdir(exist_ok=True)
        ((folder or self.own) / name).write_text(text)

    def process(self, pid: int, parent: int, name: str = "python") -> None:
        (self.proc / str(pid)).mkdir(exist_ok=True)
        (self.proc / str(pid) / "stat").write_text(f"{pid} ({name}) S {parent} {pid} 0\n")

    @property
    def groups(self) -> Cgroups:
        return Cgroups(self.root, self.proc)


@pytest.fixture
def system(tmp_path: Path) -> FakeSystem:
    return FakeSystem(tmp_path)


def test_a_process_gets_a_cgroup_of_its_own(system: FakeSystem) -> None:
    """Those that were in ours are moved into one beside, since a cgroup that has some of its own must be empty."""
    bound = hold(11, 5 * MIB, system.groups)
    assert isinstance(bound, CgroupBound) and bound.kind == "cgroup" and bound.bytes == 5 * MIB
    assert bound.folder.parent == system.own and bound.folder.name.startswith(f"{CHILD}{os.getpid()}-")
    assert (bound.folder / "memory.max").read_text() == str(5 * MIB)
    assert (bound.folder / "memory.swap.max").read_text() == "0"
    assert (bound.folder / "cgroup.procs").read_text() == "11"
    assert (system.own / SERVER / "cgroup.procs").read_text() in ("10", "11")
    assert (system.own / "cgroup.subtree_control").read_text() == "+memory"
    assert not bound.was_exceeded
    system.write("memory.events", "low 0\nmax 17\noom 1\noom_kill 1\n", bound.folder)
    assert bound.was_exceeded


def test_a_server_that_was_put_aside_already(system: FakeSystem) -> None:
    """By ourselves, or by systemd's DelegateSubgroup=. Others that are handed over to us may be elsewhere."""
    below = system.own / SERVER
    system.write("cgroup.procs", "10\n", below)
    (system.proc / "10" / "cgroup").write_text(f"0::/system.slice/nitro.service/{SERVER}\n")
    bound = hold(11, MIB, system.groups)
    assert isinstance(bound, CgroupBound) and bound.folder.parent == system.own


@pytest.mark.parametrize("why", ["others", "no memory", "version 1", "outside"])
def test_where_no_cgroup_can_be_made_allocations_are_limited(
    system: FakeSystem, monkeypatch: pytest.MonkeyPatch, why: str
) -> None:
    limited: list[tuple[int, tuple[int, int]]] = []
    monkeypatch.setattr(
        memory_bound.resource, "prlimit", lambda pid, what, limits: limited.append((pid, limits)), raising=False
    )
    match why:
        case "others":
            system.write("cgroup.procs", "10\n12\n")
        case "no memory":
            system.write("cgroup.controllers", "cpu\n")
        case "version 1":
            (system.root / "cgroup.controllers").unlink()
        case "outside":
            (system.proc / "10" / "cgroup").write_text("0::/../../elsewhere\n")
    bound = hold(11, MIB, system.groups)
    assert isinstance(bound, DataBound) and limited == [(11, (MIB, MIB))] and not bound.was_exceeded
    assert not (system.own / SERVER).exists() and not list(system.own.glob(f"{CHILD}*"))


def test_what_killed_servers_have_left_is_swept(system: FakeSystem) -> None:
    for name in ("77-1", "10-1"):  # the maker of the second lives
        (system.own / f"{CHILD}{name}").mkdir()
    hold(11, MIB, system.groups)
    assert not (system.own / f"{CHILD}77-1").exists() and (system.own / f"{CHILD}10-1").exists()


def test_every_limit_above_counts(system: FakeSystem) -> None:
    system.write("memory.max", "1000\n", system.own.parent)
    system.write("memory.current", "300\n", system.own.parent)
    system.write("memory.max", "max\n")
    assert [cgroups.room(folder) for folder in system.groups.lineage] == [NO_LIMIT, 700, NO_LIMIT]


@pytest.mark.parametrize("text, why", [("0", "expected MiB"), ("0.0G", "expected MiB")])
def test_a_bound_that_is_none(text: str, why: str) -> None:
    with pytest.raises(StartError, match=f"--engine-memory {text}: {why}"):
        ServeConfig(engine_memory=text).engine_spec("model")


def test_a_system_without_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory_bound.sys, "platform", "darwin")
    with pytest.raises(StartError, match="--engine-memory needs Linux"):
        check_engine_memory("4G")
    check_engine_memory(None)
    with pytest.raises(OSError, match="on Linux only"):
        hold(os.getpid(), MIB, Cgroups(Path("/nothing")))


ALLOCATES = """
import sys
from nitro.system import memory
sys.stdin.readline()
before = memory._data_room()
try:
    bytearray(int(sys.argv[1]))
except MemoryError:
    print("refused", before)
else:
    print("given", before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="no other system has it")
@pytest.mark.parametrize("size, said", [(10 * MIB, "given"), (400 * MIB, "refused")])
def test_a_process_is_held_to_what_it_may_allocate(size: int, said: str) -> None:
    """And knows what is left of it."""
    with subprocess.Popen(
        [sys.executable, "-c", ALLOCATES, str(size)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        hold(process.pid, 200 * MIB, Cgroups(Path("/nothing")))
        answer, _ = process.communicate("\n")
    word, room = answer.split()
    assert word == said and 50 * MIB < int(room) < 200 * MIB


def test_without_a_limit_there_is_room(monkeypatch: pytest.MonkeyPatch) -> None:
    infinity = memory.resource.RLIM_INFINITY
    monkeypatch.setattr(memory.resource, "getrlimit", lambda _: (infinity, infinity))
    assert memory._data_room() == NO_LIMIT


# What the system says of an end


@pytest.fixture
def vmstat(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[int], Path]:
    monkeypatch.setattr(memory_deaths, "free_host_memory", lambda: 900 * MIB)

    def write(kills: int) -> Path:
        (tmp_path / "vmstat").write_text(f"nr_free_pages 1\noom_kill {kills}\npgfault 3\n")
        return tmp_path / "vmstat"

    return write


def test_a_process_that_the_machine_had_no_memory_for(system: FakeSystem, vmstat: Callable[[int], Path]) -> None:
    witness = MemoryWitness(system.groups, vmstat(3))
    assert witness.reason(None, peak=850 * MIB) is None
    vmstat(4)
    assert witness.reason(None, peak=850 * MIB) == (
        "The system ended the engine process for want of memory, of which 900 MiB were free when it was started. "
        "It had up to 850 MiB."
    )


def test_a_process_that_its_container_had_no_memory_for(system: FakeSystem, vmstat: Callable[[int], Path]) -> None:
    system.write("memory.max", str(2048 * MIB))
    system.write("memory.events", "oom_kill 2\n")
    witness = MemoryWitness(system.groups, vmstat(3))
    system.write("memory.events", "oom_kill 3\n")
    vmstat(4)
    assert witness.reason(None, peak=0) == (
        "The system ended the engine process for want of memory: the server and its engines may take 2048 MiB "
        "together, of which 900 MiB were free when it was started."
    )


def test_a_process_that_took_more_than_its_bound(system: FakeSystem, vmstat: Callable[[int], Path]) -> None:
    witness = MemoryWitness(system.groups, vmstat(3))
    bound = hold(11, 512 * MIB, system.groups)
    assert isinstance(bound, CgroupBound)
    system.write("memory.events", "oom_kill 1\n", bound.folder)
    vmstat(4)
    said = witness.reason(bound, peak=511 * MIB)
    assert said and said.endswith("it may take 512 MiB (--engine-memory). It had up to 511 MiB.")


def test_a_system_that_says_nothing(tmp_path: Path) -> None:
    witness = MemoryWitness(Cgroups(tmp_path), tmp_path / "none")
    assert witness.reason(None, 0) is None
