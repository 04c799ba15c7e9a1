"""--prefix-cache: prompts begin where an earlier server, engine or slot left off, and never with what is another's."""

import json
import os
import queue
import re
import signal
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from click.testing import CliRunner
from running import CEILING, FAKE, RunningServer
from test_doctor import BOX
from test_scheduler import make_info
from tiny_adapters import write_adapter
from tiny_models import write_folder, write_gguf

from nitro import doctor
from nitro.cli.main import main
from nitro.config import ServeConfig
from nitro.engines.backends.fake import FakeRunner
from nitro.engines.prefix_files.form import pack
from nitro.engines.prefix_files.index import Entry, Found
from nitro.engines.scheduling.prefix_cache import PrefixCache
from nitro.engines.scheduling.scheduler import Scheduler
from nitro.engines.scheduling.sequence import Sequence
from nitro.engines.scheduling.slots import shared_prefix
from nitro.engines.scheduling.stored_prefix import StoredPrefix
from nitro.engines.types import EngineSpec, SamplingParams
from nitro.engines.worker.stored_prefixes import StoredPrefixes
from nitro.errors import StartError

PROMPT = [ord("A") + 7 * i % 50 for i in range(150)]  # bytes of the fake model's, ids of the others'
GREEDY: dict[str, Any] = {"temperature": 0, "max_tokens": 6}
OTHERS = [[ord("a") + i, *PROMPT] for i in range(8)]


# Through the API


def ask(server: RunningServer, prompt: list[int], **options: Any) -> tuple[str, int]:
    """The answer, and how many tokens came from a cache."""
    body = {"prompt": prompt, **GREEDY, **options}
    reply = httpx.post(f"{server.url}/v1/completions", json=body, timeout=CEILING).raise_for_status().json()
    return reply["choices"][0]["text"], reply["usage"]["prompt_tokens_details"]["cached_tokens"]


def metric(server: RunningServer, name: str) -> float:
    """The sum of a metric, over its labels that the name does not say."""
    text = httpx.get(f"{server.url}/metrics", timeout=CEILING).text
    lines = (line.rpartition(" ") for line in text.splitlines() if not line.startswith("#"))
    return sum(float(value) for key, _, value in lines if all(part in key for part in name.split()))


def events(server: RunningServer, event: str) -> float:
    return metric(server, f'nitro_prefix_cache_events_total event="{event}"')


@pytest.fixture(params=["fake", "llama", "mlx"])
def model(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, Any]:
    """What a server of each engine is started with."""
    if request.param == "fake":
        return {"engine": FAKE}
    return {"engine": request.param, "model": str(write_gguf(tmp_path / "tiny.gguf")), "context": 256}


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., RunningServer]:
    """A server that keeps prefixes in one folder with the others of the test."""
    return lambda **config: RunningServer(
        ServeConfig(**{"port": 0, "parallel": 2, "prefix_cache": tmp_path / "kept", "no_state": True, **config})
    )


def test_a_new_server_goes_on_where_the_last_one_left_off(model: dict[str, Any], run: Callable) -> None:
    """With all of it or with a part, and several that begin alike read it once."""
    with run(**model) as server:
        answer, cached = ask(server.ready(), PROMPT)
        assert cached == 0
    with run(**model) as server:
        assert ask(server.ready(), PROMPT) == (answer, len(PROMPT) - 1)
        assert events(server, "restored") == 1
        assert metric(server, 'nitro_prefix_cache_tokens_total event="restored"') == len(PROMPT) - 1
        assert metric(server, "nitro_prefix_cache_files") == 1 and metric(server, "nitro_prefix_cache_bytes") > 4096
        assert ask(server, PROMPT)[1] == len(PROMPT) - 1 and events(server, "restored") == 1, "it is in a slot now"
        other = [*PROMPT[:100], *reversed(PROMPT[100:140])]
        alone, cached = ask(server, other, cache_prompt=False)
        assert cached == 0
    with run(**model) as server:
        answers = [*server.ready().client().completions.create(model="", prompt=[other, PROMPT], **GREEDY).choices]
        assert [choice.text for choice in answers] == [alone, answer]
        assert events(server, "restored") >= 1 and ask(server, other)[1] == len(other) - 1


