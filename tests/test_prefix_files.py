"""Prefixes in files: a file's form, which one is read for a prompt, the folder that servers share, whose weights they
are. No engine."""

import errno
import itertools
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from threading import Event

import pytest
from running import CEILING

from nitro.engines.prefix_files import form, identity
from nitro.engines.prefix_files.files import PrefixFiles
from nitro.engines.prefix_files.folder import PART, WHOLE, PrefixFolder, TooLarge
from nitro.engines.prefix_files.form import Damaged, Header, pack
from nitro.engines.prefix_files.index import MAX_READ, MIN_TOKENS, Entry, PrefixIndex, text_length
from nitro.engines.prefix_files.weights import MEMO, Changed, Weights
from nitro.engines.types import EngineSpec

A, B = "a" * 64, "b" * 64  # identities
TOKENS = list(range(100, 300))
STATE = bytes(range(256)) * 40
MIB = 2**20


def written(path: Path, header: Header, *pieces: bytes) -> Path:
    fd = os.open(path, os.O_CREAT | os.O_RDWR | os.O_TRUNC)
    os.ftruncate(fd, form.file_size(header))
    form.write(fd, header, pieces, lambda: None)
    os.close(fd)
    return path


def read(path: Path, wanted: Header) -> bytes:
    fd = os.open(path, os.O_RDONLY)
    try:
        return bytes(form.read_state(fd, wanted))
    finally:
        os.close(fd)


HEADER = Header(A, "", pack(TOKENS), len(STATE))


# The form


def test_a_state_comes_back_as_it_was(tmp_path: Path) -> None:
    file = written(tmp_path / "file", HEADER, STATE[:1000], b"", STATE[1000:])
    assert read(file, HEADER) == STATE and file.stat().st_size == form.file_size(HEADER)


@pytest.mark.parametrize(
    "wanted",
    [Header(B, "", pack(TOKENS), 0), Header(A, "x*1.0", pack(TOKENS), 0), Header(A, "", pack(TOKENS[1:]), 0)],
    ids=["identity", "adapters", "tokens"],
)
def test_a_file_of_something_else_is_not_read(tmp_path: Path, wanted: Header) -> None:
    with pytest.raises(Damaged):
        read(written(tmp_path / "file", HEADER, STATE), wanted)


def test_no_byte_may_differ(tmp_path: Path) -> None:
    """Of those that mean anything: what fills a page is not read."""
    data = written(tmp_path / "file", HEADER, STATE).read_bytes()
    begin = len(data) - len(STATE)
    found = 0
    for place in [*range(60), *range(60, begin, 7), *range(begin, len(data), 997), len(data) - 1]:
        (tmp_path / "other").write_bytes(data[:place] + bytes([data[place] ^ 64]) + data[place + 1 :])
        try:
            assert read(tmp_path / "other", HEADER) == STATE
        except Damaged:
            found += 1
    assert found > 100


def test_no_byte_may_be_missing_or_be_too_much(tmp_path: Path) -> None:
    data = written(tmp_path / "file", HEADER, STATE).read_bytes()
    for other in (data[:length] for length in (0, 5, 43, 44, 300, 4096, len(data) - 1)):
        (tmp_path / "other").write_bytes(other)
        with pytest.raises(Damaged):
            read(tmp_path / "other", HEADER)
    (tmp_path / "other").write_bytes(data + b"\0")
    with pytest.raises(Damaged):
        read(tmp_path / "other", HEADER)


def test_pieces_of_another_size_are_a_fault(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="a state of"):
        written(tmp_path / "file", HEADER, STATE[1:])


# Which file is read


def entry(tokens: list[int], name: str = "x", adapters: str = "") -> Entry:
    return Entry(name, adapters, pack(tokens))


def index(*entries: Entry, entire: bool = False, longest: int = 10_000) -> PrefixIndex:
    made = PrefixIndex(entire, longest)
    for each in entries:
        made.add(each)
    return made


