"""A server on a Unix socket: its file, who may call, and clients of all kinds."""

import asyncio
import os
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fast
import httpx
import pytest
from running import CEILING, FAKE, RunningServer, sdk, server_process

from nitro.bench import client, endpoint
from nitro.config import ServeConfig
from nitro.errors import StartError
from nitro.launch import Launch
from nitro.records.redaction.tokenizer import ServerTokenizer

HELLO: dict[str, Any] = {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 5}
BASE = "http://localhost"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "nitro.sock"


def http(path: Path, **options: Any) -> httpx.Client:
    return httpx.Client(base_url=BASE, transport=httpx.HTTPTransport(uds=str(path)), timeout=CEILING, **options)


def test_the_sdk_over_a_socket(serve: Callable[..., RunningServer], path: Path) -> None:
    server = serve(uds=path).ready()
    assert server.url == f"unix:{path}" and server.server.port == 0
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with http(path) as over:
        asked = sdk(BASE, http_client=over)
        pieces = list(asked.chat.completions.create(model="", stream=True, **HELLO))
        assert pieces[-1].choices[0].finish_reason == "length"
    server.__exit__()
    assert not path.exists()


def test_the_mode_says_who_may_connect(serve: Callable[..., RunningServer], path: Path) -> None:
    before = os.umask(0o077)
    try:
        serve(uds=path, uds_mode="660")
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o660


def test_who_calls_is_on_this_machine(serve: Callable[..., RunningServer], path: Path) -> None:
    """Unless a proxy says that it calls for somebody."""
    serve(uds=path).ready()
    with http(path) as over:
        assert over.post("/v1/server/requests/none/abort").status_code == 404
        forwarded = {"x-forwarded-for": "127.0.0.1"}
        assert over.post("/v1/server/requests/none/abort", headers=forwarded).status_code == 403


def test_a_proxy_on_the_socket_is_believed(serve: Callable[..., RunningServer], path: Path) -> None:
    server = serve(uds=path, trust_proxy=("unix",)).ready()
    with http(path) as over:
        assert over.get("/nowhere", headers={"x-forwarded-for": "192.0.2.7, 203.0.113.9"}).status_code == 404
    assert server.log_line().endswith("from 203.0.113.9)")


def test_what_a_killed_server_has_left_is_removed(path: Path) -> None:
    with server_process("--engine", FAKE, "--uds", str(path)) as server:
        assert server.wait_ready() == f"unix:{path}"
        with http(path) as over:
            assert over.post("/v1/chat/completions", json=HELLO).status_code == 200
        server.process.kill()
        server.process.wait()
    assert path.exists()
    with server_process("--engine", FAKE, "--uds", str(path)) as server:
        server.wait_ready()
        with http(path) as over:
            assert over.get("/health").status_code == 200
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(CEILING) == 0
    assert not path.exists()


def start(path: Path, **options: Any) -> Launch:
    return Launch(ServeConfig(engine=FAKE, uds=path, **options))


def test_what_is_in_use_is_left_alone(path: Path, tmp_path: Path) -> None:
    with start(path) as first:
        with pytest.raises(StartError, match="a server listens there already"):
            start(path)
        file = tmp_path / "file"
        file.write_text("mine")
        with pytest.raises(StartError, match="no socket"):
            start(file)
        assert file.read_text() == "mine"
        path.unlink()
        with start(path):
            first.end()
            assert path.exists(), "it is the other one's"
    assert not path.exists()


def test_a_server_whose_queue_is_full_listens_too(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as waiting:
        listener.bind(str(path))
        listener.listen(0)
        waiting.connect(str(path))
        with pytest.raises(StartError, match="a server listens there already"):
            start(path)


@pytest.mark.parametrize(("name", "words"), [("x" * 200, "too long"), ("no/where", "No such file")])
def test_what_is_no_place_for_a_socket(name: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(StartError, match=words):
        start(tmp_path / name)


# Nitro's own clients


def nitro(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    fast.skip_server()
    env = {**os.environ, "NITRO_PORT": "1", **variables}
    command = [sys.executable, "-P", "-m", "nitro", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=CEILING, env=env, stdin=subprocess.DEVNULL)


def test_commands(serve: Callable[..., RunningServer], path: Path) -> None:
    serve(uds=path).ready()
    for options in (("--url", f"unix:{path}"), ("--url", f"unix://{path}"), ("--uds", str(path))):
        listed = nitro("ps", *options)
        assert listed.returncode == 0 and "REQUESTS" in listed.stdout, listed.stderr
    answer = nitro("run", "", "Hello", "--max-tokens", "3", NITRO_UDS=str(path))
    assert answer.returncode == 0 and answer.stdout, answer.stderr
    nobody = nitro("ps", "--url", "unix:/nowhere")
    assert nobody.returncode == 1 and "/nowhere cannot be reached: No such file" in nobody.stderr


def test_clients_in_this_process(serve: Callable[..., RunningServer], path: Path) -> None:
    server = serve(uds=path).ready()
    at = endpoint.parse(server.url, None, {})
    assert asyncio.run(client.chat(at, at.chat_body(HELLO["messages"], 5))).tokens == 5
    tokenizer = ServerTokenizer(server.url)
    assert tokenizer.tokens("Hello")
    tokenizer.close()


def test_replay(serve: Callable[..., RunningServer], path: Path, tmp_path: Path) -> None:
    with http(path) as over:
        serve(uds=path, record=tmp_path / "records").ready()
        over.post("/v1/chat/completions", json={**HELLO, "temperature": 0}).raise_for_status()
    again = nitro("replay", str(tmp_path / "records"), "--url", f"unix:{path}", "--speed", "max")
    assert again.returncode == 0 and f"unix:{path}" in again.stdout, again.stderr + again.stdout