def test_what_gives_way_is_found_by_a_new_engine(run: Callable) -> None:
    """The old one was killed, and has written nothing at its end."""
    with run(engine=FAKE, parallel=1) as server:
        for other in (PROMPT, *OTHERS):  # more than there are slots
            ask(server.ready(), other)
        while events(server, "written") < 1:
            pass
        os.kill(server.engine.pid, signal.SIGKILL)
        while server.engine.restarts < 1:
            pass
        server.ready()
        assert ask(server, PROMPT)[1] == len(PROMPT) - 1 and events(server, "restored") == 1


@pytest.mark.parametrize(
    ("engine", "other", "options"),
    [("llama", {"seed": 1}, {"rope_freq_base": 500.0}), ("mlx", {"linear_scaling": 4.0}, {"engine": "llama"})],
)
def test_what_another_model_computed_is_never_used(
    tmp_path: Path, run: Callable, engine: str, other: dict[str, Any], options: dict[str, Any]
) -> None:
    """The libraries would take it without a word: its shape is the same. Here it even has the same name. Nor what
    another engine has computed, or this one with other options."""
    path = write_gguf(tmp_path / "tiny.gguf")
    config = {"engine": engine, "model": str(path), "context": 256}
    with run(**config) as server:
        first, _ = ask(server.ready(), PROMPT)
    write_gguf(path, **other)
    with run(**config) as server:
        answer, cached = ask(server.ready(), PROMPT)
        assert cached == 0 and answer == ask(server, PROMPT, cache_prompt=False)[0] != first
    with run(**{**config, **options}) as server:
        assert ask(server.ready(), PROMPT)[1] == 0
    if engine == "llama":
        with run(**{**config, "context": 200}) as server:
            assert ask(server.ready(), PROMPT)[1] == len(PROMPT) - 1, "with another context it is no other model"


@pytest.mark.parametrize("engine", ["llama", "mlx"])
def test_what_was_computed_under_an_adapter_is_for_that_one(tmp_path: Path, run: Callable, engine: str) -> None:
    """Whatever it is called, and whatever else has its name."""
    base = write_gguf(tmp_path / "tiny.gguf")
    first, second = (write_adapter(tmp_path / f"{seed}.gguf", base, seed, size=0.5) for seed in (1, 2))
    config = {"engine": engine, "model": str(base), "context": 256}
    with run(**config, lora=(f"poet={first}",)) as server:
        answer, _ = ask(server.ready(), PROMPT, model="poet")
    with run(**config, lora=(f"poet={second}", f"cook={first}")) as server:
        assert ask(server.ready(), PROMPT, model="tiny")[1] == ask(server, PROMPT, model="poet")[1] == 0
        assert ask(server, PROMPT, model="cook") == (answer, len(PROMPT) - 1)


def test_an_adapter_that_was_loaded_later_is_known_by_its_weights(tmp_path: Path, run: Callable) -> None:
    def cached(server: RunningServer, name: str, text: str) -> int:
        (path := tmp_path / f"{name}.txt").write_text(text)
        body = {"lora_name": name, "lora_path": str(path)}
        httpx.post(f"{server.ready().url}/v1/load_lora_adapter", json=body).raise_for_status()
        return ask(server, PROMPT, model=name)[1]

    with run(engine=FAKE) as server:
        assert cached(server, "poet", "2") == 0
    with run(engine=FAKE) as server:
        assert [cached(server, "cook", "3"), cached(server, "painter", "2")] == [0, len(PROMPT) - 1]


def test_another_template_makes_another_prompt(tmp_path: Path, run: Callable) -> None:
    said = {"messages": [{"role": "user", "content": bytes(PROMPT).decode()}], "max_tokens": 3}
    for mark in "ab":
        (path := tmp_path / f"{mark}.jinja").write_text(f"<{mark}>{{{{ messages[0].content }}}}")
        with run(engine=FAKE, chat_template=path) as server:
            reply = httpx.post(f"{server.ready().url}/v1/chat/completions", json=said, timeout=CEILING).json()
            assert reply["usage"]["prompt_tokens_details"]["cached_tokens"] == 0


