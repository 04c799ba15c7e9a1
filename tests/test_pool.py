"""Many models on one server: loaded when they are wanted, within the room there is, and gone without a trace."""

import asyncio
import json
import math
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from msgspec.structs import replace
from runners import Gate
from running import CEILING, RunningServer, raw_request, wait_gone
from tiny_models import write_gguf

from nitro.api.openai import model_name
from nitro.api.responses import asked as responses_asked
from nitro.engines.types import EngineSpec
from nitro.errors import EngineError
from nitro.models import residency
from nitro.models.model_source import ModelSource
from nitro.models.names import shared
from nitro.models.residency import Limits
from nitro.models.settings import ModelSettings
from nitro.service import delivery

SHELF = "runners:ShelfRunner"
NAMES = ("anna", "bert", "cleo", "dora")
HELLO = [{"role": "user", "content": "Hello"}]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_gguf(tmp_path_factory.mktemp("tiny") / "tiny.gguf")


def filled(folder: Path, tiny: Path) -> Path:
    """With models that answer with their names."""
    folder.mkdir()
    for name in NAMES:
        shutil.copy(tiny, folder / f"{name}.gguf")
    return folder


@pytest.fixture
def shelf(tmp_path: Path, tiny: Path) -> Path:
    return filled(tmp_path / "shelf", tiny)


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory, tiny: Path) -> Iterator[RunningServer]:
    """For what changes nothing of it."""
    from nitro.config import ServeConfig

    shelf = filled(tmp_path_factory.mktemp("asked") / "shelf", tiny)
    config = ServeConfig(engine=SHELF, port=0, model=str(shelf / "anna.gguf"), alias="anna", models=(shelf,))
    with RunningServer(config) as server:
        yield server.ready()


Many = Callable[..., RunningServer]


@pytest.fixture
def many(serve: Callable[..., RunningServer], shelf: Path) -> Many:
    """A server of the shelf's models: anna is the default, and two have room."""

    def start(**options: Any) -> RunningServer:
        options = {"model": str(shelf / "anna.gguf"), "alias": "anna", "models": (shelf,), "models_max": 2, **options}
        return serve(engine=SHELF, **options)

    return start


def body(name: str | None, **fields: Any) -> dict[str, Any]:
    return {"model": name, "messages": HELLO, "max_tokens": 4, **fields}


def post(server: RunningServer, name: str | None, **fields: Any) -> httpx.Response:
    return httpx.post(f"{server.url}/v1/chat/completions", json=body(name, **fields), timeout=CEILING)


def says(server: RunningServer, name: str | None, **fields: Any) -> str:
    reply = post(server, name, **fields)
    assert reply.status_code == 200, reply.text
    return str(reply.json()["choices"][0]["message"]["content"])


def states(server: RunningServer) -> dict[str, str]:
    found = httpx.get(f"{server.url}/v1/models", timeout=CEILING).json()["data"]
    return {model["id"]: model["state"] for model in found}


def act(server: RunningServer, what: str, **fields: Any) -> httpx.Response:
    return httpx.post(f"{server.url}/v1/models/{what}", json=fields, timeout=CEILING)


def until(server: RunningServer, true: Callable[[], bool]) -> None:
    """Wait on the server's loop."""

    async def wait() -> None:
        async with asyncio.timeout(CEILING):
            while not true():
                await asyncio.sleep(0)

    server.run(wait())


def members(server: RunningServer) -> dict[str, Any]:
    return {member.id: member for member in server.server.models._offers.members}


# Names


def test_each_answers_by_its_name(many: Many) -> None:
    server = many().ready()
    for name in NAMES:
        reply = post(server, name)
        assert reply.json()["model"] == name and reply.json()["choices"][0]["message"]["content"] == name
        assert "x-nitro-ignored" not in reply.headers
    for default in (None, ""):
        assert says(server, default) == "anna"


def test_a_short_part_of_a_name_is_enough(many: Many) -> None:
    reply = post(many().ready(), "cle")
    assert reply.json()["model"] == "cleo" and "x-nitro-ignored" not in reply.headers


