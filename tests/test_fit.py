"""How much KV cache fits: each promise of `plan`, and what the machine and its container say is free."""

import os
from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from nitro.engines.hardware import memory
from nitro.engines.hardware.memory import MIB, MIN_CONTEXT, KVPlan, plan
from nitro.engines.runner import LoadError
from nitro.system import memory as main_memory

quick = settings(deadline=None, database=None)

HUGE = 2**60
TOKEN = 1000  # bytes


def planned(requested: int | None, trained: int = 8192, parallel: int = 8, tokens_free: int = HUGE // TOKEN) -> KVPlan:
    """A plan where that many tokens of KV cache would fill what is free."""
    return plan(requested, trained, parallel, TOKEN, tokens_free * TOKEN)


# The context


@pytest.mark.parametrize("requested", [1, 16, 512, 8192, 100_000])
def test_the_context_is_what_was_asked(requested: int) -> None:
    assert planned(requested).context == requested


def test_an_unasked_context_is_the_trained_length() -> None:
    assert planned(None, trained=8192).context == 8192
    assert planned(None, trained=8192, tokens_free=2 * 8192).context == 8192


@pytest.mark.parametrize("tokens_free, context", [(2 * 8192 - 1, 8191), (10_000, 5000), (2 * MIN_CONTEXT, MIN_CONTEXT)])
def test_an_unasked_context_is_what_half_of_the_free_memory_holds(tokens_free: int, context: int) -> None:
    assert planned(None, trained=8192, tokens_free=tokens_free) == KVPlan(context, context)


@pytest.mark.parametrize("trained", [1, 16, MIN_CONTEXT - 1])
def test_a_model_trained_for_little_gets_that(trained: int) -> None:
    assert planned(None, trained=trained).context == trained
    assert planned(None, trained=trained, tokens_free=2 * trained) == KVPlan(trained, trained)


# The pool


@pytest.mark.parametrize("parallel", [1, 2, 8, 128])
def test_the_pool_is_context_times_parallel_where_half_of_the_free_memory_holds_it(parallel: int) -> None:
    assert planned(1000, parallel=parallel) == KVPlan(1000, 1000 * parallel)
    assert planned(1000, parallel=parallel, tokens_free=2000 * parallel) == KVPlan(1000, 1000 * parallel)


def test_else_the_pool_is_what_half_of_the_free_memory_holds() -> None:
    assert planned(1000, parallel=8, tokens_free=15_999) == KVPlan(1000, 7999)
    assert planned(1000, parallel=8, tokens_free=2002) == KVPlan(1000, 1001)
    assert planned(None, trained=1000, parallel=8, tokens_free=3000) == KVPlan(1000, 1500)


@pytest.mark.parametrize("tokens_free", [1000, 1001, 1999, 2000])
def test_but_the_pool_is_never_less_than_one_context(tokens_free: int) -> None:
    """What was requested may take more than half, up to all that is free."""
    assert planned(1000, parallel=8, tokens_free=tokens_free) == KVPlan(1000, 1000)


@pytest.mark.parametrize(("gib_free", "offloaded"), [(0, 0), (4, 1024), (32, 8192), (256, 8192)])
def test_a_quarter_of_what_is_left_may_be_offloaded_but_no_more_than_8_gib(gib_free: int, offloaded: int) -> None:
    assert memory.offload_tokens(2**20, gib_free * 2**30) == offloaded


def test_bytes_that_hold_no_whole_token_do_not_count() -> None:
    assert plan(10, 8192, 1, TOKEN, 10 * TOKEN + TOKEN - 1) == KVPlan(10, 10)
    with pytest.raises(LoadError):
        plan(11, 8192, 1, TOKEN, 11 * TOKEN - 1)


# What does not fit


def test_an_asked_context_that_does_not_fit_is_refused_with_the_numbers() -> None:
    with pytest.raises(LoadError) as caught:
        plan(4096, 8192, 8, MIB // 4, 1000 * MIB)
    assert "--ctx 4096" in str(caught.value)  # what was requested,
    assert "1024 MiB" in str(caught.value)  # what it takes,
    assert "1000 MiB" in str(caught.value)  # what there is,
    assert "--ctx 4000" in str(caught.value)  # and what would do


def test_what_it_says_would_do_does() -> None:
    assert plan(4000, 8192, 8, MIB // 4, 1000 * MIB) == KVPlan(4000, 4000)


def test_no_room_for_a_useful_context_is_refused_with_the_numbers() -> None:
    with pytest.raises(LoadError) as caught:
        plan(None, 8192, 8, MIB // 2, 255 * MIB)
    assert "255 MiB" in str(caught.value)  # what is free,
    assert "128 MiB" in str(caught.value)  # what it takes,
    assert f"{MIN_CONTEXT} tokens" in str(caught.value)  # for this much
    assert plan(None, 8192, 8, MIB // 2, 256 * MIB).context == MIN_CONTEXT


@pytest.mark.parametrize("requested", [None, 16])
def test_nothing_free_is_refused(requested: int | None) -> None:
    with pytest.raises(LoadError):
        plan(requested, 8192, 8, TOKEN, 0)


@settings(quick, max_examples=300)
@given(
    st.none() | st.integers(1, 10_000),
    st.integers(1, 10_000),
    st.integers(1, 128),
    st.integers(1, 10**6),
    st.integers(-(10**6), 10**10),
)
def test_invariants(requested: int | None, trained: int, parallel: int, token_bytes: int, free: int) -> None:
    half = free // token_bytes // 2
    try:
        made = plan(requested, trained, parallel, token_bytes, free)
    except LoadError as error:
        assert (half < min(trained, MIN_CONTEXT)) if requested is None else (requested * token_bytes > free)
        assert str(error).endswith(".") and "\n" not in str(error)
        return
    assert made.context == (min(trained, half) if requested is None else requested)
    assert made.context >= (min(trained, MIN_CONTEXT) if requested is None else requested)
    assert made.context <= made.pool <= max(made.context, half)
    assert made.pool <= made.context * parallel
    assert made.pool * token_bytes <= free
    assert made.pool == made.context * parallel or made.pool == max(made.context, half)


@quick
@given(st.integers(1, 5000), st.integers(1, 64), st.integers(1, 10**6), st.integers(0, 10**6))
def test_more_memory_never_makes_less(trained: int, parallel: int, free: int, more: int) -> None:
    assume(free // 2 >= min(trained, MIN_CONTEXT))
    before, after = plan(None, trained, parallel, 1, free), plan(None, trained, parallel, 1, free + more)
    assert after.context >= before.context and after.pool >= before.pool


# The machine


def cgroup(folder: Path, **files: str | None) -> int:
    """What is left under a faked cgroup: `max`, `current` and `stat` are its files."""
    for name, text in files.items():
        if text is not None:
            (folder / f"memory.{name}").write_text(text)
    return main_memory._cgroup_room(folder)


def test_room_under_a_limit(tmp_path: Path) -> None:
    assert cgroup(tmp_path, max="1000\n", current="300\n") == 700


def test_room_at_the_limit(tmp_path: Path) -> None:
    assert cgroup(tmp_path, max="1000\n", current="1000\n") == 0


@pytest.mark.parametrize(
    "limit, current",
    [("max\n", "300\n"), (None, "300\n"), ("1000\n", None), (None, None), ("", "300\n"), ("1000\n", "what\n")],
)
def test_without_a_readable_limit_there_is_no_end(tmp_path: Path, limit: str | None, current: str | None) -> None:
    assert cgroup(tmp_path, max=limit, current=current) > 2**60


def test_a_file_where_the_folder_should_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert main_memory._cgroup_room(tmp_path / "file") > 2**60


def test_cached_files_are_room(tmp_path: Path) -> None:
    """The kernel gives them back when memory is wanted: a model file that was read once must not count as used."""
    stat = "anon 120\nfile 180\nactive_file 80\ninactive_file 100\nslab 7\n"
    assert cgroup(tmp_path, max="1000\n", current="300\n", stat=stat) == 800


@pytest.mark.parametrize("meminfo, room, free", [(500, 700, 500), (700, 500, 500), (500, 2**62, 500), (0, 700, 0)])
def test_the_tighter_limit_counts(monkeypatch: pytest.MonkeyPatch, meminfo: int, room: int, free: int) -> None:
    monkeypatch.setattr(main_memory, "_meminfo_available", lambda: meminfo)
    monkeypatch.setattr(main_memory, "_cgroup_room", lambda: room)
    assert memory.free_host_memory() == free


def test_a_mute_system_is_guessed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(main_memory, "_meminfo_available", lambda: None)
    monkeypatch.setattr(main_memory, "_cgroup_room", lambda: 2**62)
    physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert 0 < memory.free_host_memory() <= physical


def fake_files(monkeypatch: pytest.MonkeyPatch, files: dict[str, str]) -> None:
    """Files that `fit` reads; the others do not exist."""

    class Fake:
        def __init__(self, path: str):
            self.path = path

        def read_text(self) -> str:
            if self.path in files:
                return files[self.path]
            raise FileNotFoundError(self.path)

    monkeypatch.setattr(memory, "Path", Fake)
    monkeypatch.setattr(main_memory, "Path", Fake)


@pytest.mark.parametrize(
    "text, available",
    [
        ("MemTotal:       100 kB\nMemFree:         10 kB\nMemAvailable:    40 kB\nBuffers: 1 kB\n", 40 * 1024),
        ("MemTotal:       100 kB\nMemFree:         10 kB\n", None),
        ("", None),
    ],
)
def test_meminfo(monkeypatch: pytest.MonkeyPatch, text: str, available: int | None) -> None:
    fake_files(monkeypatch, {"/proc/meminfo": text})
    assert main_memory._meminfo_available() == available


def test_no_meminfo(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_files(monkeypatch, {})
    assert main_memory._meminfo_available() is None


@pytest.mark.parametrize(
    "siblings, cores",
    [
        ({0: "0", 1: "1"}, 2),
        ({0: "0,2", 1: "1,3", 2: "0,2", 3: "1,3"}, 2),
        ({0: "0-1", 1: "0-1"}, 1),
        ({1: "1,3", 2: "0,2"}, 2),
        ({4: None, 5: None}, 2),
        ({7: "7"}, 1),
    ],
)
def test_hyper_threads_count_once(monkeypatch: pytest.MonkeyPatch, siblings: dict[int, str | None], cores: int) -> None:
    place = "/sys/devices/system/cpu/cpu{}/topology/thread_siblings_list"
    fake_files(monkeypatch, {place.format(cpu): text + "\n" for cpu, text in siblings.items() if text})
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(siblings), raising=False)
    assert memory.physical_cores() == cores


@pytest.mark.parametrize("count, cores", [(8, 4), (3, 1), (1, 1), (None, 1)])
def test_cores_where_affinity_is_unknown(monkeypatch: pytest.MonkeyPatch, count: int | None, cores: int) -> None:
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: count)
    assert memory.physical_cores() == cores


def test_a_containers_share_of_the_cores(tmp_path: Path) -> None:
    for text, cores in (("150000 100000", 2), ("200000 100000", 2), ("max 100000", 2**31), ("", 2**31)):
        (tmp_path / "cpu.max").write_text(text)
        assert memory._cgroup_cores(tmp_path) == cores
    assert memory._cgroup_cores(tmp_path / "nothing") == 2**31
    assert memory.physical_cores() >= 1