def test_two_servers_share_a_folder(run: Callable) -> None:
    with run(engine=FAKE) as first, run(engine=FAKE) as second:
        assert ask(first.ready(), PROMPT) == ask(second.ready(), PROMPT)
        ask(second, OTHERS[0])
    with run(engine=FAKE) as server:
        assert ask(server.ready(), PROMPT)[1] == ask(server, OTHERS[0])[1] - 1 == len(PROMPT) - 1
        told = httpx.delete(f"{server.url}/v1/cache").raise_for_status().json()
        assert told["object"] == "cache.deleted" and told["files"] == 2 and told["bytes"] > 1200
        assert told["tokens"] >= len(PROMPT) + len(OTHERS[0])
        assert metric(server, "nitro_prefix_cache_files") == 0
        assert ask(server, PROMPT)[1] == ask(server, OTHERS[0])[1] == 0, "all is forgotten, on the disk and in memory"
        proxied = httpx.delete(f"{server.url}/v1/cache", headers={"x-forwarded-for": "192.0.2.1"})
        assert proxied.status_code == 403 and proxied.json()["error"]["code"] == "not_allowed"
        ask(server, OTHERS[1])
    with run(engine=FAKE) as server:
        assert ask(server.ready(), OTHERS[1])[1] == len(PROMPT), "what came later is kept"


def test_delete_without_a_folder(fake_server: RunningServer) -> None:
    ask(fake_server, PROMPT)
    told = httpx.delete(f"{fake_server.url}/v1/cache").raise_for_status().json()
    assert told["tokens"] >= len(PROMPT) and (told["files"], told["bytes"]) == (0, 0)
    assert ask(fake_server, PROMPT)[1] == 0


def test_a_folder_that_cannot_be_is_told_at_the_start(tmp_path: Path, run: Callable) -> None:
    (tmp_path / "kept").write_text("a file")
    with pytest.raises(StartError, match=r"^--prefix-cache .*kept cannot be written: .*\.$"), run(engine=FAKE):
        pass


def test_a_size_that_cannot_be_is_told_at_the_start(run: Callable) -> None:
    with pytest.raises(StartError, match="--prefix-cache-size 0G: expected"), run(engine=FAKE, prefix_cache_size="0G"):
        pass