def test_an_unknown_name_is_a_404_with_the_list(many: Many) -> None:
    server = many().ready()
    reply = post(server, "gpt-4o")
    assert (reply.status_code, reply.json()["error"]["code"]) == (404, "model_not_found")
    assert all(f"'{name}'" in reply.json()["error"]["message"] for name in NAMES)
    assert httpx.get(f"{server.url}/v1/models/gpt-4o").status_code == 404


def test_where_one_is_offered_it_has_any_name(serve: Callable[..., RunningServer], shelf: Path) -> None:
    for name in NAMES[1:]:
        (shelf / f"{name}.gguf").unlink()
    server = serve(engine=SHELF, model=str(shelf / "anna.gguf"), alias="anna", models=(shelf,)).ready()
    reply = post(server, "gpt-4o")
    assert reply.json()["model"] == "anna" and reply.headers["x-nitro-ignored"] == "model"


@pytest.mark.parametrize(
    "content, status",
    [
        (b'{"model": "bert", "messages": [{"role": "user", "content": "a"}], "max_tokens": 1,} // a comment', 200),
        ('﻿{"model": "bert", "messages": [{"role": "user", "content": "a"}], "max_tokens": 1}'.encode(), 200),
        (b'{"messages": [{"role": "user", "content": "a"}], "n": 1, "model": "bert", "options": {"seed": 1}}', 200),
        (b'{"model": 5, "messages": []}', 400),
        (b'{"model": "bert"', 400),
        (b"[]", 400),
        (b"", 400),
        (b'{"model": "bert", "messages": [], "keep_alive": "soon"}', 400),
    ],
)
def test_names_are_read_as_requests_are(asked: RunningServer, content: bytes, status: int) -> None:
    reply = httpx.post(f"{asked.url}/v1/chat/completions", content=content, timeout=CEILING)
    assert reply.status_code == status, reply.text
    if status == 200:
        assert reply.json()["model"] == "bert"


def test_templates_are_compiled_once_each(many: Many) -> None:
    """Requests that alternate between models find theirs compiled."""
    server = many(models_max=4).ready()
    for name in (*NAMES, *NAMES):
        says(server, name)
    process = server.server.intake._small._process
    assert [setup.names[0] for _, setup in process._setups] == list(NAMES)


def test_a_model_called_as_the_default_is(serve: Callable[..., RunningServer], shelf: Path) -> None:
    """It has a name of its own, and both are listed."""
    server = serve(engine=SHELF, model=str(shelf / "anna.gguf"), alias="bert", models=(shelf,)).ready()
    assert says(server, "bert") == "anna"
    assert set(states(server)) == {"bert", "bert@folder", "cleo", "dora"}


# Room


def test_the_longest_idle_one_gives_way(many: Many) -> None:
    server = many().ready()
    assert says(server, "bert") == "bert"
    assert says(server, "anna") == "anna"
    assert says(server, "cleo") == "cleo"
    assert states(server) == {"anna": "ok", "bert": "unloaded", "cleo": "ok", "dora": "unloaded"}


def test_a_default_that_gave_way_comes_back(many: Many) -> None:
    server = many(models_max=1).ready()
    assert says(server, "bert") == "bert"
    assert httpx.get(f"{server.url}/health").status_code == 200
    assert says(server, "") == "anna"


def test_what_is_pinned_stays(many: Many) -> None:
    server = many(pin=("anna",)).ready()
    for name in ("bert", "cleo", "dora"):
        assert says(server, name) == name
    assert states(server)["anna"] == "ok"
    many_pinned = many(pin=("anna", "bert")).ready()
    says(many_pinned, "bert")
    reply = post(many_pinned, "cleo")
    assert (reply.status_code, reply.json()["error"]["code"]) == (503, "model_too_large")
    assert reply.headers["x-should-retry"] == "false" and "--models-max" in reply.json()["error"]["message"]


def test_what_cannot_fit_is_refused_at_once_with_the_numbers(many: Many) -> None:
    server = many(memory="1").ready()
    server.server.models._loader._plan = _needs(5 * residency.MIB)
    reply = post(server, "bert", stream=True)
    assert reply.status_code == 503 and "needs 5 MiB" in reply.text and "may use 1 MiB (--memory)" in reply.text


def _needs(size: int) -> Callable[..., Any]:
    from msgspec.structs import replace

    from nitro.loading import Loading

    def plan(wanted: Any, budget: int) -> Any:
        return replace(made.plan(wanted, budget), bytes=size)

    from nitro.config import ServeConfig
    from nitro.service.metrics import Metrics

    made = Loading(ServeConfig(engine=SHELF), Metrics())
    return plan


