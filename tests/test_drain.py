"""A server that was told to end: it finishes what it has begun, says so, and takes nothing new. Real signals."""

import asyncio
import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import openai
import pytest
from runners import Gate
from running import CEILING, RunningServer, ServerProcess, sdk, server_process, until, wait_gone

from nitro.api.drain import Drain
from nitro.api.middleware import RequestMiddleware
from nitro.api.request_turns import REQUESTS_PER_TURN
from nitro.cli import bound
from nitro.state.schema import RESPONSES

HELLO = [{"role": "user", "content": "Hello"}]
GATED = "runners:GatedRunner"


class Draining:
    """A server with a stream under way, which has just got SIGTERM."""

    def __init__(self, server: ServerProcess, url: str, gate: Gate, stream: Iterator):
        self.server, self.url, self.gate, self.stream = server, url, gate, stream

    def health(self) -> httpx.Response:
        return httpx.get(f"{self.url}/health")


@pytest.fixture
def draining(gate: Gate, request: pytest.FixtureRequest) -> Iterator[Draining]:
    with server_process("--engine", GATED, *getattr(request, "param", ()), gate.path) as server:
        gate.accept()
        url = server.wait_ready()
        stream = sdk(url).chat.completions.create(model="", messages=HELLO, stream=True, max_tokens=5)
        gate.step()
        next(stream)
        gate.wait_inside()
        server.process.send_signal(signal.SIGTERM)
        found = Draining(server, url, gate, stream)
        if "--grace" not in getattr(request, "param", ()):
            until(lambda: found.health().status_code == 503)
        yield found
        gate.open()


def test_it_says_so_and_finishes(draining: Draining) -> None:
    told = draining.health()
    assert told.json()["status"] == "draining" and "1 have their replies" in told.json()["reason"]
    assert told.headers["connection"] == "close"
    assert httpx.get(f"{draining.url}/healthz").status_code == 503
    refused = httpx.post(f"{draining.url}/v1/chat/completions", json={"messages": HELLO})
    assert refused.status_code == 503 and refused.json()["error"]["code"] == "server_draining"
    assert refused.headers["retry-after"] == "1" and refused.headers["connection"] == "close"
    assert "x-should-retry" not in refused.headers
    assert httpx.get(f"{draining.url}/v1/models").status_code == 200  # to look is no work
    assert httpx.get(f"{draining.url}/metrics").status_code == 200
    engine = os.pidfd_open(draining.server.engine_pid())
    draining.gate.open()
    assert [chunk.choices[0].finish_reason for chunk in draining.stream][-1] == "length"
    assert draining.server.process.wait(CEILING) == 0
    wait_gone(engine)


@pytest.mark.parametrize("draining", [("--grace", "0.01")], indirect=True)
def test_it_waits_no_longer_than_it_may(draining: Draining) -> None:
    with pytest.raises(openai.APIError, match="stopping"):
        list(draining.stream)
    assert draining.server.process.wait(CEILING) == 0


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_ends_it(draining: Draining, second: signal.Signals) -> None:
    draining.server.process.send_signal(second)
    assert draining.server.process.wait(CEILING) == -second


def test_a_stream_that_is_given_up_is_not_waited_for(draining: Draining) -> None:
    draining.stream.close()
    assert draining.server.process.wait(CEILING) == 0


def test_a_request_can_still_be_ended(draining: Draining) -> None:
    id = draining.stream.response.headers["x-request-id"]
    assert httpx.post(f"{draining.url}/v1/server/requests/{id}/abort").status_code == 200
    with pytest.raises(openai.APIError, match="aborted"):
        list(draining.stream)
    assert draining.server.process.wait(CEILING) == 0


def test_who_watches_is_not_waited_for(gate: Gate) -> None:
    with server_process("--engine", GATED, gate.path) as server:
        gate.accept()
        url = server.wait_ready()
        with httpx.stream("GET", f"{url}/v1/server/events", timeout=CEILING) as events:
            lines = events.iter_lines()
            next(lines)
            server.process.send_signal(signal.SIGTERM)
            list(lines)
        assert server.process.wait(CEILING) == 0


