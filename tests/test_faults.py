"""What must survive: killed processes, failing steps, leaving clients, full queues, signals. Over real sockets."""

import asyncio
import json
import os
import signal
import socket
import struct
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import httpx
import openai
import pytest
from runners import Gate
from running import CEILING, FAKE, RunningServer, raw_request, sdk, server_process, wait_gone

from nitro.config import ServeConfig
from nitro.engines.client import stall
from nitro.engines.client.backoff import Backoff

HELLO = [{"role": "user", "content": "Hello"}]
WHOLE = "".join(map(chr, range(ord("?"), ord("~") + 1)))
GATED = "runners:GatedRunner"
FAULTY = "runners:FaultyRunner"


def say(client: openai.OpenAI, text: str, **options):
    return client.chat.completions.create(model="", messages=[{"role": "user", "content": text}], **options)


async def until(holds: Callable[[], bool]) -> None:
    """Let the event loop go on until it holds."""
    while not holds():
        await asyncio.sleep(0)


def drop(sock: socket.socket) -> None:
    """Leave as a killed client does: with a reset."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def lost(server: RunningServer) -> list[list[int]]:
    """The sequence ids of every step that failed."""
    return [sorted(record.lost) for record in server.engine.steps]


def fence(server: RunningServer) -> openai.Stream:
    """A stream, begun when the engine has read all that was sent to it: it answers in order, even while it computes."""
    return say(server.client(), "Fence", stream=True)


def test_engine_killed_in_mid_stream(serve, gate: Gate) -> None:
    server = serve(engine=GATED, model=gate.path)
    gate.accept()
    server.ready()
    client = server.client()
    streams = [say(client, "Hello", stream=True) for _ in range(3)]
    with ThreadPoolExecutor() as pool:
        whole = pool.submit(say, client, "Hello")
        server.run(until(lambda: sum(g.accepted.done() for g in server.engine.generations.open) == 4))
        gate.step(8)
        for stream in streams:
            assert [next(stream).choices[0].delta.content for _ in range(3)] == ["", "?", "@"]
        gate.wait_inside()
        os.kill(server.engine.pid, signal.SIGKILL)
        for stream in streams:
            with pytest.raises(openai.APIError, match="SIGKILL"):
                list(stream)
        with pytest.raises(openai.InternalServerError, match="SIGKILL") as caught:
            whole.result(CEILING)
    assert caught.value.status_code == 503
    assert caught.value.response.headers["x-should-retry"] == "false"
    assert "retry-after" not in caught.value.response.headers
    health = httpx.get(f"{server.url}/health")  # the new engine waits at the gate: it is still loading
    assert (health.status_code, health.json()["status"]) == (503, "restarting")
    assert "SIGKILL" in health.json()["reason"]
    assert httpx.get(f"{server.url}/healthz").status_code == 503
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(say, client, "Hello", max_tokens=2)  # waits for the engine, does not fail
        gate.accept()
        gate.open()
        assert waiting.result(CEILING).choices[0].message.content == "?@"
    assert httpx.get(f"{server.url}/health").status_code == 200
    assert server.engine.restarts == 1


def test_a_step_that_does_not_end(serve, gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    """/health says so while it lasts, and not while there is nothing to do."""
    monkeypatch.setattr(stall, "STALL", 0.0)
    server = serve(engine=GATED, model=gate.path)
    gate.accept()
    server.ready()
    assert httpx.get(f"{server.url}/health").status_code == 200
    stream = say(server.client(), "Hello", stream=True)
    gate.wait_inside()
    while (health := httpx.get(f"{server.url}/health")).status_code == 200:
        pass
    assert (health.status_code, health.json()["status"]) == (503, "stalled")
    assert "has not taken a step" in health.json()["reason"]
    assert httpx.get(f"{server.url}/healthz").status_code == 503
    gate.open()
    list(stream)
    assert httpx.get(f"{server.url}/health").json() == {"status": "ok"}


def test_ten_kills_under_eight_streams(serve) -> None:
    """Every stream ends with an error or a full answer, none just stops; the eleventh round is right. No two rounds ask
    alike: what is there at two deaths is refused."""
    server = serve(engine=FAKE).ready()
    server.engine.keeper.backoff = Backoff(longest=0.0)
    client = server.client()

    def read(stream: openai.Stream) -> str | None:
        try:
            return "".join(chunk.choices[0].delta.content or "" for chunk in stream)
        except openai.APIError as error:
            assert "SIGKILL" in str(error)
            return None

    def begin(round: int) -> list[openai.Stream]:
        options = {"stream": True, "extra_body": {"ignore_eos": True}, "max_tokens": 500}
        return [say(client, f"Hello {round}", **options) for _ in range(8)]

    whole = read(begin(-1)[0])
    assert whole and len(whole) == 500
    with ThreadPoolExecutor(8) as pool:
        for round in range(10):
            server.run(server.engine.ready())
            streams = begin(round)
            next(streams[3])
            os.kill(server.engine.pid, signal.SIGKILL)
            assert set(pool.map(read, streams[:3] + streams[4:])) <= {None, whole}
            assert read(streams[3]) in (None, whole)
        server.run(server.engine.ready())
        assert list(pool.map(read, begin(10))) == [whole] * 8


def test_clients_that_retry_and_give_up(serve, gate: Gate) -> None:
    """Twenty of them, each three times: nothing of it is computed once the engine has read that they left."""
    server = serve(engine=GATED, model=gate.path, parallel=2)
    gate.accept()
    server.ready()
    body = json.dumps({"messages": HELLO, "stream": True}).encode()
    running = say(server.client(), "Hello", stream=True, max_tokens=5)
    gate.wait_inside()
    for _ in range(3):
        tries = [raw_request(server.url, body) for _ in range(20)]
        for attempt in tries:
            assert attempt.recv(1) == b"H"  # accepted, and waits
        for attempt in tries:
            drop(attempt)
        for _ in tries:
            assert "client=left" in server.log_line()
    assert len(server.engine.generations.by_id) == 1
    fenced = fence(server)
    at = len(server.rows())
    gate.open()
    assert len(list(running)) == 7 and len(list(fenced)) > 5
    assert {id for rows in server.rows()[at + 1 :] for id in rows} <= {1, 62}
    assert server.engine.steps[-1].idle == server.engine.info.slots


def test_an_engine_that_ends_by_itself(serve) -> None:
    server = serve(engine=FAULTY).ready()
    with pytest.raises(openai.InternalServerError, match="status 3"):
        say(server.client(), "!exit")
    assert say(server.client(), "Hello", max_tokens=1).choices[0].message.content == "?"


@pytest.mark.parametrize("word", ["!step", "!row"])
def test_a_failing_step_fails_its_own_request(serve, gate: Gate, word: str) -> None:
    server = serve(engine=FAULTY, model=gate.path)
    gate.accept()
    server.ready()
    client = server.client()
    others = [say(client, "Hello", stream=True) for _ in range(2)]
    gate.wait_inside()  # a step with the first of them, at most; what comes now is in the next one
    failing = say(client, word, stream=True)
    gate.open()
    with pytest.raises(openai.APIError, match="made-up"):
        list(failing)
    for stream in others:
        assert "".join(chunk.choices[0].delta.content or "" for chunk in stream) == WHOLE
    assert [1, 2, 3] in [sorted(rows) for rows in server.rows()] + lost(server), "the three were in one batch"
    with pytest.raises(openai.InternalServerError, match="made-up") as caught:
        say(client, word)
    assert caught.value.status_code == 500
    assert caught.value.response.headers["x-should-retry"] == "false"
    assert say(client, "Hello", max_tokens=1).choices[0].message.content == "?"
    assert server.engine.restarts == 0


@pytest.mark.parametrize("word", ["!bug", "!collect"])
def test_a_bug_in_a_step_fails_its_batch_and_no_more(serve, word: str) -> None:
    server = serve(engine=FAULTY).ready()
    client = server.client()
    with pytest.raises(openai.InternalServerError, match="made-up bug"):
        say(client, word)
    with pytest.raises(openai.APIError, match="made-up bug"):
        list(say(client, word, stream=True))
    assert say(client, "Hello", max_tokens=1).choices[0].message.content == "?"
    assert server.engine.restarts == 0


def test_a_bug_in_a_step_leaves_the_queue_alone(serve) -> None:
    server = serve(engine=FAULTY, parallel=1).ready()
    client = server.client()
    with ThreadPoolExecutor() as pool:
        texts = ["Hello", "!bug", "Hello", "!bug", "Hello"]
        replies = [pool.submit(say, client, text) for text in texts]
        for text, reply in zip(texts, replies, strict=True):
            error = reply.exception(CEILING)
            assert (error is None) == (text == "Hello")


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
@pytest.mark.parametrize("length", [5, 2500], ids=["decode", "prefill"])
def test_a_client_that_leaves_frees_its_slot(serve, gate: Gate, stream: bool, length: int) -> None:
    """Asserted by the step records; the engine is inside a step when the client goes, and a neighbour goes on.

    A prompt of 2,500 tokens takes several steps: its client leaves after the first.
    """
    server = serve(engine=GATED, model=gate.path)
    gate.accept()
    server.ready()
    neighbour = say(server.client(), "Hello", stream=True)
    next(neighbour)
    messages = [{"role": "user", "content": "x" * length}]
    leaver = raw_request(server.url, json.dumps({"messages": messages, "stream": stream}).encode())
    # the neighbour's answer is short: no step is taken before the engine has both
    server.run(until(lambda: sum(generation.accepted.done() for generation in server.engine.generations.open) == 2))
    while not server.rows() or len(server.rows()[-1]) < 2:
        gate.step()
        next(neighbour)  # what the step did has arrived
    kept, gone = sorted(server.rows()[-1])
    gate.wait_inside()
    drop(leaver)
    assert "left" in server.log_line()
    fenced = fence(server)
    at = len(server.rows())  # the records of the steps before the one that is under way
    gate.let_go()
    gate.step(4)
    for _ in range(5):
        next(neighbour)
    after = server.rows()[at + 1 :]
    assert len(after) >= 4 and all(kept in rows and gone not in rows for rows in after)
    assert gone not in server.engine.generations.by_id
    assert server.engine.steps[-1].idle == server.engine.info.slots - 2, "the neighbour and the fence are busy"
    gate.open()
    for stream_left in (neighbour, fenced):
        assert "".join(chunk.choices[0].delta.content or "" for chunk in stream_left).endswith("}~")


def test_a_client_that_leaves_the_queue_is_never_computed(serve, gate: Gate) -> None:
    server = serve(engine=GATED, model=gate.path, parallel=1)
    gate.accept()
    server.ready()
    running = say(server.client(), "Hello", stream=True, max_tokens=3)
    gate.wait_inside()
    queued = raw_request(server.url, json.dumps({"messages": HELLO, "stream": True}).encode())
    assert queued.recv(1) == b"H"  # headers come when it is accepted
    assert len(server.engine.generations.by_id) == 2
    drop(queued)
    assert "client=left" in server.log_line()
    fenced = fence(server)
    gate.open()
    assert len(list(running)) == 5 and len(list(fenced)) > 5
    assert 2 not in {id for rows in server.rows() for id in rows}


def test_full_queue(serve, gate: Gate) -> None:
    server = serve(engine=GATED, model=gate.path, parallel=1, max_queue=1)
    gate.accept()
    server.ready()
    client = server.client()
    with ThreadPoolExecutor() as pool:
        streams = [say(client, "Hello", stream=True, max_tokens=2) for _ in range(2)]
        for _ in range(4):
            with pytest.raises(openai.RateLimitError) as caught:
                say(client, "Hello")
            assert int(caught.value.response.headers["retry-after"]) >= 1
            assert caught.value.code == "rate_limit_exceeded"
        gate.open()
        for stream in [pool.submit(list, stream) for stream in streams]:
            assert "".join(c.choices[0].delta.content or "" for c in stream.result(CEILING)) == "?@"
    assert say(client, "Hello", max_tokens=1).choices[0].message.content == "?"


def test_choices_count_in_the_queue(serve, gate: Gate) -> None:
    """As many as can run at once: a request with more of them than that takes turns with the others."""
    server = serve(engine=GATED, model=gate.path, parallel=1, max_queue=1)
    gate.accept()
    server.ready()
    streams = [say(server.client(), "Hello", stream=True, n=5, max_tokens=1) for _ in range(2)]
    with pytest.raises(openai.RateLimitError):
        say(server.client(), "Hello")
    gate.open()
    assert [len(list(stream)) for stream in streams] == [3 * 5] * 2


def test_a_client_that_leaves_during_its_upload(serve) -> None:
    server = serve().ready()
    drop(raw_request(server.url, b"{", declared=100))
    assert server.log_line().endswith("left")


def test_a_log_line_cannot_be_forged(serve) -> None:
    server = serve().ready()
    with pytest.raises(openai.BadRequestError):
        server.client().chat.completions.create(model="", messages=[{"role": "us\nreq_forged", "content": "x"}])
    assert "\n" not in server.log_line()


def test_an_odd_target(fake_server: RunningServer) -> None:
    host, port = fake_server.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), CEILING) as sock:
        sock.sendall(b"OPTIONS * HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        reply = b"".join(iter(lambda: sock.recv(4096), b""))
    assert reply.startswith(b"HTTP/1.1 204") and b"x-request-id" in reply


def test_preemption_when_the_pool_runs_out(serve, gate: Gate) -> None:
    """Two answers that do not fit into the pool together: the younger one waits, and both come out whole."""
    server = serve(engine="runners:TightRunner", model=gate.path, context=700)
    gate.accept()
    server.ready()
    ask = {"max_tokens": 600, "extra_body": {"ignore_eos": True}, "stream": True}
    streams = [say(server.client(), "Hello", **ask) for _ in range(4)]
    gate.open()
    texts = ["".join(chunk.choices[0].delta.content or "" for chunk in stream) for stream in streams]
    assert len(texts[0]) == 600 and texts[0].startswith(WHOLE + " !") and texts == texts[:1] * 4
    assert any(record.preempted for record in server.engine.steps)


def test_first_load_fails() -> None:
    with server_process("--engine", "runners:UnloadableRunner") as server:
        _, said = server.process.communicate(timeout=CEILING)
    assert server.process.returncode == 1
    assert said.splitlines()[1:] == ["nitro: This model cannot be loaded, says the test."], said


def test_server_killed() -> None:
    """The engine ends when its socket closes."""
    with server_process("--engine", "nitro.engines.backends.fake:FakeRunner") as server:
        url = server.wait_ready()
        engine = os.pidfd_open(server.engine_pid())
        stream = say(sdk(url), "Hello", stream=True, extra_body={"ignore_eos": True})
        next(stream)
        server.process.kill()
        wait_gone(engine)


def test_server_killed_while_the_engine_computes(gate: Gate) -> None:
    with server_process("--engine", GATED, gate.path) as server:
        gate.accept()
        url = server.wait_ready()
        engine = os.pidfd_open(server.engine_pid())
        stream = say(sdk(url), "Hello", stream=True)
        next(stream)
        gate.wait_inside()
        server.process.kill()
        wait_gone(engine)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_with_open_streams(gate: Gate, number: signal.Signals) -> None:
    """Streams end with an error event, the exit status is 0, nothing is left: even with the engine inside a step."""
    with server_process("--engine", GATED, "--grace", "0", gate.path) as server:
        gate.accept()
        url = server.wait_ready()
        engine = os.pidfd_open(server.engine_pid())
        stream = say(sdk(url), "Hello", stream=True)
        gate.step(3)
        assert [next(stream).choices[0].delta.content for _ in range(3)] == ["", "?", "@"]
        gate.wait_inside()
        os.killpg(server.process.pid, number)  # as Ctrl-C in a terminal does
        with pytest.raises(openai.APIError, match="stopping"):
            list(stream)
        assert server.process.wait(CEILING) == 0
        wait_gone(engine)


def test_signal_while_loading(gate: Gate) -> None:
    with server_process("--engine", GATED, gate.path) as server:
        gate.hold()
        engine = os.pidfd_open(server.engine_pid())
        server.process.send_signal(signal.SIGINT)
        assert server.process.wait(CEILING) == 0
        wait_gone(engine)


def test_stop_while_a_request_waits_for_the_model(gate: Gate) -> None:
    with ThreadPoolExecutor() as pool:
        with RunningServer(ServeConfig(engine=GATED, model=gate.path, port=0)) as server:
            gate.hold()
            assert httpx.get(f"{server.url}/health").json() == {"status": "loading"}
            waiting = pool.submit(say, server.client(), "Hello")
            server.run(until(lambda: len(server.engine.lifecycle.waiting) == 1))
        with pytest.raises(openai.InternalServerError, match="stopping"):
            waiting.result(CEILING)


def test_full_queue_while_loading(serve, gate: Gate) -> None:
    server = serve(engine=GATED, model=gate.path, parallel=1, max_queue=1)
    gate.hold()
    with ThreadPoolExecutor() as pool:
        waiting = [pool.submit(say, server.client(), "Hello", max_tokens=1) for _ in range(2)]
        server.run(until(lambda: len(server.engine.lifecycle.waiting) == 2))
        with pytest.raises(openai.RateLimitError, match="wait for the model"):
            say(server.client(), "Hello")
        gate.greet()
        gate.open()
        assert [reply.result(CEILING).choices[0].message.content for reply in waiting] == ["?", "?"]


def test_a_signal_without_a_name(serve, gate: Gate) -> None:
    """Real-time signals have none; the engine comes back as ever."""
    server = serve(engine=GATED, model=gate.path)
    gate.accept()
    server.ready()
    stream = say(server.client(), "Hello", stream=True)
    gate.wait_inside()
    os.kill(server.engine.pid, signal.SIGRTMIN + 6)
    with pytest.raises(openai.APIError, match=f"signal {signal.SIGRTMIN + 6}"):
        list(stream)
    gate.accept()
    gate.open()
    assert say(server.client(), "Hello", max_tokens=1).choices[0].message.content == "?"


def test_the_users_folder_is_no_place_to_import_from(tmp_path) -> None:
    (tmp_path / "queue.py").write_text("raise SystemExit('code of the current folder ran')")
    with server_process("--engine", "nitro.engines.backends.fake:FakeRunner", cwd=tmp_path) as server:
        assert say(sdk(server.wait_ready()), "Hello", max_tokens=1).choices[0].message.content == "?"


def test_a_second_signal_forces(gate: Gate) -> None:
    """A request whose body never comes would keep the server waiting for a while."""
    with server_process("--engine", GATED, gate.path) as server:
        gate.accept()
        url = server.wait_ready()
        engine = os.pidfd_open(server.engine_pid())
        stream = say(sdk(url), "Hello", stream=True)
        with raw_request(url, b"{", 100, "/v1/chat/completions", "Expect: 100-continue") as upload:
            assert upload.recv(12) == b"HTTP/1.1 100"  # the server is at work on it
            gate.wait_inside()
            server.process.send_signal(signal.SIGINT)
            with pytest.raises(openai.APIError, match="stopping"):
                list(stream)  # the first signal has come
            server.process.send_signal(signal.SIGTERM)
            assert server.process.wait(CEILING) == -signal.SIGTERM
        wait_gone(engine)


def test_a_port_in_use(fake_server: RunningServer) -> None:
    with server_process(
        "--port", str(fake_server.server.port), "--engine", "nitro.engines.backends.fake:FakeRunner"
    ) as server:
        _, said = server.process.communicate(timeout=CEILING)
    assert server.process.returncode == 1
    assert said.startswith("nitro: Cannot listen on 127.0.0.1") and len(said.splitlines()) == 1