def test_nothing_that_runs_gives_way(many: Many, shelf: Path) -> None:
    """The new one waits until the stream has ended."""
    gate = Gate(shelf, "anna.gate")
    server = many(models_max=1)
    gate.accept()
    server.ready()
    stream = server.client().chat.completions.create(**body("anna", max_tokens=2), stream=True)
    gate.wait_inside()
    with ThreadPoolExecutor() as threads:
        other = threads.submit(says, server, "bert")
        until(server, lambda: "bert" in members(server) and members(server)["bert"].plan is not None)
        assert states(server)["anna"] == "ok" and not other.done()
        gate.open()
        assert "".join(chunk.choices[0].delta.content or "" for chunk in stream) == "an"
        assert other.result() == "bert"
    gate.close()


def test_one_that_works_all_the_time_is_drained(many: Many, shelf: Path, tmp_path: Path) -> None:
    """Its new requests wait, and are answered when it is loaded again."""
    gate = Gate(shelf, "anna.gate")
    server = many(models_max=1)
    server.server.models.limits = Limits(2**40, 1, patience=0.0)
    gate.accept()
    server.ready()
    stream = server.client().chat.completions.create(**body("anna", max_tokens=2), stream=True)
    gate.wait_inside()
    with ThreadPoolExecutor() as threads:
        other = threads.submit(says, server, "bert")
        until(server, lambda: bool(server.server.models._drained))
        late = threads.submit(says, server, "anna")
        until(server, lambda: bool(members(server)["anna"].waiters))
        gate.open()
        gate.close()
        os.unlink(gate.path)
        list(stream)
        assert (other.result(), late.result()) == ("bert", "anna")


def test_a_hundred_that_alternate_load_a_handful_of_times(many: Many) -> None:
    server = many(models_max=1).ready()
    loads: list[str] = []
    loader = server.server.models._loader
    begin = loader.begin
    loader.begin = lambda member: (loads.append(member.id), begin(member))[1]  # type: ignore[method-assign]
    with ThreadPoolExecutor(16) as threads:
        asked = [NAMES[number % 2] for number in range(100)]
        assert list(threads.map(lambda name: says(server, name), asked)) == asked
    assert len(loads) <= 25  # about 8 of the 16 that ask at once are answered by each


# Tiers

ROUTES = {
    "chat/completions": lambda name: body(name),
    "completions": lambda name: {"model": name, "prompt": "Hello", "max_tokens": 4},
    "responses": lambda name: {"model": name, "input": "Hello", "max_output_tokens": 4},
}


@pytest.mark.parametrize(
    "value, tier",
    [(None, None), ("flex", "flex"), ("priority", "priority"), ("auto", "default"), (5, "default"), ([], "default")],
)
def test_a_tier_is_read_before_its_request(value: Any, tier: str | None) -> None:
    """What is wrong with it the request's reader says."""
    sent = json.dumps({"model": "anna", "service_tier": value, "input": "Hello"}).encode()
    assert model_name.read_tiered(sent).tier == responses_asked.read(sent).tier == tier
    assert model_name.read(sent).tier is None


