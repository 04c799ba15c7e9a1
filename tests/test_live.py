"""What the server is doing, told over real sockets while somebody looks; and requests that are aborted from there."""

import asyncio
import os
import signal
import threading

import httpx
import openai
import pytest
from runners import Gate
from running import CEILING, RunningServer
from watching import watching

from nitro.engines.client.generation import Generation
from nitro.service.live.feed import Feed
from nitro.service.live.requests import MAX_ENDED, Requests
from nitro.service.live.state import Change, LiveModel, LiveRequest, Snapshot

MESSAGES = [{"role": "user", "content": "Hello"}]
CHAT = {"model": "", "messages": MESSAGES}


@pytest.fixture
def gated(serve, gate: Gate) -> RunningServer:
    """A server whose engine takes a step when the gate lets it."""
    server = serve(engine="runners:GatedRunner", model=gate.path, parallel=2)
    gate.accept()
    return server.ready()


def abort(server: RunningServer, id: str) -> httpx.Response:
    return httpx.post(f"{server.url}/v1/server/requests/{id}/abort", timeout=CEILING)


def test_a_request_from_its_head_to_its_end(gated: RunningServer, gate: Gate) -> None:
    """Each phase is told while it lasts, and the times are in order."""
    with watching(gated) as seen:
        snapshot = seen.next()
        assert snapshot["type"] == "snapshot" and snapshot["requests"] == [] and snapshot["memory"] > 0
        assert seen.model["state"] == "ok" and seen.model["slots"] == [] and seen.model["engine"] == "fake"
        stream = gated.client().chat.completions.create(**CHAT, stream=True, max_tokens=3)
        gate.wait_inside()
        seen.until(lambda seen: seen.requests and seen.last["phase"] == "queued")
        gate.let_go()  # which computes the prompt, and the first token
        gate.wait_inside()
        seen.until(lambda seen: seen.last["phase"] == "answer" and seen.model["slots"])
        request, slot = seen.last, seen.model["slots"][0]
        assert request["route"] == "/v1/chat/completions" and request["completion_tokens"] == 1
        assert slot["request"] == request["id"] and slot["prompt"] == request["prompt_tokens"] == slot["held"]
        assert seen.model["running"] == 1 and seen.model["kv_used"] == slot["held"]
        gate.open()
        list(stream)
        done = seen.until(lambda seen: seen.last["phase"] == "done" and seen.last)
        assert done["completion_tokens"] == 3 and done["finish"] == ["length"]
        times = [done[name] for name in ("accepted", "started", "first", "last", "ended")]
        assert times == sorted(times) and times[0] > 0
        assert [span["channel"] for span in done["spans"]] == ["content"]
        seen.until(lambda seen: [slot.get("request") for slot in seen.model["slots"]] == [None])
        seen.until(lambda seen: seen.model["counts"] == {"generated": 3, "computed": slot["prompt"], "cached": 0})
        gated.client().chat.completions.create(**CHAT, max_tokens=1)
        seen.until(lambda seen: seen.model["counts"]["cached"] == seen.last.get("cached_tokens") == slot["prompt"] - 1)
        assert set(seen.names) == {"snapshot", "change"} and seen.names.count("snapshot") == 1


def test_what_came_before_is_told_at_once(fake_server: RunningServer) -> None:
    fake_server.client().chat.completions.create(**CHAT, max_tokens=2)
    asked = httpx.post(f"{fake_server.url}/tokenize", json={"content": "abc"}, timeout=CEILING)
    assert asked.status_code == 200
    fake_server.client().embeddings.create(model="", input=["abc", "d"])
    with watching(fake_server) as seen:
        seen.next()
        of = {request["route"]: request for request in seen.requests.values()}
        assert of["/v1/chat/completions"]["completion_tokens"] == 2 and of["/v1/chat/completions"]["phase"] == "done"
        assert of["/tokenize"]["phase"] == "done" and "accepted" not in of["/tokenize"]
        assert of["/v1/embeddings"]["inputs"] == 2 and of["/v1/embeddings"]["prompt_tokens"] == 4


def test_parts_of_an_answer(saying: RunningServer) -> None:
    """A model that reasons, says something and calls a tool."""
    call = '<tool_call>\n{"name": "f", "arguments": {}}\n</tool_call>'
    said = f"␂<think>Hm.</think>Wait.{call}␃"
    tools = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]
    saying.client().chat.completions.create(model="", messages=[{"role": "user", "content": said}], tools=tools)
    with watching(saying) as seen:
        seen.next()
        spans = seen.last["spans"]
    assert [span["channel"] for span in spans] == ["reasoning", "content", "call"]
    assert [span["since"] for span in spans] == sorted(span["since"] for span in spans)
    assert seen.last["finish"] == ["tool_calls"]


