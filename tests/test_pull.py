"""Fetching from a hub on loopback, in this process: what goes wrong on the way, and what is left then."""

import hashlib
import json
import os
import random
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import huggingface_hub
import pytest
from hub import TOKEN, Answer, LoopbackHub, Repo, Request, error, running
from huggingface_hub.utils import WeakFileLock
from running import CEILING

from nitro.errors import PullError
from nitro.models import fetched
from nitro.models.pull import fetch, lookup, names, transfer
from nitro.models.pull.hub import Hub
from nitro.models.pull.partial import SUFFIX
from nitro.models.pull.report import Came, Event, Here, Meter, Said
from nitro.models.repository import Repository, RepositoryFile

NAME = "org/model"
CONTENT = random.Random(1).randbytes(100_000)
SMALL = b'{"model_type": "llama"}'


@pytest.fixture
def hub() -> Iterator[LoopbackHub]:
    with running() as hub:
        hub.repos[NAME] = Repo({"m-Q8_0.gguf": CONTENT, "config.json": SMALL, "empty.txt": b""})
        yield hub
        huggingface_hub.close_session()


class Puller:
    """The client."""

    def __init__(self, hub: LoopbackHub, cache: Path):
        self.server = hub
        self.cache = cache
        self.token: str | bool = False  # huggingface_hub: none, whatever lies in the user's home
        self.events: list[Event] = []
        self.waited: list[float] = []

    @property
    def hub(self) -> Hub:
        return Hub(self.server.url, self.token, self.cache)  # type: ignore[arg-type]

    def look(self, name: str = NAME, revision: str | None = None) -> Repository:
        return lookup.repository(self.hub, name, revision)

    def pull(self, *paths: str, of: Repository | None = None) -> list[Path]:
        repository = of or self.look()
        files = [file for file in repository.files if not paths or file.path in paths]
        return fetch.fetch(self.hub, repository, files, self.events.append, self.waited.append)

    def refusal(self, *paths: str, of: Repository | None = None) -> PullError:
        with pytest.raises(PullError) as caught:
            self.pull(*paths, of=of)
        return caught.value

    def folder(self, name: str) -> Path:
        return self.cache / "models--org--model" / name

    @property
    def partial(self) -> Path:
        blob = self.server.repos[NAME].sha256("m-Q8_0.gguf")
        return self.folder("blobs") / (blob + SUFFIX)

    @property
    def blob(self) -> Path:
        return self.folder("blobs") / self.server.repos[NAME].sha256("m-Q8_0.gguf")

    @property
    def said(self) -> str:
        return " ".join(event.text for event in self.events if isinstance(event, Said))