def found(of: PrefixIndex, tokens: list[int], adapters: str = "") -> tuple[str, int] | None:
    hit = of.find(pack(tokens), adapters)
    return hit and (hit.entry.name, hit.length)


def test_the_longest_prefix_is_found_and_of_equals_the_smallest_file() -> None:
    of = index(entry(TOKENS[:90], "short"), entry([*TOKENS, 1, 2, 3], "long"), entry([*TOKENS, 1], "less"))
    assert found(of, [*TOKENS, 7, 7]) == ("less", 200)
    assert found(of, [*TOKENS[:91], 7]) == ("less", 91)
    assert found(of, TOKENS) == ("less", 199), "the last token must be computed"
    assert found(of, [7, *TOKENS]) is None
    assert found(of, TOKENS[: MIN_TOKENS + 1]) == ("short", MIN_TOKENS)
    assert found(of, TOKENS[:MIN_TOKENS]) is None, "a shorter one is computed again"


def test_what_was_computed_under_other_adapters_is_not_found() -> None:
    of = index(entry(TOKENS, "plain"), entry(TOKENS[:100], "under", "1*0.5"))
    assert found(of, [*TOKENS, 7], "1*0.5") == ("under", 100) and found(of, [*TOKENS, 7], "1*1.0") is None


def test_a_state_that_cannot_be_cut_is_found_where_the_prompt_has_all_of_it() -> None:
    of = index(entry(TOKENS[:100], "part"), entry(TOKENS, "all"), entire=True)
    assert found(of, [*TOKENS, 7]) == ("all", 200)
    assert found(of, TOKENS) == ("part", 100) and found(of, TOKENS[:100]) is None


def test_nothing_is_read_that_is_far_longer_or_does_not_fit_or_is_not_written_yet() -> None:
    long = list(range(MAX_READ * 100 + 1))
    assert found(index(entry(long)), [*long[:100], 7]) is None and found(index(entry(long)), [*long[:102], 7])
    assert found(index(entry(TOKENS), longest=199), [*TOKENS, 7]) is None
    waiting = index(entry(TOKENS)._replace(is_there=False))
    assert found(waiting, [*TOKENS, 7]) is None and not waiting.is_worth_writing(pack(TOKENS), "")


def test_what_is_written_is_new_enough() -> None:
    of = index(entry(TOKENS))
    worth = {length: of.is_worth_writing(pack(range(100, 100 + length)), "") for length in (63, 200, 263, 264)}
    assert worth == {63: False, 200: False, 263: False, 264: True}
    assert of.is_worth_writing(pack(range(7, 7 + MIN_TOKENS)), "") and of.is_worth_writing(pack(TOKENS), "1*1.0")
    whole = index(entry(TOKENS), entire=True)
    assert not whole.is_worth_writing(pack(TOKENS), "") and whole.is_worth_writing(pack(TOKENS[:100]), "")


def test_a_longer_one_takes_the_place_of_those_that_it_begins_with() -> None:
    long = entry(list(range(100, 1000)), "long")
    of = index(entry(TOKENS, "short"), entry(TOKENS, "under", "1*1.0"), entry([7, *TOKENS], "other"))
    assert [each.name for each in of.superseded(long)] == ["short"]
    assert index(entry(TOKENS), entire=True).superseded(long) == []


def test_what_comes_before_media() -> None:
    assert [text_length(tokens) for tokens in ([], [1, 2], [1, -5, -5, 2], [-1])] == [0, 2, 1, 0]


# The folder


def add(folder: PrefixFolder, name: str, size: int = MIB, identity: str = A) -> None:
    folder.add(identity, name, size, lambda fd: None)


def used(folder: PrefixFolder, name: str, when: int) -> None:
    os.utime(folder.path / A / (name + WHOLE), (when, when))