def test_flex_waits_while_people_use_a_model(many: Many, tmp_path: Path) -> None:
    """By whatever route it comes, a batch too. Others go first meanwhile; flex gets the room once they are quiet."""
    server = many(models_max=1, state=tmp_path / "state").ready()
    pool, client = server.server.models, server.client()
    pool.limits = Limits(2**40, 1, quiet=math.inf)
    assert says(server, "anna") == "anna"
    with ThreadPoolExecutor() as threads:
        ask = lambda route: httpx.post(  # noqa: E731
            f"{server.url}/v1/{route}", json={**ROUTES[route]("bert"), "service_tier": "flex"}, timeout=CEILING
        )
        theirs = [threads.submit(ask, route) for route in ROUTES]
        line = {"custom_id": "a", "method": "POST", "url": "/v1/chat/completions", "body": body("bert")}
        file = client.files.create(file=("in.jsonl", json.dumps(line).encode()), purpose="batch")
        batch = client.batches.create(input_file_id=file.id, endpoint=line["url"], completion_window="24h")
        until(server, lambda: "bert" in members(server) and len(members(server)["bert"].waiters) == 4)
        until(server, lambda: members(server)["bert"].plan is not None)
        assert states(server)["anna"] == "ok" and states(server)["bert"] == "waiting"
        pool._max_waiting = 4
        full = post(server, "bert", service_tier="flex")
        assert full.status_code == 429 and "4 requests wait" in full.json()["error"]["message"]
        assert says(server, "cleo") == "cleo"
        assert says(server, "anna", service_tier="priority") == "anna"
        assert states(server)["bert"] == "waiting" and not any(each.done() for each in theirs)
        pool.limits = Limits(2**40, 1, quiet=0.0)
        assert says(server, "anna") == "anna"  # who leaves has the pool look again
        assert [each.result(CEILING).status_code for each in theirs] == [200] * 3
        until(server, lambda: not members(server)["bert"].leases)
    assert states(server)["bert"] == "ok" and members(server)["bert"].used == -math.inf
    assert client.batches.retrieve(batch.id).request_counts.failed == 0
    assert says(server, "dora", service_tier="flex") == "dora", "bert was flex's alone"


def test_people_get_a_model_that_is_taken_from_flex(many: Many, shelf: Path) -> None:
    """Nobody waits for the turn of a model that only flex has; and who wants that one itself has it at once."""
    gate = Gate(shelf, "bert.gate")
    server = many(models_max=1).ready()
    server.server.models.limits = Limits(2**40, 1, patience=1e9)
    with ThreadPoolExecutor() as threads:
        theirs = threads.submit(says, server, "bert", service_tier="flex")
        gate.accept()
        gate.wait_inside()
        other = threads.submit(says, server, "cleo")
        until(server, lambda: "bert" in server.server.models._drained)
        same = threads.submit(says, server, "bert")
        until(server, lambda: members(server)["bert"].leases == 2)
        assert not server.server.models._drained
        gate.open()
        assert (theirs.result(CEILING), same.result(CEILING), other.result(CEILING)) == ("bert", "bert", "cleo")
    gate.close()


# Loading


def test_those_that_come_meanwhile_share_a_load(many: Many, shelf: Path) -> None:
    gate = Gate(shelf, "bert.gate")
    server = many().ready()
    with ThreadPoolExecutor(8) as threads:
        replies = [threads.submit(says, server, "bert") for _ in range(8)]
        gate.hold()
        until(server, lambda: members(server)["bert"].leases == 8)
        assert states(server)["bert"] == "loading"
        gate.greet()
        gate.open()
        assert [reply.result() for reply in replies] == ["bert"] * 8
    gate.close()


def test_a_model_that_cannot_be_loaded_says_why_to_its_own_only(many: Many, shelf: Path) -> None:
    (shelf / "bert.refuse").write_text("Its weights are of wood.")
    server = many().ready()
    reply = post(server, "bert")
    assert reply.status_code == 503 and "of wood" in reply.json()["error"]["message"]
    assert says(server, "anna") == "anna"
    again = post(server, "bert")
    assert again.status_code == 503 and "after a pause" in again.json()["error"]["message"]
    assert int(again.headers["retry-after"]) >= 1
    assert httpx.get(f"{server.url}/health").json()["models"][1] == {
        "id": "bert", "state": "failed", "reason": "Its weights are of wood."
    }  # fmt: skip
    (shelf / "bert.refuse").unlink()
    assert act(server, "load", model="bert").json()["loaded"] is True
    assert says(server, "bert") == "bert"


def lines_of(server: RunningServer, name: str) -> Iterator[str]:
    with httpx.stream(
        "POST", f"{server.url}/v1/chat/completions", json=body(name, stream=True), timeout=CEILING
    ) as reply:
        assert reply.status_code == 200 and reply.headers["content-type"].startswith("text/event-stream")
        yield from reply.iter_lines()


def test_a_stream_shows_that_it_lives_while_its_model_loads(
    many: Many, shelf: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery, "SILENCE", 0.01)
    gate = Gate(shelf, "bert.gate")
    server = many().ready()
    lines = lines_of(server, "bert")
    assert [next(lines), next(lines), next(lines)] == [": keepalive", "", ": keepalive"]
    gate.accept()
    gate.open()
    rest = "\n".join(lines)
    assert '"content":"b"' in rest and rest.rstrip().endswith("data: [DONE]")
    gate.close()
    until(server, lambda: members(server)["bert"].leases == 0)