@pytest.fixture
def puller(hub: LoopbackHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Puller:
    monkeypatch.setenv("NITRO_DATA", str(tmp_path / "data"))
    return Puller(hub, tmp_path / "hub")


# What comes, and where it lies


def test_files_of_all_kinds_lie_where_huggingface_hub_finds_them(hub: LoopbackHub, puller: Puller) -> None:
    paths = puller.pull()
    assert [path.read_bytes() for path in paths] == [CONTENT, SMALL, b""]
    commit = hub.repos[NAME].commit
    assert paths[0] == puller.folder("snapshots") / commit / "m-Q8_0.gguf" and paths[0].resolve() == puller.blob
    lookup.note(puller.hub, puller.look(), None, paths)
    for file, content in (("m-Q8_0.gguf", CONTENT), ("config.json", SMALL)):
        found = huggingface_hub.hf_hub_download(NAME, file, cache_dir=puller.cache, local_files_only=True)
        assert Path(found).read_bytes() == content, "main means this commit"
    assert [repo.repo_id for repo in huggingface_hub.scan_cache_dir(puller.cache).repos] == [NAME]
    assert not huggingface_hub.scan_cache_dir(puller.cache).warnings
    assert [request.start for request in hub.requests] == [0] * len(hub.requests)


def test_it_is_noted_as_ours(puller: Puller) -> None:
    paths = puller.pull()
    lookup.note(puller.hub, puller.look(), None, paths)
    assert fetched.read()[NAME] >= set(map(str, paths))


def test_pulls_that_end_together_are_all_noted(puller: Puller) -> None:
    names = [f"org/{number}" for number in range(50)]
    with ThreadPoolExecutor(10) as many:
        list(many.map(lambda name: fetched.add(name, "0" * 40, [puller.cache / name]), names))
    assert set(fetched.read()) == set(names)


def test_the_second_pull_brings_nothing(hub: LoopbackHub, puller: Puller) -> None:
    first = puller.pull()
    sent = hub.sent
    assert puller.pull() == first and hub.sent == sent


def test_a_new_commit_brings_what_has_changed(hub: LoopbackHub, puller: Puller) -> None:
    puller.pull()
    sent = hub.sent
    hub.repos[NAME].files["config.json"] = b"{}"
    paths = puller.pull()
    assert [path.read_bytes() for path in paths] == [CONTENT, b"{}", b""] and hub.sent == sent


def test_several_files_come_at_once(hub: LoopbackHub, puller: Puller) -> None:
    """Each request waits until there are as many as are fetched at once."""
    parts = {f"m-0000{n}-of-00004.gguf": CONTENT[n:] for n in range(1, 5)}
    hub.repos[NAME] = Repo(parts)
    together = threading.Barrier(fetch.AT_ONCE)

    def answer(request: Request) -> Answer | None:
        if request.method == "GET" and "resolve" in request.path:
            together.wait(CEILING)
        return None

    hub.answer = answer
    assert [path.read_bytes() for path in puller.pull()] == list(parts.values())


def test_the_token_goes_to_the_hub_and_no_further(hub: LoopbackHub, puller: Puller) -> None:
    hub.repos[NAME].private = True
    puller.token = TOKEN
    assert puller.pull("m-Q8_0.gguf")[0].read_bytes() == CONTENT
    assert {request.token for request in hub.asked(NAME)} == {f"Bearer {TOKEN}"}
    stored = [request for request in hub.requests if NAME not in request.path]
    assert stored and {request.token for request in stored} == {None}


def test_a_large_file_is_asked_for_in_pieces(hub: LoopbackHub, puller: Puller, monkeypatch: pytest.MonkeyPatch) -> None:
    """The hub answers no request for more than 50 GB."""
    monkeypatch.setattr(transfer, "PIECE", 30_000)
    assert puller.pull("m-Q8_0.gguf")[0].read_bytes() == CONTENT
    pieces = [(request.start, request.stop) for request in hub.asked("m-Q8_0.gguf")]
    assert pieces == [(0, 30_000), (30_000, 60_000), (60_000, 90_000), (90_000, 100_000)]


# Connections that end


def test_a_connection_that_is_cut_at_every_tenth_kilobyte(hub: LoopbackHub, puller: Puller) -> None:
    hub.cut = 10_000
    assert puller.pull("m-Q8_0.gguf")[0].read_bytes() == CONTENT
    assert [request.start for request in hub.asked("m-Q8_0.gguf")] == list(range(0, 100_000, 10_000))
    assert hub.sent == len(CONTENT), "nothing comes twice"
    assert not puller.waited, "nobody waits while something comes"


def test_a_connection_that_brings_nothing(hub: LoopbackHub, puller: Puller) -> None:
    hub.cut = 0
    refusal = puller.refusal("m-Q8_0.gguf")
    assert refusal.code == "network" and "run the command again" in str(refusal)
    assert puller.waited == [1, 2, 4, 8, 16] and "Trying again in 4 s" in puller.said


def test_it_recovers(hub: LoopbackHub, puller: Puller) -> None:
    """Three answers that fail, in another way each, then the file."""
    failures = iter([error(503, "", "Service Unavailable"), error(500, "", "oops"), error(408, "", "slow")])
    hub.answer = lambda request: next(failures, None) if "resolve" in request.path else None
    assert puller.pull("m-Q8_0.gguf")[0].read_bytes() == CONTENT
    assert puller.waited == [1, 2, 4] and "answers 503" in puller.said


def test_a_server_that_knows_no_ranges(hub: LoopbackHub, puller: Puller) -> None:
    puller.partial.parent.mkdir(parents=True)
    puller.partial.write_bytes(CONTENT[:40_000])
    hub.has_ranges = False
    assert puller.pull("m-Q8_0.gguf")[0].read_bytes() == CONTENT
    sizes = [event.size for event in puller.events if isinstance(event, Here | Came)]
    assert sizes[:2] == [40_000, -40_000] and sum(sizes) == len(CONTENT)


def test_nobody_tries_for_ever_where_each_answer_begins_anew_and_is_cut(hub: LoopbackHub, puller: Puller) -> None:
    hub.has_ranges, hub.cut = False, 50_000
    assert puller.refusal("m-Q8_0.gguf").code == "network"
    assert len(hub.asked("m-Q8_0.gguf")) == transfer.MAX_TRIES + 1


# What is left of an earlier run


def test_it_goes_on_where_it_was_ended(hub: LoopbackHub, puller: Puller) -> None:
    puller.partial.parent.mkdir(parents=True)
    puller.partial.write_bytes(CONTENT[:60_000])
    assert puller.pull("m-Q8_0.gguf")[0].read_bytes() == CONTENT
    assert [request.start for request in hub.asked("m-Q8_0.gguf")] == [60_000] and hub.sent == 40_000
    assert not puller.partial.exists()
    assert puller.events[1] == Here(puller.look().files[0], 60_000)


def test_a_part_that_is_whole_already(hub: LoopbackHub, puller: Puller) -> None:
    """Killed before the hash was compared."""
    puller.partial.parent.mkdir(parents=True)
    puller.partial.write_bytes(CONTENT)
    assert puller.pull("m-Q8_0.gguf")[0].read_bytes() == CONTENT and hub.sent == 0


def test_a_part_that_is_too_long(hub: LoopbackHub, puller: Puller) -> None:
    puller.partial.parent.mkdir(parents=True)
    puller.partial.write_bytes(CONTENT + b"more")
    assert puller.pull("m-Q8_0.gguf")[0].read_bytes() == CONTENT


def test_another_program_that_fetches_the_same_is_waited_for(hub: LoopbackHub, puller: Puller) -> None:
    lock = puller.hub.lock(puller.look(), hub.repos[NAME].sha256("m-Q8_0.gguf"))
    lock.parent.mkdir(parents=True)
    told = threading.Event()

    def report(event: Event) -> None:
        puller.events.append(event)
        if isinstance(event, Said):
            told.set()

    def other() -> None:
        assert told.wait(CEILING)
        puller.blob.parent.mkdir(parents=True)
        puller.blob.write_bytes(CONTENT)
        release.set()

    release = threading.Event()
    thread = threading.Thread(target=other)
    repository = puller.look()
    with WeakFileLock(lock):
        pulled: list[list[Path]] = []
        pulling = threading.Thread(
            target=lambda: pulled.append(fetch.fetch(puller.hub, repository, repository.files[:1], report))
        )
        thread.start()
        pulling.start()
        assert release.wait(CEILING)
    pulling.join(CEILING)
    thread.join(CEILING)
    assert pulled[0][0].read_bytes() == CONTENT and hub.sent == 0
    assert puller.said == "Another program is fetching m-Q8_0.gguf; waiting for it."


# What is not what it should be


@pytest.mark.parametrize("before", [0, 60_000])
def test_a_file_with_another_content_is_dropped_and_told(hub: LoopbackHub, puller: Puller, before: int) -> None:
    puller.partial.parent.mkdir(parents=True)
    puller.partial.write_bytes(CONTENT[:before])
    hub.wrong.add(hub.repos[NAME].sha256("m-Q8_0.gguf"))
    refusal = puller.refusal("m-Q8_0.gguf")
    assert refusal.code == "wrong_hash" and str(refusal).startswith("m-Q8_0.gguf came with another content")
    assert not puller.partial.exists() and not puller.blob.exists() and not puller.folder("snapshots").exists()
    hub.wrong.clear()
    assert puller.pull("m-Q8_0.gguf")[0].read_bytes() == CONTENT


def test_a_small_file_is_compared_with_gits_hash(hub: LoopbackHub, puller: Puller) -> None:
    other = SMALL.replace(b"llama", b"lloma")
    hub.answer = lambda request: (200, {}, other) if "resolve-cache" in request.path else None
    assert puller.refusal("config.json").code == "wrong_hash"


def test_a_wrong_file_that_another_program_has_left_is_fetched_again(hub: LoopbackHub, puller: Puller) -> None:
    (path,) = puller.pull("m-Q8_0.gguf")
    puller.blob.write_bytes(CONTENT[:-1] + b"!")
    assert puller.pull("m-Q8_0.gguf") == [path] and path.read_bytes() == CONTENT
    assert "was in the cache with another content" in puller.said


@pytest.mark.parametrize("change", [-1, 1])
def test_a_file_that_is_not_as_long_as_listed(hub: LoopbackHub, puller: Puller, change: int) -> None:
    listed = puller.look()
    file = listed.files[0]
    told = RepositoryFile(file.path, file.size + change, file.sha256, file.git)
    of = Repository(name=NAME, files=(told,), commit=listed.commit)
    assert puller.refusal(of=of).code in ("changed", "wrong_hash")


@pytest.mark.parametrize(("size", "code"), [("5", "wrong_hash"), ("6", "hub")])
def test_a_hub_that_answers_with_other_hashes_than_it_lists(
    hub: LoopbackHub, puller: Puller, size: str, code: str
) -> None:
    """huggingface_hub, which makes the link, then fetches what it is told of, and compares the size alone."""
    listed = puller.look()
    puller.blob.parent.mkdir(parents=True)
    puller.blob.write_bytes(CONTENT)
    other = hashlib.sha256(b"other").hexdigest()
    headers = {"X-Repo-Commit": listed.commit, "ETag": f'"{other}"'}

    def answer(request: Request) -> Answer | None:
        said = {**headers, "Content-Length": size} if request.method == "HEAD" else headers
        return (200, said, b"other") if "resolve" in request.path else None

    hub.answer = answer
    assert puller.refusal("m-Q8_0.gguf", of=listed).code == code
    assert not list(puller.cache.rglob("m-Q8_0.gguf"))


@pytest.mark.parametrize(
    "path", ["../../m.gguf", "/etc/m.gguf", "a//m.gguf", "a/./m.gguf", "..\\m.gguf", "a\0.gguf", "\x1b[2J.gguf"]
)
def test_paths_that_lead_out_of_the_repository_or_cannot_be_shown_are_not_seen(
    hub: LoopbackHub, puller: Puller, path: str
) -> None:
    hub.repos[NAME].files[path] = b"GGUF"
    assert {file.path for file in puller.look().files} == {"m-Q8_0.gguf", "config.json", "empty.txt"}


@pytest.mark.parametrize("commit", ["../../..", "main", "", None])
def test_a_commit_that_is_none(hub: LoopbackHub, puller: Puller, commit: str | None) -> None:
    """It would be a folder of the cache."""
    listed = {**hub.repos[NAME].listed(NAME), "sha": commit}
    hub.answer = lambda _request: (200, {}, json.dumps(listed).encode())
    with pytest.raises(PullError) as caught:
        puller.look()
    assert caught.value.code == "hub" and "HF_ENDPOINT" in str(caught.value)


def test_a_hub_without_hashes(puller: Puller) -> None:
    of = Repository(name=NAME, files=(RepositoryFile("../../x.gguf", 3, None, "../x"),), commit="0" * 40)
    assert puller.refusal(of=of).code == "no_hash"


# Refusals


def test_a_gated_repository(hub: LoopbackHub, puller: Puller) -> None:
    hub.repos[NAME].gated = True
    hub.repos[NAME].files.pop("config.json")
    refusal = puller.refusal("m-Q8_0.gguf")
    assert refusal.code == "gated" and "accept its conditions" in str(refusal) and "HF_TOKEN" in str(refusal)
    puller.token, hub.repos[NAME].allowed = TOKEN, False
    refusal = puller.refusal("m-Q8_0.gguf")
    assert refusal.code == "gated" and "The token that was sent may not read it" in str(refusal)
    hub.repos[NAME].allowed = True
    assert puller.pull("m-Q8_0.gguf")[0].read_bytes() == CONTENT


@pytest.mark.parametrize("token", [False, TOKEN])
def test_a_repository_that_is_not_there(puller: Puller, token: str | bool) -> None:
    """The hub says 401 to those without a token, and 404 to the others."""
    puller.token = token
    with pytest.raises(PullError, match=r"The hub has no org/other, or it is private: check the name") as caught:
        puller.look("org/other")
    assert caught.value.code == "not_found"


def test_a_wrong_token(puller: Puller) -> None:
    puller.token = "hf_bad"
    with pytest.raises(PullError, match=r"The hub refuses the token that was sent. Unset HF_TOKEN, or"):
        puller.look()


def test_a_revision_that_is_not_there(puller: Puller) -> None:
    with pytest.raises(PullError, match=r"org/model has no revision v9; leave --revision away"):
        puller.look(revision="v9")


def test_a_commit_as_revision(hub: LoopbackHub, puller: Puller) -> None:
    commit = hub.repos[NAME].commit
    repository = puller.look(revision=commit)
    lookup.note(puller.hub, repository, commit, puller.pull(of=repository))
    assert repository.commit == commit and not puller.folder("refs").exists()


def test_a_file_that_is_gone(hub: LoopbackHub, puller: Puller) -> None:
    listed = puller.look()
    hub.answer = lambda request: error(404, "EntryNotFound", "Entry not found") if "resolve" in request.path else None
    assert puller.refusal("m-Q8_0.gguf", of=listed).code == "changed"


def test_too_many_requests(hub: LoopbackHub, puller: Puller) -> None:
    """A short wait is waited for, a long one told."""
    waits = iter([("Retry-After", "7"), ("RateLimit", '"resolvers";r=0;t=9')])
    hub.answer = lambda request: (
        error(429, "", "Too many", **dict([wait]))
        if "resolve" in request.path and (wait := next(waits, None))
        else None
    )
    assert puller.pull("m-Q8_0.gguf")[0].read_bytes() == CONTENT
    assert puller.waited == [7, 9]
    puller.blob.unlink()
    hub.answer = lambda request: error(429, "", "Too many", **{"Retry-After": "3600"}) if request.start == 0 else None
    refusal = puller.refusal("m-Q8_0.gguf")
    assert (refusal.code, refusal.retry_after) == ("rate_limit", 3600)
    assert "run the command again in 3600 seconds" in str(refusal)


def test_too_many_questions(hub: LoopbackHub, puller: Puller) -> None:
    hub.answer = lambda _request: error(429, "", "Too many", **{"Retry-After": "60"})
    with pytest.raises(PullError) as caught:
        puller.look()
    assert (caught.value.code, caught.value.retry_after) == ("rate_limit", 60)


@pytest.mark.parametrize("body", [b"<html>", b'{"error"'])
def test_what_is_no_hub(hub: LoopbackHub, puller: Puller, body: bytes) -> None:
    hub.answer = lambda _request: (200, {}, body)
    with pytest.raises(PullError) as caught:
        puller.look()
    assert caught.value.code == "network" and "HF_ENDPOINT" in str(caught.value)


def test_no_network(puller: Puller, tmp_path: Path) -> None:
    with running() as gone:
        pass
    with pytest.raises(PullError, match=r"The hub cannot be reached \(.*\). Check the connection"):
        lookup.repository(Hub(gone.url, None, tmp_path), NAME, None)


# The disk


def test_the_disk_is_looked_at_before(hub: LoopbackHub, puller: Puller, monkeypatch: pytest.MonkeyPatch) -> None:
    free = os.statvfs(puller.cache.parent)
    monkeypatch.setattr(fetch, "SPARE", free.f_frsize * free.f_blocks)
    refusal = puller.refusal("m-Q8_0.gguf")
    assert refusal.code == "disk_full" and "HF_HOME" in str(refusal) and not puller.cache.exists()
    assert not hub.sent


def test_a_disk_that_fills_up(hub: LoopbackHub, puller: Puller) -> None:
    puller.partial.parent.mkdir(parents=True)
    puller.partial.symlink_to("/dev/full")
    refusal = puller.refusal("m-Q8_0.gguf")
    assert refusal.code == "disk_full" and "what is here is kept" in str(refusal)
    assert f"The disk is full: {puller.partial}." in str(refusal)
    puller.partial.unlink()
    assert puller.pull("m-Q8_0.gguf")[0].read_bytes() == CONTENT


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_cache_that_cannot_be_written(puller: Puller) -> None:
    puller.cache.mkdir(mode=0o500)
    assert puller.refusal("m-Q8_0.gguf").code == "disk"


def test_a_cache_that_is_a_file(puller: Puller) -> None:
    puller.cache.write_bytes(b"")
    refusal = puller.refusal("m-Q8_0.gguf")
    assert refusal.code == "disk" and "HF_HOME" in str(refusal)


# Names, speed


@pytest.mark.parametrize(
    ("name", "parsed"),
    [
        ("a/b", ("a/b", "")),
        ("a/b:Q4_K_M", ("a/b", "Q4_K_M")),
        ("A-1/b.c_d:x/y-00001.gguf", ("A-1/b.c_d", "x/y-00001.gguf")),
    ],
)
def test_names(name: str, parsed: tuple[str, str]) -> None:
    assert names.parse(name) == parsed


@pytest.mark.parametrize(
    "name", ["", "b", "a/b/c", "a//b", "../b", "a/..", "a/b:", "a/b:c:d", "a--x/b", "a/b c", "ä/b"]
)
def test_what_is_no_name(name: str) -> None:
    with pytest.raises(PullError, match="is no name of the hub, which is ORG/NAME or ORG/NAME:TYPE"):
        names.parse(name)


def test_speed_and_time_left_are_of_late() -> None:
    now = 0.0
    meter = Meter(1000, lambda: now)
    meter.here(100)
    assert (meter.speed, meter.seconds_left) == (0, None)
    for _ in range(20):
        now += 1
        meter.advance(10)
    assert (meter.speed, meter.seconds_left) == (10, 70)
    for _ in range(12):
        now += 1
        meter.advance(50)
    assert meter.speed == pytest.approx(50, rel=0.1) and meter.have == 900
    now += 1
    meter.advance(-300)
    assert meter.have == 600 and meter.speed > 0