def test_real_engines(server: RunningServer) -> None:
    """Prefixes stay in their slots, which both engines' models tell of."""
    with watching(server) as seen:
        seen.next()
        reply = server.client().chat.completions.create(**CHAT, max_tokens=8, temperature=0)
        prompt = reply.usage.prompt_tokens
        seen.until(lambda seen: any(slot["held"] >= prompt for slot in seen.model["slots"]))
        seen.until(lambda seen: seen.last["phase"] == "done" and seen.model["counts"]["generated"] >= 8)
        assert seen.last["prompt_tokens"] == prompt and seen.model["kv_tokens"] >= seen.model["kv_used"] > 0


def test_nothing_is_told_while_nobody_looks(gated: RunningServer, gate: Gate) -> None:
    """The engine says nothing of its slots, and no timer runs."""
    gate.open()
    feed, engine = gated.server.live, gated.engine
    told = []
    receive = engine._receivers.copy()

    def count(message: object) -> None:
        told.append(message)
        receive[type(message)](message)

    engine._receivers = dict.fromkeys(receive, count)
    gated.client().chat.completions.create(**CHAT, max_tokens=2)
    assert feed._timer is None and not [each for each in told if type(each).__name__ == "Slots"]
    with watching(gated) as seen:
        seen.next()
        assert feed.listened and feed._timer
        gated.client().chat.completions.create(**CHAT, max_tokens=2)
        seen.until(lambda seen: seen.model["slots"])
    while feed.listened:
        pass
    gated.client().chat.completions.create(**CHAT, max_tokens=2)  # the engine has heard of it by now
    told.clear()
    gated.client().chat.completions.create(**CHAT, max_tokens=2)
    assert feed._timer is None and told and not [each for each in told if type(each).__name__ == "Slots"]


def test_an_engine_that_died_has_empty_slots_and_is_watched_again(gated: RunningServer, gate: Gate) -> None:
    with watching(gated) as seen:
        stream = gated.client().chat.completions.create(**CHAT, stream=True)
        while not (seen.models and seen.model["slots"]):  # slots are told with a step, but not with each
            gate.step()
            seen.next()
        gate.wait_inside()
        os.kill(gated.engine.pid, signal.SIGKILL)
        with pytest.raises(openai.APIError):
            list(stream)
        seen.until(lambda seen: seen.model["state"] == "restarting" and seen.model["slots"] == [])
        assert seen.last["phase"] == "failed" and "SIGKILL" in seen.last["reason"]
        gate.accept()
        gate.open()
        gated.client().chat.completions.create(**CHAT, max_tokens=2)
        seen.until(lambda seen: seen.model["state"] == "ok" and seen.model["slots"])


def test_a_server_that_stops_ends_the_stream(serve) -> None:
    server = serve().ready()
    with watching(server) as seen:
        seen.next()
        server._loop.call_soon_threadsafe(server.server.stop)
        with pytest.raises(EOFError):
            while True:
                seen.next()


def test_a_key_is_needed(serve) -> None:
    server = serve(api_key="secret")
    for ask in (lambda: httpx.get(f"{server.url}/v1/server/events"), lambda: abort(server, "x")):
        assert ask().status_code == 401
    with watching(server, authorization="Bearer secret") as seen:
        assert seen.next()["type"] == "snapshot"
    assert httpx.head(f"{server.url}/v1/server/events", headers={"x-api-key": "secret"}).status_code == 405


def test_without_a_key_it_is_for_this_machine(fake_server: RunningServer) -> None:
    forwarded = {"x-forwarded-for": "192.0.2.1"}
    for method, path in (("GET", "events"), ("POST", "requests/req_0/abort")):
        reply = httpx.request(method, f"{fake_server.url}/v1/server/{path}", headers=forwarded)
        assert reply.status_code == 403 and reply.json()["error"]["code"] == "not_allowed"


# Aborted from there


@pytest.mark.parametrize("whole", [True, False])
def test_an_answer_is_aborted(gated: RunningServer, gate: Gate, whole: bool) -> None:
    """Its client is told so, and the engine has a free slot."""
    failure: list[openai.APIError] = []

    def ask() -> None:
        with pytest.raises(openai.APIError) as raised:
            reply = gated.client().chat.completions.create(**CHAT, stream=not whole)
            list(reply)
        failure.append(raised.value)

    client = threading.Thread(target=ask)
    client.start()
    gate.step(2)
    gate.wait_inside()
    with watching(gated) as seen:
        seen.until(lambda seen: seen.requests and seen.last["phase"] == "answer")
        reply = abort(gated, seen.last["id"])
        assert reply.status_code == 200 and reply.json() == {"id": seen.last["id"], "aborted": True}
        client.join(CEILING)
        assert failure[0].code == "request_aborted" and "aborted" in str(failure[0])
        gate.open()
        seen.until(lambda seen: seen.last["phase"] == "failed" and seen.model["running"] == 0)
        assert "aborted" in seen.last["reason"]
    assert "error 503: The request was aborted" in gated.log_line()
    assert abort(gated, seen.last["id"]).status_code == 404


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/chat/completions", CHAT),
        ("/v1/embeddings", {"model": "", "input": "abc"}),
        ("/tokenize", {"content": "abc"}),
        ("/v1/messages", {"model": "", "messages": MESSAGES, "max_tokens": 1}),
    ],
)
def test_a_request_that_waits_for_its_model_is_aborted(serve, gate: Gate, path: str, body: dict) -> None:
    server = serve(engine="runners:GatedRunner", model=gate.path)
    gate.hold()
    replies: list[httpx.Response] = []
    client = threading.Thread(
        target=lambda: replies.append(httpx.post(f"{server.url}{path}", json=body, timeout=CEILING))
    )
    client.start()
    with watching(server) as seen:
        seen.until(lambda seen: seen.requests and seen.last["phase"] == "reading")
        assert abort(server, seen.last["id"]).status_code == 200
        client.join(CEILING)
        assert replies[0].status_code == 503 and "aborted" in replies[0].json()["error"]["message"]
        assert replies[0].headers["x-should-retry"] == "false"
        seen.until(lambda seen: seen.last["phase"] == "failed")