def test_a_stream_that_has_begun_names_ignored_parameters_in_a_comment(
    many: Many, shelf: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery, "SILENCE", 0.01)
    gate = Gate(shelf, "bert.gate")
    server = many().ready()
    asked = body("bert", stream=True, nothing_here=1)
    with httpx.stream("POST", f"{server.url}/v1/chat/completions", json=asked, timeout=CEILING) as reply:
        lines = reply.iter_lines()
        assert next(lines) == ": keepalive"
        gate.accept()
        gate.open()
        said = [line for line in lines if line and line != ": keepalive"]
    assert "x-nitro-ignored" not in reply.headers and said[0] == ": x-nitro-ignored: nothing_here"
    assert said[1].startswith("data: {") and said[-1] == "data: [DONE]"
    gate.close()


def kill_in_load(server: RunningServer, gate: Gate) -> None:
    """Kill the engine of bert, which loads."""
    gate.hold()
    engine = members(server)["bert"].served.engine
    until(server, lambda: engine.pid is not None)  # one that waited for a load may be faster than the server's loop
    os.kill(engine.pid, signal.SIGKILL)


def test_a_load_whose_engine_is_killed_is_tried_once_more(many: Many, shelf: Path) -> None:
    """For the same requests; if that one is killed as well, they are told."""
    gate = Gate(shelf, "bert.gate")
    server = many().ready()
    with ThreadPoolExecutor() as pool:
        asked = [pool.submit(post, server, "bert") for _ in range(3)]
        for _ in range(2):
            kill_in_load(server, gate)
        for reply in (each.result(CEILING) for each in asked):
            assert reply.status_code == 503 and "killed by SIGKILL" in reply.json()["error"]["message"]
        until(server, lambda: not members(server)["bert"].resident)
        members(server)["bert"].retry_at = 0.0
        asked = [pool.submit(says, server, "bert") for _ in range(3)]
        kill_in_load(server, gate)
        gate.accept()
        gate.open()
        assert [each.result(CEILING) for each in asked] == ["bert"] * 3
        engine = members(server)["bert"].served.engine
        assert engine.restarts == 1
        os.kill(engine.pid, signal.SIGKILL)
        gate.hold()
        waiting = pool.submit(says, server, "bert")
        until(server, lambda: members(server)["bert"].leases == 1 and len(engine.lifecycle.waiting) == 1)
        os.kill(engine.pid, signal.SIGKILL)
        gate.accept()
        gate.open()
        assert waiting.result(CEILING) == "bert"
    gate.close()


def test_what_goes_wrong_after_a_sign_of_life_is_an_event(
    many: Many, shelf: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery, "SILENCE", 0.01)
    gate = Gate(shelf, "bert.gate")
    server = many().ready()
    lines = lines_of(server, "bert")
    assert next(lines) == ": keepalive"
    for _ in range(2):
        kill_in_load(server, gate)
    rest = [line for line in lines if line.startswith("data: ")]
    assert "SIGKILL" in json.loads(rest[0].removeprefix("data: "))["error"]["message"] and rest[1] == "data: [DONE]"
    gate.close()


@pytest.mark.parametrize("stream", [True, False])
def test_who_leaves_while_it_waits_leaves_nothing(
    many: Many, shelf: Path, monkeypatch: pytest.MonkeyPatch, stream: bool
) -> None:
    """The load goes on, and the next one finds it done."""
    monkeypatch.setattr(delivery, "SILENCE", 0.01)
    gate = Gate(shelf, "bert.gate")
    server = many().ready()
    with raw_request(server.url, json.dumps(body("bert", stream=stream)).encode()):
        gate.hold()
        until(server, lambda: members(server)["bert"].leases == 1)
    until(server, lambda: members(server)["bert"].leases == 0)
    gate.greet()
    gate.open()
    assert says(server, "bert") == "bert"
    gate.close()