def test_what_was_not_used_for_the_longest_time_goes(tmp_path: Path) -> None:
    folder = PrefixFolder(tmp_path / "new", 3 * MIB)
    folder.prepare()
    for when, name in enumerate("abc"):
        add(folder, name, identity=A)
        used(folder, name, when)
    folder.touch(A, "a")
    add(folder, "d", identity=B)
    assert folder.names(A) == {"a", "c"} and folder.names(B) == {"d"} and folder.usage() == (3, 3 * MIB)
    with pytest.raises(TooLarge):
        add(folder, "e", 3 * MIB + 1)
    assert folder.usage().files == 3, "nothing gives way to what has no room anyway"


def test_what_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    folder = PrefixFolder(tmp_path, 3 * MIB)

    def fail(fd: int) -> None:
        assert [file.suffix for file in (tmp_path / A).iterdir()] == [PART]
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        folder.add(A, "a", MIB, fail)
    assert list((tmp_path / A).iterdir()) == []


def test_only_their_owner_can_read_them(tmp_path: Path) -> None:
    folder = PrefixFolder(tmp_path / "kept", MIB)
    folder.prepare()
    add(folder, "a", 10)
    modes = [path.stat().st_mode & 0o777 for path in (folder.path, folder.path / A, folder.path / A / f"a{WHOLE}")]
    assert modes == [0o700, 0o700, 0o600]


def test_nothing_else_is_removed(tmp_path: Path) -> None:
    """The folder may be one that has other things, too."""
    folder = PrefixFolder(tmp_path, 2 * MIB)
    others = [tmp_path / "notes.prefix", tmp_path / "mine" / "a.prefix", tmp_path / A / "README"]
    for other in others:
        other.parent.mkdir(exist_ok=True)
        other.write_bytes(bytes(3 * MIB))
    add(folder, "a")
    assert folder.clear() == (1, MIB) and folder.usage() == (0, 0)
    assert all(other.exists() for other in others)


WRITES = """
import sys
from pathlib import Path
from nitro.engines.prefix_files import form
from nitro.engines.prefix_files.folder import PrefixFolder
folder, first = PrefixFolder(Path(sys.argv[1]), int(sys.argv[2])), int(sys.argv[3])
folder.prepare()
for number in range(first, first + int(sys.argv[4])):
    header = form.Header("a" * 64, "", form.pack(range(number, number + 100)), 2**20)
    pieces = [number.to_bytes(4, "little") * 2**18]
    write = lambda fd: form.write(fd, header, pieces, lambda: None)
    folder.add(header.identity, header.name, form.file_size(header), write)
    print(number, flush=True)
"""