def test_a_server_of_its_own_waits_for_nobody(gate: Gate, tmp_path: Path) -> None:
    """Who would read the reply has ended."""
    reading, writing = os.pipe()
    command = [sys.executable, "-m", bound.__name__, str(reading), "serve", "--port", "0", "--engine", GATED]
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
    with subprocess.Popen([*command, gate.path], pass_fds=(reading,), text=True, **pipes) as process:
        os.close(reading)
        gate.accept()
        assert process.stderr
        url = next(line.split()[1] for line in process.stderr if line.split()[:1] == ["URL"])
        threading.Thread(target=process.stderr.read, daemon=True).start()
        stream = sdk(url.removesuffix("/v1")).chat.completions.create(model="", messages=HELLO, stream=True)
        gate.wait_inside()
        os.close(writing)
        with pytest.raises(openai.APIError, match="stopping"):
            list(stream)
        assert process.wait(CEILING) == 0


def test_files_of_a_batch_wait_for_the_next_server(tmp_path: Path) -> None:
    """Its lines are answered by whoever takes it up: nobody waits for them here."""
    state = ("--state", str(tmp_path / "state"), "--grace", "600")
    with server_process("--engine", "nitro.engines.backends.fake:FakeRunner", *state) as server:
        client = sdk(server.wait_ready())
        body = {"messages": HELLO, "max_tokens": 100}
        line = {"method": "POST", "url": "/v1/chat/completions", "body": body}
        lines = "\n".join(json.dumps({**line, "custom_id": str(number)}) for number in range(2000))
        file = client.files.create(file=("in.jsonl", lines.encode()), purpose="batch")
        made = client.batches.create(input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h")
        until(lambda: client.batches.retrieve(made.id).request_counts.completed)
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(CEILING) == 0


def test_what_has_begun_in_the_background_is_finished(gate: Gate, tmp_path: Path) -> None:
    """Its client may have seen some of it. What waits stays for the next server."""
    state = ("--state", str(tmp_path), "--parallel", "1", "--grace", "600")
    with server_process("--engine", GATED, *state, gate.path) as server:
        gate.accept()
        client = sdk(server.wait_ready())
        ask = partial(client.responses.create, model="", input="Hello", background=True, max_output_tokens=2)
        begun, waits = ask().id, [ask().id for _ in range(3)]
        gate.wait_inside()
        server.process.send_signal(signal.SIGTERM)
        until(lambda: httpx.get(f"{client.base_url.join('/health')}").status_code == 503)
        gate.open()
        assert server.process.wait(CEILING) == 0
    with closing(sqlite3.connect(tmp_path / RESPONSES.file)) as db:
        found = {id: json.loads(body) for id, body in db.execute("SELECT id, body FROM responses")}
    assert found[begun]["incomplete_details"]["reason"] == "max_output_tokens"
    assert [found[id]["status"] for id in waits] == ["queued"] * len(waits)


def test_requests_that_wait_for_their_turn_are_under_way() -> None:
    """They were let in before the server was told to end."""
    drain, running = Drain(), []

    async def scenario() -> None:
        go_on = asyncio.Event()

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await go_on.wait()

        app.routes = []  # type: ignore[attr-defined]
        guard = SimpleNamespace(cors=lambda *_: {}, check=lambda *_: None, check_host=lambda *_: None)
        metrics = SimpleNamespace(answered=lambda *_: None)
        middleware = RequestMiddleware(app, guard, metrics, 1, drain=drain)  # type: ignore[arg-type]
        for number in range(REQUESTS_PER_TURN + 1):
            path = f"/{number}"
            scope = {"type": "http", "path": path, "raw_path": path.encode(), "query_string": b"", "method": "POST"}
            scope |= {"headers": [], "client": ("127.0.0.1", 1), "scheme": "http", "server": ("127.0.0.1", 2)}
            running.append(asyncio.create_task(middleware({**scope, "root_path": ""}, None, None)))  # type: ignore[arg-type]
        await asyncio.sleep(0)
        assert drain.underway == REQUESTS_PER_TURN + 1
        go_on.set()
        await drain.finished()

    asyncio.run(scenario())


def test_a_server_in_this_process(serve) -> None:
    """With nothing under way it stops at once."""
    server: RunningServer = serve(grace=600.0).ready()
    server._loop.call_soon_threadsafe(server.server.drain)
    server._loop.call_soon_threadsafe(server.server.drain)
    server._thread.join(CEILING)
    assert not server._thread.is_alive()