def test_who_leaves_while_it_is_read_which_model_it_wants_is_let_go(many: Many) -> None:
    server = many().ready()
    intake = server.server.intake._small
    assert says(server, "anna") == "anna" and server.log_line() and intake._process
    os.kill(intake._process.pid, signal.SIGSTOP)
    try:
        with raw_request(server.url, json.dumps(body("bert")).encode()):
            until(server, lambda: intake.held > 0)
        assert server.log_line().endswith(" - left")
    finally:
        os.kill(intake._process.pid, signal.SIGCONT)


def test_who_leaves_the_queue_for_room_loads_nothing(many: Many, shelf: Path) -> None:
    gate = Gate(shelf, "anna.gate")
    server = many(models_max=1)
    gate.accept()
    server.ready()
    stream = server.client().chat.completions.create(**body("anna", max_tokens=2), stream=True)
    gate.wait_inside()
    with raw_request(server.url, json.dumps(body("bert")).encode()):
        until(server, lambda: "bert" in members(server) and bool(members(server)["bert"].waiters))
    until(server, lambda: not members(server)["bert"].waiters)
    gate.open()
    list(stream)
    assert says(server, "anna") == "anna" and states(server)["bert"] == "unloaded"
    gate.close()


def test_an_engine_that_dies_comes_back_and_others_go_on(many: Many) -> None:
    server = many().ready()
    says(server, "bert")
    pid = members(server)["bert"].served.engine.pid
    watched = os.pidfd_open(pid)
    os.kill(pid, signal.SIGKILL)
    wait_gone(watched)
    assert says(server, "anna") == "anna"
    engine = members(server)["bert"].served.engine
    until(server, lambda: engine.pid not in (None, pid))
    assert says(server, "bert") == "bert"


def test_a_process_waits_for_the_next_load(many: Many) -> None:
    """Once a model was loaded on demand; one that died meanwhile is not missed."""
    server = many().ready()
    spare = server.server._loads._spare
    assert says(server, "anna") == "anna" and spare._waiting is None
    says(server, "bert")
    waiting = spare._waiting.child.process
    assert says(server, "cleo") == "cleo"
    assert members(server)["cleo"].served.engine.pid == waiting.pid
    other = spare._waiting
    assert spare.take(EngineSpec("fake", "")) is None and spare._waiting is other
    watched = os.pidfd_open(spare._waiting.child.process.pid)
    os.kill(spare._waiting.child.process.pid, signal.SIGKILL)
    wait_gone(watched)
    assert says(server, "dora") == "dora"


def test_what_waits_ends_with_the_server(many: Many) -> None:
    server = many().ready()
    says(server, "bert")
    watched = os.pidfd_open(server.server._loads._spare._waiting.child.process.pid)
    server.__exit__()
    wait_gone(watched)


# Time


def test_idle_models_are_unloaded(many: Many) -> None:
    """By the server's option, and by a request's field, which wins."""
    server = many(keep_alive="0")
    says(server, "bert", keep_alive=-1)
    says(server, "cleo")
    until(server, lambda: not members(server)["cleo"].resident)
    assert states(server)["bert"] == "ok"
    says(server, "bert", keep_alive="0s")
    until(server, lambda: not members(server)["bert"].resident)


def test_a_server_of_one_model_unloads_it_and_streams_wait_for_it(
    serve: Callable[..., RunningServer], shelf: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery, "SILENCE", 0.01)
    server = serve(engine=SHELF, model=str(shelf / "anna.gguf"), alias="anna").ready()
    says(server, "anna", keep_alive="1h")
    assert members(server)["anna"].keep_alive == 3600
    says(server, "gpt-4o", ttl=0)
    until(server, lambda: not members(server)["anna"].resident)
    gate = Gate(shelf, "anna.gate")
    lines = lines_of(server, "gpt-4o")
    assert next(lines) == ": keepalive" and server.server._loads._spare._waiting is None
    gate.accept()
    gate.open()
    assert '"content":"a"' in "\n".join(lines)
    gate.close()
    refused = post(server, "anna", keep_alive="soon")
    assert refused.status_code == 400 and refused.json()["error"]["param"] == "keep_alive"


# By hand