def test_doctor_tells_the_size(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (file := tmp_path / "kept" / ("a" * 64) / "b.prefix").parent.mkdir(parents=True)
    file.write_bytes(bytes(700))
    monkeypatch.setattr(doctor, "collect", lambda: BOX)
    told = CliRunner().invoke(main, ["doctor", "--prefix-cache", str(tmp_path / "kept")])
    assert re.search(r"prefixes +1 files of 0\.0 GiB in .*kept", told.output)
    (settings := tmp_path / "nitro.toml").write_text(f'[server]\nprefix-cache = "{tmp_path / "kept"}"\n')
    told = CliRunner().invoke(main, ["doctor", "--json", "--config", str(settings)])
    found = json.loads(told.output)["prefix_cache"]
    assert (found["path"], found["files"]) == (str(tmp_path / "kept"), 1) and found["bytes"] == 700


# The scheduler, whose runner checks what its slots hold


@dataclass
class Noting:
    """A saver that has all."""

    lost: list[tuple[list[int], Any]] = field(default_factory=list)

    def gives_way(self, slot: int, tokens: list[int], adapters: Any) -> None:
        self.lost.append((list(tokens), adapters))


def scheduler(saver: Any = None, **options: int) -> tuple[Scheduler, FakeRunner]:
    runner = FakeRunner(EngineSpec("fake", "", **{"context": 400, "parallel": 1, **options}))
    return Scheduler(runner.info, runner, saver), runner


def compute(of: Scheduler, runner: FakeRunner, sequence: Sequence) -> list[int]:
    """Its answer. The runner fails where a slot does not hold what it should."""
    of.add(sequence)
    answer: list[int] = []
    while of.busy:
        batch = of.schedule(lambda *_: 512)
        runner.submit(batch)
        for output in of.advance(batch, runner.collect()):
            answer += output.tokens
    return answer


def sequence(id: int, tokens: list[int], stored: StoredPrefix | None = None) -> Sequence:
    return Sequence(id, list(tokens), 3, SamplingParams(ignore_eos=True), stored=stored)


def test_the_saver_is_told_of_what_is_lost_and_of_nothing_that_goes_on() -> None:
    saver = Noting()
    runner = FakeRunner(EngineSpec("fake", "", context=400, parallel=1), kv_tokens=2000)
    of = Scheduler(runner.info, runner, saver)
    said = [*PROMPT, *compute(of, runner, sequence(1, PROMPT))]
    compute(of, runner, sequence(2, said))
    assert saver.lost == [], "a conversation goes on in its own slot"
    for id, other in enumerate(OTHERS[: runner.info.slots], 3):
        compute(of, runner, sequence(id, other))
    (held, adapters), *_ = saver.lost
    assert held[: len(said)] == said and adapters == ()
    of.prefixes.save(lambda: False)
    kept = [tokens[0] for tokens, _ in saver.lost[1:]]
    assert kept == [other[0] for other in reversed(OTHERS[: runner.info.slots])], "the last that was used first"


def state_of(tokens: list[int]) -> memoryview:
    """As the fake runner has it."""
    other = scheduler()[1]
    other._held[0] = list(tokens)
    return memoryview(b"".join(other.export(0) or []))


def test_a_sequence_begins_with_what_was_read() -> None:
    of, runner = scheduler()
    stored = StoredPrefix(140, len(PROMPT), state_of(PROMPT))
    asked = sequence(1, [*PROMPT[:140], 60, 61], stored)
    compute(of, runner, asked)
    assert asked.cached == 140 and asked.restored and asked.stored is None


def test_what_slots_hold_goes_before_what_was_read() -> None:
    of, runner = scheduler()
    compute(of, runner, sequence(1, PROMPT))
    asked = sequence(2, [*PROMPT, 60], StoredPrefix(140, len(PROMPT), state_of(PROMPT)))
    compute(of, runner, asked)
    assert asked.cached == len(PROMPT) and not asked.restored


def test_what_cannot_be_put_back_is_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    of, runner = scheduler()

    def refuse(slot: int, state: memoryview, length: int) -> bool:
        return False

    monkeypatch.setattr(runner, "restore", refuse)
    asked = sequence(1, [*PROMPT, 60], StoredPrefix(140, len(PROMPT), state_of(PROMPT)))
    expected = compute(*scheduler(), sequence(1, [*PROMPT, 60]))
    assert compute(of, runner, asked) == expected and asked.cached == 0 and not asked.restored
    assert of.slots.idle == runner.info.slots


def test_room_is_made_for_all_of_what_is_read() -> None:
    saver = Noting()
    runner = FakeRunner(EngineSpec("fake", "", context=200, parallel=2), kv_tokens=400)
    of = Scheduler(runner.info, runner, saver)
    for id, other in enumerate(OTHERS[:2]):
        compute(of, runner, sequence(id, other))
    stored = StoredPrefix(100, 150, state_of([*range(40, 90)] * 3))
    asked = sequence(5, [*range(40, 90), *range(40, 90), 33], stored)
    compute(of, runner, asked)
    assert asked.cached == 100 and len(saver.lost) == 1


def test_only_whole_pieces_of_a_grid_are_used() -> None:
    info = make_info(parallel=1, spare=2, kv_tokens=400)
    from msgspec.structs import replace

    runner = FakeRunner(EngineSpec("fake", "", context=400, parallel=1))
    cache = PrefixCache(replace(info, prompt_grid=64, slots=3), runner)
    assert cache.restore(StoredPrefix(140, len(PROMPT), state_of(PROMPT)), PROMPT, []) == (0, 128)


# The worker


class Files:
    """What StoredPrefixes needs of PrefixFiles: it has one prefix, and reads when it is told to."""

    def __init__(self, tokens: list[int]):
        self.entry = Entry("name", "", pack(tokens))
        self.reads: list[Callable[[memoryview | None], None]] = []

    def find(self, tokens: bytes, adapters: str) -> Found | None:
        length = min(shared_prefix(tokens, self.entry.tokens), len(tokens) - 4) // 4
        return Found(self.entry, length) if length >= 64 and not adapters else None

    def fetch(self, found: Found, done: Callable[[memoryview | None], None]) -> None:
        self.reads.append(done)


def waiting() -> tuple[StoredPrefixes, Files, Scheduler]:
    of, runner = scheduler(parallel=4)
    files = Files(PROMPT)
    stored = StoredPrefixes(runner, files)  # type: ignore[arg-type]
    stored.arrivals = []  # type: ignore[attr-defined]
    return stored, files, of


def test_requests_wait_for_one_reading_of_a_file() -> None:
    stored, files, of = waiting()
    first, second, other = ([sequence(id, tokens)] for id, tokens in enumerate(([*PROMPT, 1], [*PROMPT, 2], OTHERS[0])))
    assert stored.hold_back(first, of) and stored.hold_back(second, of) and not stored.hold_back(other, of)
    assert len(files.reads) == 1
    assert stored.arrived("name", state_of(PROMPT)) == [first, second]
    assert [each[0].stored.length for each in (first, second)] == [150, 150]
    assert stored.arrived("name", None) == []


def test_a_client_that_leaves_waits_for_nothing() -> None:
    stored, _, of = waiting()
    one, pair = [sequence(1, PROMPT)], [sequence(2, PROMPT), sequence(3, PROMPT)]
    assert stored.hold_back(one, of) and stored.hold_back(pair, of)
    stored.abort([1, 3])
    assert [[each.id for each in request] for request in stored.arrived("name", state_of(PROMPT))] == [[2]]


def test_a_file_that_is_not_there_holds_nobody_back() -> None:
    stored, _, of = waiting()
    asked = [sequence(1, PROMPT)]
    assert stored.hold_back(asked, of)
    assert stored.arrived("name", None) == [asked] and asked[0].stored is None


def test_a_disk_that_does_not_answer_holds_nobody_back_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nitro.engines.worker.stored_prefixes.PATIENCE", 0.0)
    stored, files, of = waiting()
    told: queue.SimpleQueue[tuple[str, memoryview | None]] = queue.SimpleQueue()
    stored.fetched = lambda name, state: told.put((name, state))
    asked = [sequence(1, PROMPT)]
    assert stored.hold_back(asked, of) and told.get(timeout=CEILING) == ("name", None)
    assert stored.arrived("name", None) == [asked]
    files.reads[0](state_of(PROMPT))  # at last
    assert stored.arrived(*told.get(timeout=CEILING)) == []


def test_what_a_slot_holds_is_not_read() -> None:
    stored, files, of = waiting()
    compute(of, of._runner, sequence(1, PROMPT))
    assert not stored.hold_back([sequence(2, [*PROMPT, 60])], of) and files.reads == []


def test_what_has_media_or_an_unknown_adapter_is_not_kept() -> None:
    stored, files, of = waiting()
    files.wants = lambda *_: pytest.fail("it is not asked for")  # type: ignore[attr-defined]
    stored.gives_way(0, [*PROMPT, -5, -5, 70], ())
    stored.gives_way(0, PROMPT, ((7, 1.0),))
    assert not stored.hold_back([Sequence(1, PROMPT, 1, SamplingParams(), adapters=((7, 1.0),))], of)


def test_recurrent_models_are_kept_where_messages_end(tmp_path: Path, run: Callable) -> None:
    folder = write_folder(tmp_path / "model", "arrays")
    talk = [{"role": "system", "content": "Tell of rivers and bridges. " * 12}, {"role": "user", "content": "Now"}]
    cached, answers = [], []
    for _ in range(2):
        with run(engine="mlx", model=str(folder), context=400) as server:
            body = {"messages": talk, "max_tokens": 4, "temperature": 0}
            reply = httpx.post(f"{server.ready().url}/v1/chat/completions", json=body, timeout=CEILING).json()
            cached.append(reply["usage"]["prompt_tokens_details"]["cached_tokens"])
            answers.append(reply["choices"][0]["message"]["content"])
    assert cached[0] == 0 and cached[1] > 64 and answers[0] == answers[1]