def writer(folder: Path, most: int, first: int, count: int) -> subprocess.Popen:
    command = [sys.executable, "-c", WRITES, str(folder), str(most), str(first), str(count)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def all_whole(folder: PrefixFolder, name: str) -> None:
    fd = folder.open(A, name)
    header = form.read_header(fd)
    assert header.name == name
    first = int.from_bytes(header.tokens[:4], "little")
    assert form.read_state(fd, header) == first.to_bytes(4, "little") * 2**18
    os.close(fd)


def test_a_kill_at_any_moment_leaves_whole_files_only(tmp_path: Path) -> None:
    folder = PrefixFolder(tmp_path, 40 * MIB)
    left = 0
    for attempt in range(6):
        with writer(tmp_path, 40 * MIB, 1000 * attempt, 1000) as child:
            for line in child.stdout:
                if int(line) % 1000 == 3 + attempt:
                    child.send_signal(signal.SIGKILL)
        left += len(list((tmp_path / A).glob(f"*{PART}")))
        for name in folder.names(A):
            all_whole(folder, name)
    add(folder, "next", 10)
    assert not list((tmp_path / A).glob(f"*{PART}")), f"{left} were left over"


def test_two_servers_keep_the_bound_together(tmp_path: Path) -> None:
    most = 8 * MIB
    children = [writer(tmp_path, most, first, 25) for first in (0, 5000)]
    assert [child.wait(CEILING) for child in children] == [0, 0]
    for child in children:
        child.stdout.close()
    folder = PrefixFolder(tmp_path, most)
    assert 0 < folder.usage().bytes <= most and folder.usage().files >= 6
    for name in folder.names(A):
        all_whole(folder, name)


def test_what_another_server_writes_is_not_taken_for_left_over(tmp_path: Path) -> None:
    mine, others = (PrefixFolder(tmp_path, 3 * MIB) for _ in range(2))
    others.add(A, "slow", MIB, lambda fd: add(mine, "fast"))
    assert mine.names(A) == {"slow", "fast"}


# Whose weights


def weights(path: Path, memo: Path) -> Weights:
    return Weights(str(path), memo)


def test_the_digest_is_of_every_byte(tmp_path: Path) -> None:
    """Also of those in the middle of a large file, which the fingerprint of a model does not read."""
    data = bytearray(5 * MIB)
    digests = set()
    for place in (0, 2 * MIB + 5, 5 * MIB - 1):
        data[place] ^= 1
        (file := tmp_path / f"{place}.gguf").write_bytes(data)
        digests.add(weights(file, tmp_path).digest())
    (same := tmp_path / "same.gguf").write_bytes(data)
    assert len(digests) == 3 and weights(same, tmp_path).digest() in digests, "whatever its name"


def test_a_folder_s_digest_is_of_its_files_and_their_names(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    for name in ("config.json", "model.safetensors", "README.md"):
        (folder / name).write_text(name)
    first = weights(folder, tmp_path).digest()
    (folder / "README.md").write_text("other")
    assert weights(folder, tmp_path).digest() == first
    (folder / "config.json").write_text('{"rope_theta": 1}')
    assert weights(folder, tmp_path).digest() != first


def test_a_digest_is_remembered_until_the_file_changes(tmp_path: Path) -> None:
    (file := tmp_path / "a.gguf").write_bytes(b"one")
    assert weights(file, tmp_path).known() is None
    digest = weights(file, tmp_path).digest()
    assert weights(file, tmp_path).known() == digest and (tmp_path / MEMO).exists()
    about = file.stat()
    file.write_bytes(b"two")
    os.utime(file, ns=(about.st_atime_ns, about.st_mtime_ns))  # as long, and as old
    assert weights(file, tmp_path).known() is None and weights(file, tmp_path).digest() != digest
    (tmp_path / MEMO).write_text("no JSON")
    assert weights(file, tmp_path).known() is None and weights(file, tmp_path).digest()


def test_a_file_that_was_replaced_after_it_was_loaded_is_not_the_one_that_was(tmp_path: Path) -> None:
    (file := tmp_path / "a.gguf").write_bytes(b"one")
    (other := tmp_path / "b.gguf").write_bytes(b"two")
    weights(other, tmp_path).digest()
    loaded = weights(file, tmp_path)
    other.replace(file)
    for ask in (loaded.known, loaded.digest):
        with pytest.raises(Changed, match=r"a\.gguf has changed"):
            ask()


def test_a_file_that_is_replaced_while_it_is_read_is_noticed(tmp_path: Path) -> None:
    (file := tmp_path / "a.gguf").write_bytes(bytes(3 * MIB))
    with pytest.raises(Changed):
        weights(file, tmp_path).digest(lambda: file.write_bytes(b"two"))
    assert weights(file, tmp_path).known() is None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("engine_memory", "4G"),
        ("compile_seconds", 1.0),
        ("compile_memory", 64),
        ("tokenize_memory", 64),
        ("mlock", True),
    ],
)
def test_a_limit_changes_nothing_of_what_is_computed(name: str, value: object) -> None:
    plain, limited = (EngineSpec(engine="llama", model="a.gguf", **more) for more in ({}, {name: value}))
    assert identity.of(plain, ["llama.cpp 1"], "w") == identity.of(limited, ["llama.cpp 1"], "w")