def test_load_and_unload(many: Many) -> None:
    server = many().ready()
    loaded = act(server, "load", model="bert", options={"context": 512, "parallel": 2}, keep_alive="5m", pin=True)
    assert loaded.status_code == 200, loaded.text
    shown = loaded.json()
    assert (shown["id"], shown["loaded"], shown["state"], shown["context_length"]) == ("bert", True, "ok", 512)
    assert shown["pinned"] and members(server)["bert"].keep_alive == 300
    assert act(server, "load", model="bert").json()["context_length"] == 512  # as it is
    assert act(server, "load", model="bert", options={"context": 256}).json()["context_length"] == 256
    gone = act(server, "unload", model="bert")
    assert gone.status_code == 200 and gone.json()["state"] == "unloaded"
    assert act(server, "unload", model="bert").status_code == 200
    assert act(server, "unload", model="nobody").status_code == 404
    assert act(server, "load", model="nobody").status_code == 404


def test_what_a_load_sets_ends_with_its_unload(many: Many) -> None:
    """Not with a load that makes room for another, which nobody asked for."""
    server = many(pin=("bert",), models_max=None).ready()
    plain = act(server, "load", model="cleo").json()["context_length"]
    for name in ("bert", "cleo"):
        loaded = act(server, "load", model=name, options={"context": 512}, keep_alive="5m", pin=True).json()
        assert (loaded["context_length"], loaded["pinned"]) == (512, True)
        gone = act(server, "unload", model=name).json()
        assert (gone["state"], gone["pinned"]) == ("unloaded", name == "bert")
        again = act(server, "load", model=name).json()
        assert (again["context_length"], again["pinned"]) == (plain, name == "bert")
        assert members(server)[name].keep_alive is None
    act(server, "load", model="dora", options={"context": 512}, keep_alive=0)
    until(server, lambda: not members(server)["dora"].resident)
    assert says(server, "dora") == "dora" and states(server)["dora"] in ("ok", "unloading", "unloaded")
    assert members(server)["dora"].wanted.settings.options == {"context": 512}
    act(server, "unload", model="dora")
    assert members(server)["dora"].wanted.settings.options == {}


@pytest.mark.parametrize(
    "fields, param",
    [
        ({"options": {"engine": "os:system"}}, "options.engine"),
        ({"options": {"draft": "/etc/passwd"}}, "options.draft"),
        ({"options": {"mmproj": "/etc/passwd"}}, "options.mmproj"),
        ({"options": {"hosts": "/etc/passwd"}}, "options.hosts"),
        ({"options": {"rpc": "127.0.0.1:1"}}, "options.rpc"),
        ({"options": {"insecure_network": True}}, "options.insecure_network"),
        ({"options": {"rpc_insecure_network": True}}, "options.rpc_insecure_network"),
        ({"options": {"temperature": 1}}, "options.temperature"),
        ({"options": {"context": 1}}, "options"),
        ({"defaults": {"temperature": "hot"}}, "defaults"),
        ({"keep_alive": "soon"}, "keep_alive"),
        ({"ctx": 512}, "ctx"),
        ({"model": None}, "model"),
    ],
)
def test_what_cannot_be_loaded_so(asked: RunningServer, fields: dict[str, Any], param: str) -> None:
    reply = act(asked, "load", **{"model": "bert", **fields})
    assert (reply.status_code, reply.json()["error"]["param"]) == (400, param)


def test_what_works_is_not_unloaded_unless_forced(many: Many, shelf: Path) -> None:
    gate = Gate(shelf, "anna.gate")
    server = many()
    gate.accept()
    server.ready()
    stream = server.client().chat.completions.create(**body("anna"), stream=True)
    gate.wait_inside()
    busy = act(server, "unload", model="anna")
    assert (busy.status_code, busy.json()["error"]["code"]) == (409, "model_busy")
    assert act(server, "load", model="anna", options={"context": 64}).status_code == 409
    with ThreadPoolExecutor() as pool:
        whole = pool.submit(post, server, "anna")
        until(server, lambda: members(server)["anna"].leases == 2)
        assert act(server, "unload", model="anna", force=True).json()["loaded"] is False
        assert whole.result(CEILING).headers["x-should-retry"] == "false"  # it would load the model again
    with pytest.raises(openai.APIError, match="was unloaded"):
        list(stream)
    gate.close()
    os.unlink(gate.path)
    assert says(server, "") == "anna"