def test_an_unknown_request_is_not_aborted(fake_server: RunningServer) -> None:
    reply = abort(fake_server, "req_0")
    assert reply.status_code == 404 and reply.json()["error"]["code"] == "request_not_found"


# Loads


def test_how_far_a_load_is(serve, gate: Gate) -> None:
    """In the stream and in /health, until the model is loaded, and again when its engine is started anew."""
    server = serve(engine="runners:SlowlyLoaded", model=gate.path)

    def check() -> None:
        with watching(server) as seen:
            seen.next()
            seen.until(lambda seen: seen.model["loading"] == {"read": 300, "total": 1000})
            health = httpx.get(f"{server.url}/health")
            assert health.status_code == 503 and health.json()["loading"] == {"read": 300, "total": 1000}
            gate.greet()
            seen.until(lambda seen: seen.model["state"] == "ok" and seen.model["loading"] is None)
        assert httpx.get(f"{server.url}/health").json() == {"status": "ok"}

    gate.hold()
    check()
    os.kill(server.engine.pid, signal.SIGKILL)
    gate.hold()
    check()


# The feed itself


def request(id: str, **fields: object) -> LiveRequest:
    return LiveRequest(id=id, route="", model="m", phase="answer", began=0.0, **fields)  # type: ignore[arg-type]


class Once:
    """A request that has a state each time that it is asked."""

    generation: Generation | None = None

    def __init__(self, id: str):
        self.id, self.tokens = id, 0

    @property
    def state(self) -> LiveRequest:
        return request(self.id, completion_tokens=self.tokens)

    def abort(self) -> None:
        raise AssertionError


class NoModels:
    memory = 1
    ended = 0

    def models(self, names: object) -> list[LiveModel]:
        return []

    def end(self) -> None:
        self.ended += 1


def test_one_who_reads_slowly_gets_a_snapshot_instead_of_changes() -> None:
    """And one that is as fast as the changes gets only those."""

    async def look() -> None:
        requests = Requests()
        feed = Feed(NoModels(), requests, "1")  # type: ignore[arg-type]
        slow, fast = feed.listen(60.0), feed.listen(60.0)
        for listener in (slow, fast):
            assert isinstance(await anext(listener), Snapshot)
        one = Once("a")
        requests.begin(one)
        for tokens in range(3):
            one.tokens = tokens
            feed._tick()
            change = await anext(fast)
            assert isinstance(change, Change) and change.requests == [request("a", completion_tokens=tokens)]
        caught_up = await anext(slow)
        assert isinstance(caught_up, Snapshot) and caught_up.requests[0].completion_tokens == 2
        feed._tick()  # nothing is otherwise
        one.tokens = 9
        feed._tick()
        assert isinstance(await anext(slow), Change) and isinstance(await anext(fast), Change)
        slow.close()
        fast.close()
        assert feed._timer is None and not feed.listened

    asyncio.run(look())


def test_silence_is_told_and_the_end_as_well() -> None:
    async def look() -> None:
        feed = Feed(NoModels(), Requests(), "1")  # type: ignore[arg-type]
        listener = feed.listen(0.001)
        assert isinstance(await anext(listener), Snapshot)
        assert await anext(listener) is None
        feed.stop()
        with pytest.raises(StopAsyncIteration):
            await anext(listener)
        with pytest.raises(StopAsyncIteration):
            await anext(feed.listen(60.0))

    asyncio.run(look())


def test_of_what_has_ended_the_last_are_remembered() -> None:
    requests = Requests()
    for number in range(MAX_ENDED + 5):
        one = Once(str(number))
        requests.begin(one)
        requests.end(one)
        requests.end(one)
    requests.begin(Once("open"))
    told = [state.id for state in requests.states()]
    assert told == [*map(str, range(5, MAX_ENDED + 5)), "open"]