def test_whatever_may_change_what_is_computed_makes_another_identity(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = EngineSpec(engine="llama", model="a.gguf")

    def of(options: EngineSpec = spec, parts: tuple[str, ...] = ("llama.cpp 1", "CPU"), weights: str = "w") -> str:
        return identity.of(options, list(parts), weights)

    others = [
        of(weights="v"),
        of(parts=("llama.cpp 2", "CPU")),
        *(
            of(EngineSpec(engine="llama", model="a.gguf", **{name: value}))
            for name, value in {
                "rope_freq_base": 500.0,
                "cache_type_k": "q8_0",
                "flash_attn": "off",
                "deterministic": True,
                "gpu_layers": 3,
                "yarn_beta_slow": 2.0,
            }.items()
        ),
    ]
    monkeypatch.setattr(identity, "FORM", "0")
    others.append(of())
    monkeypatch.undo()
    monkeypatch.setattr(identity, "__version__", "0.0.0")
    others.append(of())
    monkeypatch.undo()
    assert len({of(), *others}) == 1 + len(others)
    harmless = EngineSpec(engine="llama", model="b.gguf", context=99, parallel=3, log_level="debug", mlock=True)
    assert of(harmless) == of()


# Written behind, and read ahead


class Kept:
    """PrefixFiles on a folder, and what it has reported."""

    def __init__(self, folder: Path, identity: str = A, most: int = 2**30, entire: bool = False):
        self.events: list[tuple[str, int]] = []
        self.folder = PrefixFolder(folder, most)
        self.files = PrefixFiles(self.folder, PrefixIndex(entire, 10_000), self._report)
        self.files.start(identity or None, lambda pause: A)

    def _report(self, event: str, tokens: int, size: int) -> None:
        self.events.append((event, tokens))

    def write(self, tokens: list[int], state: bytes = STATE, room: int = 2**30) -> None:
        self.files.write(pack(tokens), "", [memoryview(state)], room)

    def settle(self) -> None:
        import time

        assert self.files.drain(time.monotonic() + CEILING)

    def get(self, tokens: list[int]) -> bytes | None:
        """What is found and read for a prompt."""
        hit = self.files.find(pack(tokens), "")
        if hit is None:
            return None
        done, got = Event(), []
        self.files.fetch(hit, lambda state: (got.append(state), done.set()))
        assert done.wait(CEILING)
        return got[0] if got[0] is None else bytes(got[0])

    def file(self) -> Path:
        (found,) = (self.folder.path / A).glob(f"*{WHOLE}")
        return found


PROMPT = [*TOKENS, 7]


def test_what_is_written_is_found_also_by_another_one(tmp_path: Path) -> None:
    kept = Kept(tmp_path, identity="")  # which is found by and by
    kept.write(TOKENS)
    kept.settle()
    assert kept.get(PROMPT) == STATE and kept.events == [("written", 200)]
    assert Kept(tmp_path).get(PROMPT) == STATE
    assert Kept(tmp_path, B).get(PROMPT) is None, "of another identity"


@pytest.mark.parametrize("harm", [lambda data: data[:-1] + b"\0", lambda data: data[:5000], lambda data: b""])
def test_a_damaged_file_is_removed_and_not_found(tmp_path: Path, harm: Callable[[bytes], bytes]) -> None:
    kept = Kept(tmp_path)
    kept.write(TOKENS)
    kept.settle()
    file = kept.file()
    file.write_bytes(harm(file.read_bytes()))
    assert kept.get(PROMPT) is None and not file.exists()
    assert kept.events[1][0] == "damaged" and kept.get(PROMPT) is None


def test_a_file_of_another_model_in_our_place_is_not_read(tmp_path: Path) -> None:
    """It has the right name, and lies where ours would."""
    other = Kept(tmp_path / "other", B)
    other.write(TOKENS)
    other.settle()
    (planted := tmp_path / "ours" / A).mkdir(parents=True)
    name = form.name_of(pack(TOKENS), "") + WHOLE
    (tmp_path / "other" / B / name).rename(planted / name)
    assert Kept(tmp_path / "ours").get(PROMPT) is None and not (planted / name).exists()


def test_a_file_that_went_is_not_found(tmp_path: Path) -> None:
    kept = Kept(tmp_path)
    kept.write(TOKENS)
    kept.settle()
    kept.file().unlink()
    assert kept.get(PROMPT) is None and kept.events[-1] == ("gone", 200)
    assert kept.files.wants(pack(TOKENS), ""), "so that it is written again"


def test_what_another_server_has_written_is_found_after_a_while(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nitro.engines.prefix_files.files.REFRESH", 0.0)
    mine, other = Kept(tmp_path), Kept(tmp_path)
    other.write(TOKENS)
    other.settle()
    tries = itertools.count()
    while mine.get(PROMPT) != STATE:
        assert next(tries) < 10**6
    other.file().unlink()
    while mine.files.find(pack(PROMPT), ""):
        assert next(tries) < 10**6


def test_a_longer_one_replaces_the_file(tmp_path: Path) -> None:
    kept = Kept(tmp_path)
    kept.write(TOKENS)
    kept.write([*TOKENS, *range(100)])
    kept.settle()
    assert kept.folder.usage().files == 1 and kept.get(PROMPT) == STATE


def test_a_full_disk_costs_what_would_be_kept_and_is_told_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    kept = Kept(tmp_path)

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "pwrite", full)
    for start in (0, 1):
        kept.write(TOKENS[start:])
    kept.settle()
    assert [event for event, _ in kept.events] == ["failed"] * 2 and kept.folder.usage() == (0, 0)
    assert [record.getMessage().count("No space left") for record in caplog.records] == [1]
    monkeypatch.undo()
    kept.write(TOKENS)
    kept.settle()
    assert kept.get(PROMPT) == STATE


def test_what_waits_takes_no_more_memory_than_it_may(tmp_path: Path) -> None:
    kept = Kept(tmp_path, identity="")
    go_on = Event()
    kept.files._writes.appendleft(lambda: go_on.wait(CEILING) and None)
    kept.write(TOKENS, room=len(STATE))  # what is alone may be as large as it is
    kept.write(TOKENS[1:], room=len(STATE))
    assert kept.events == [("dropped", 199)]
    go_on.set()
    kept.settle()
    assert kept.events[1:] == [("written", 200)]


def test_what_is_forgotten_is_neither_written_nor_found(tmp_path: Path) -> None:
    kept = Kept(tmp_path)
    kept.write(TOKENS)
    kept.settle()
    kept.write(list(range(100)))
    done = Event()
    kept.files.forget(done.set)
    assert done.wait(CEILING)
    kept.folder.clear()
    kept.settle()
    assert kept.get(PROMPT) is None and kept.folder.usage() == (0, 0)
    kept.write(TOKENS)
    kept.settle()
    assert kept.get(PROMPT) == STATE, "what comes later is kept"


def test_the_writer_rests_while_the_engine_computes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a share of what it works, which is told to a clock of ours."""
    kept = Kept(tmp_path)
    rests: list[float] = []
    monkeypatch.setattr(kept.files._at_rest, "wait", rests.append)
    clock = itertools.count(100)
    monkeypatch.setattr("nitro.engines.prefix_files.files.time.monotonic", lambda: float(next(clock)))
    kept.files._worked = 90.0
    kept.files._pause()
    assert rests == [40.0 * 10] and kept.files._worked == 101.0
    kept.files.rest(True)
    kept.files._pause()
    assert len(rests) == 1, "not while it is idle"