def test_a_server_without_a_model(serve: Callable[..., RunningServer], shelf: Path) -> None:
    server = serve(engine=SHELF, no_model=True, models=(shelf,))
    assert httpx.get(f"{server.url}/health", timeout=CEILING).json() == {"status": "ok"}
    assert httpx.get(f"{server.url}/healthz").text == "Nitro is alive!!!"
    reply = post(server, "")
    assert (reply.status_code, reply.json()["error"]["code"]) == (400, "model_required")
    assert act(server, "load", model="cleo").status_code == 200
    assert says(server, "") == "cleo"
    assert says(server, "anna") == "anna"
    assert act(server, "unload", model="cleo").status_code == 200
    assert post(server, None).status_code == 400


def test_a_model_that_a_client_brought_has_any_name(serve: Callable[..., RunningServer], shelf: Path) -> None:
    """Clients of the first Nitro load a file, and then name what they like."""
    server = serve(engine=SHELF, no_model=True, models=(shelf,))
    source = ModelSource(str(shelf / "dora.gguf"), "brought", 0)
    pool = server.server.models
    server.run(pool.load_source(source, ModelSettings(alias="brought", pin=True)))
    assert says(server, "gpt-3.5-turbo") == says(server, "") == says(server, "brought") == "dora"
    assert says(server, "anna") == "anna"
    assert {name for name, state in states(server).items() if state == "ok"} == {"anna", "dora"}
    assert "brought" not in states(server), "one file, one model"
    server.run(pool.unload("brought", force=True))
    assert post(server, "gpt-3.5-turbo").status_code == 404
    assert not members(server)["dora"].pinned and post(server, "brought").status_code == 404


def test_a_file_of_no_store_is_offered_while_it_is_loaded(
    serve: Callable[..., RunningServer], shelf: Path, tiny: Path, tmp_path: Path
) -> None:
    (elsewhere := tmp_path / "elsewhere").mkdir()
    shutil.copy(tiny, elsewhere / "anton.gguf")
    (elsewhere / "ghost.refuse").write_text("It is not here.")
    server = serve(engine=SHELF, no_model=True, models=(shelf,))
    before, pool = states(server), server.server.models
    for _ in range(2):
        server.run(pool.load_source(ModelSource(str(elsewhere / "anton.gguf"), "anton", 0), ModelSettings(pin=True)))
        assert says(server, "gpt-3.5-turbo") == "anto" and states(server) == {"anton": "ok", **before}
        assert act(server, "load", model="anton", options={"context": 256}).json()["context_length"] == 256
        assert act(server, "unload", model="anton").json()["state"] == "unloaded"
        assert states(server) == before
    with pytest.raises(EngineError):
        server.run(pool.load_source(ModelSource(str(elsewhere / "ghost.gguf"), "ghost", 0), ModelSettings(pin=True)))
    until(server, lambda: list(members(server)) == [])
    assert states(server) == before


def test_a_name_that_several_have_means_what_the_catalog_says(
    serve: Callable[..., RunningServer], shelf: Path, tmp_path: Path, tiny: Path
) -> None:
    """Whichever of them is loaded."""
    server = serve(engine=SHELF, no_model=True, models=(shelf,))
    catalog = server.server.models._offers.catalog
    found = [replace(each, names=("one", "all")[each.name == "anna" :]) for each in catalog.models()]
    catalog.models = lambda: found
    catalog._known, catalog._shared, catalog._since = found, shared(found), math.inf
    assert says(server, "bert") == says(server, "bert") == "bert"
    assert post(server, "all").json()["error"]["code"] == "model_ambiguous"


# Bytes


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


def shared_maps() -> int:
    return Path("/proc/self/maps").read_text().count("nitro-marks")


def test_ending_an_engine_gives_back_everything(many: Many) -> None:
    """Process, descriptors and shared memory. The first round may open what stays."""
    server = many().ready()
    seen = []
    for _ in range(4):
        says(server, "bert")
        pid = members(server)["bert"].served.engine.pid
        watched = os.pidfd_open(pid)
        act(server, "unload", model="bert")
        wait_gone(watched)
        assert not Path(f"/proc/{pid}").exists()
        seen.append((open_files(), shared_maps()))
    files, maps = seen[1]
    until(server, lambda: open_files() <= files and shared_maps() <= maps)  # some are closed a moment later
