"""TLS by the server itself: real handshakes, certificates that are replaced while streams are open, and bad files."""

import asyncio
import logging
import os
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import certificates
import fast
import httpx
import pytest
from certificates import Pair
from runners import Gate
from running import CEILING, FAKE, RunningServer, sdk, server_process, until

from nitro import server as server_module
from nitro.api.connections import ConnectionLimits
from nitro.api.transport.certificates import Certificates
from nitro.bench import client, endpoint
from nitro.config import ServeConfig
from nitro.errors import StartError
from nitro.launch import Launch
from nitro.system import watched_files
from nitro.system.http_clients import Trust

HELLO: dict[str, Any] = {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 20, "stream": True}


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> list[Pair]:
    """Two certificates for the same names."""
    folder = tmp_path_factory.mktemp("certificates")
    return [certificates.make(folder, name) for name in ("one", "two")]


@pytest.fixture
def pair(pairs: list[Pair], tmp_path: Path) -> Pair:
    """A copy of the first, which may be replaced."""
    copy = Pair(tmp_path / "cert.pem", tmp_path / "key.pem")
    copy.replace(pairs[0])
    return copy


@pytest.fixture(scope="module")
def secure(pairs: list[Pair]) -> Iterator[RunningServer]:
    config = ServeConfig(engine=FAKE, port=0, tls_cert=pairs[0].cert, tls_key=pairs[0].key)
    with RunningServer(config) as server:
        yield server.ready()


def connected(server: RunningServer, context: ssl.SSLContext, name: str = "localhost") -> ssl.SSLSocket:
    raw = socket.create_connection(("127.0.0.1", server.server.port), CEILING)
    return context.wrap_socket(raw, server_hostname=name)


def shown(server: RunningServer) -> bytes:
    """The certificate that a new connection sees."""
    anyone = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    anyone.check_hostname, anyone.verify_mode = False, ssl.CERT_NONE
    with connected(server, anyone) as connection:
        return connection.getpeercert(binary_form=True) or b""


def head(path: str, *headers: str, method: str = "GET") -> bytes:
    return "\r\n".join([f"{method} {path} HTTP/1.1", "Host: localhost", *headers, "", ""]).encode()


def read_all(connection: socket.socket) -> bytes:
    """Until the other side closes."""
    came = b""
    while data := connection.recv(65536):
        came += data
    return came


def test_the_sdk_speaks_tls(secure: RunningServer, pairs: list[Pair]) -> None:
    assert secure.url.startswith("https://127.0.0.1:")
    with httpx.Client(verify=pairs[0].trusted()) as http:
        asked = sdk(secure.url, http_client=http)
        answer = asked.chat.completions.create(model="", **{**HELLO, "stream": False})
        pieces = list(asked.chat.completions.create(model="", **HELLO))
    assert "".join(piece.choices[0].delta.content or "" for piece in pieces) == answer.choices[0].message.content


def test_by_name_and_by_address(secure: RunningServer, pairs: list[Pair]) -> None:
    """Clients that are given an address name no server in TLS."""
    for name in ("localhost", "127.0.0.1"):
        with connected(secure, pairs[0].trusted(), name) as connection:
            assert connection.version() in ("TLSv1.2", "TLSv1.3")
            connection.sendall(head("/health", "Connection: close"))
            assert read_all(connection).startswith(b"HTTP/1.1 200 ")
    with pytest.raises(ssl.SSLCertVerificationError):
        connected(secure, pairs[1].trusted())


def test_http_2_is_not_agreed_upon(secure: RunningServer, pairs: list[Pair]) -> None:
    context = pairs[0].trusted()
    context.set_alpn_protocols(["h2", "http/1.1"])
    with connected(secure, context) as connection:
        assert connection.selected_alpn_protocol() == "http/1.1"


def test_a_request_that_comes_with_the_end_of_the_handshake(secure: RunningServer, pairs: list[Pair]) -> None:
    """In one packet: the connection has no HTTP yet."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = pairs[0].trusted().wrap_bio(incoming, outgoing, server_hostname="localhost")
    with socket.create_connection(("127.0.0.1", secure.server.port), CEILING) as raw:
        while True:
            try:
                tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                raw.sendall(outgoing.read())
                incoming.write(raw.recv(65536))
        tls.write(head("/health", "Connection: close"))
        raw.sendall(outgoing.read())
        came = b""
        while b"\r\n\r\n" not in came:
            try:
                came += tls.read(65536)
            except ssl.SSLWantReadError:
                incoming.write(raw.recv(65536))
    assert came.startswith(b"HTTP/1.1 200 ")


def test_a_refusal_before_the_body_has_ended(secure: RunningServer, pairs: list[Pair]) -> None:
    """TLS cannot be closed by half, so the reply must be whole without that."""
    with connected(secure, pairs[0].trusted()) as connection:
        connection.sendall(head("/v1/chat/completions", f"Content-Length: {2**30}", method="POST") + b"{")
        came = b""
        while b"}" not in came:
            came += connection.recv(65536)
    assert came.startswith(b"HTTP/1.1 413 ") and b"--max-body" in came


# Certificates that change


def stream_then(server: RunningServer, gate: Gate, pair: Pair, change: Callable[[], None]) -> str:
    """What a stream says that is open while `change` is made."""
    url = f"{server.url}/v1/chat/completions"
    with httpx.Client(verify=pair.trusted(), timeout=CEILING) as http, http.stream("POST", url, json=HELLO) as reply:
        lines = reply.iter_lines()
        gate.step(2)
        first = next(lines)
        change()
        gate.open()
        return first + "".join(lines)


def test_a_new_certificate_while_a_stream_is_open(
    serve: Callable[..., RunningServer],
    gate: Gate,
    pair: Pair,
    pairs: list[Pair],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """New connections see it as soon as the files have changed, and the old one goes on with its own."""
    monkeypatch.setattr(watched_files, "PERIOD", 0.01)
    server = serve(engine="runners:GatedRunner", model=gate.path, tls_cert=pair.cert, tls_key=pair.key)
    gate.accept()
    server.ready()

    def change() -> None:
        assert shown(server) == pairs[0].der
        pair.replace(pairs[1])
        while shown(server) != pairs[1].der:
            pass

    assert stream_then(server, gate, pair, change).endswith("data: [DONE]")


def test_files_that_are_no_certificate_any_more(
    serve: Callable[..., RunningServer], pair: Pair, pairs: list[Pair], caplog: pytest.LogCaptureFixture
) -> None:
    """The one that was read before holds, and the log says why."""
    server = serve(tls_cert=pair.cert, tls_key=pair.key).ready()

    async def again() -> None:
        server.server.read_again()

    for content, words in ((b"rubbish", "not PEM"), (pairs[1].cert.read_bytes(), "does not belong")):
        pair.cert.write_bytes(content)
        caplog.clear()
        with caplog.at_level(logging.ERROR, "nitro"):
            server.run(again())
        assert words in caplog.text and "still holds" in caplog.text
        assert shown(server) == pairs[0].der
    pair.replace(pairs[1])
    server.run(again())
    assert shown(server) == pairs[1].der


def test_sighup_has_it_read_again(pair: Pair, pairs: list[Pair]) -> None:
    """On the event loop that users have."""
    with server_process("--engine", FAKE, "--tls-cert", str(pair.cert), "--tls-key", str(pair.key)) as server:
        url = httpx.URL(server.wait_ready())
        assert url.scheme == "https"
        with httpx.Client(verify=pair.trusted()) as http:
            assert http.get(url.join("/health")).status_code == 200
        pair.replace(pairs[1])
        server.process.send_signal(signal.SIGHUP)
        assert any("read again" in line for line in server.process.stderr)
        with httpx.Client(verify=pair.trusted()) as http:
            assert http.get(url.join("/health")).status_code == 200
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(CEILING) == 0


@pytest.mark.parametrize("kind", ["mismatch", "encrypted", "missing", "rubbish", "no key", "key alone", "socket"])
def test_what_cannot_be_served_is_told_at_the_start(kind: str, pair: Pair, pairs: list[Pair], tmp_path: Path) -> None:
    config: dict[str, Any] = {"tls_cert": pair.cert, "tls_key": pair.key}
    words = {
        "mismatch": "the key does not belong to the certificate",
        "encrypted": "the key is encrypted",
        "missing": "is no file that can be read",
        "rubbish": "this is not PEM",
        "no key": "the certificate or the key is missing",
        "key alone": "--tls-cert",
        "socket": "do not go together",
    }
    if kind == "mismatch":
        pair.key.write_bytes(pairs[1].key.read_bytes())
    elif kind == "encrypted":
        command = ["openssl", "pkey", "-in", pairs[0].key, "-aes256", "-passout", "pass:x", "-out", pair.key]
        subprocess.run(command, check=True, capture_output=True)
    elif kind == "missing":
        pair.key.unlink()
    elif kind == "rubbish":
        pair.cert.write_text("rubbish")
    elif kind == "no key":
        config["tls_key"] = None
    elif kind == "key alone":
        config["tls_cert"] = None
    else:
        config["uds"] = tmp_path / "socket"
    with pytest.raises(StartError) as caught:
        Launch(ServeConfig(engine=FAKE, port=0, **config))
    assert words[kind] in str(caught.value)


def test_a_key_that_all_can_read(pair: Pair) -> None:
    pair.key.chmod(0o644)
    assert "chmod o-r" in Certificates(pair.cert, pair.key).warnings()[0]
    pair.key.chmod(0o640)
    assert Certificates(pair.cert, pair.key).warnings() == []


# Clients that say nothing, or no TLS


def test_plain_http_is_told_apart(secure: RunningServer) -> None:
    with socket.create_connection(("127.0.0.1", secure.server.port), CEILING) as raw:
        raw.sendall(head("/health"))
        came = read_all(raw)
    assert came.startswith(b"HTTP/1.1 400 ") and b"https://" in came
    while "plain HTTP (from 127.0.0.1)" not in secure.log_line():  # what others have asked before
        pass


def test_a_handshake_that_does_not_come_has_the_time_of_a_head(serve: Callable[..., RunningServer], pair: Pair) -> None:
    server = serve(tls_cert=pair.cert, tls_key=pair.key).ready()
    server.server.connections.limits = ConnectionLimits(head=0.2)
    with socket.create_connection(("127.0.0.1", server.server.port), CEILING) as silent:
        try:
            assert silent.recv(1) == b""
        except ConnectionResetError:
            pass
    until(lambda: len(server.server.connections) == 0)


def test_silent_clients_give_way(serve: Callable[..., RunningServer], pair: Pair) -> None:
    """They count as connections, so that they cannot keep others out."""
    server = serve(tls_cert=pair.cert, tls_key=pair.key).ready()
    server.server.connections.limits = ConnectionLimits(most=3)
    silent = [socket.create_connection(("127.0.0.1", server.server.port), CEILING) for _ in range(8)]
    try:
        with httpx.Client(verify=pair.trusted(), timeout=CEILING) as http:
            assert http.get(f"{server.url}/health").status_code == 200
        until(lambda: len(server.server.connections) <= 3)
    finally:
        for each in silent:
            each.close()


def test_the_server_ends_with_a_client_that_keeps_its_connection(
    serve: Callable[..., RunningServer], pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It waits for no word of an idle one, and for none that has begun no TLS."""
    monkeypatch.setattr(server_module, "CLOSE_TIMEOUT", 10 * CEILING)
    server = serve(tls_cert=pair.cert, tls_key=pair.key).ready()
    address = ("127.0.0.1", server.server.port)
    with socket.create_connection(address, CEILING), httpx.Client(verify=pair.trusted()) as http:
        assert http.get(f"{server.url}/health").status_code == 200
        server.__exit__()
        with pytest.raises(httpx.TransportError):
            http.get(f"{server.url}/health")


# Nitro's own clients


def nitro(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    fast.skip_server()
    env = {**os.environ, "NITRO_PORT": "1", **variables}
    command = [sys.executable, "-P", "-m", "nitro", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=CEILING, env=env, stdin=subprocess.DEVNULL)


def test_commands_with_an_authority(secure: RunningServer, pairs: list[Pair]) -> None:
    right = ("--url", secure.url, "--ca", str(pairs[0].cert))
    assert nitro("run", "", "Hello", "--max-tokens", "3", *right).returncode == 0
    assert "fake" in nitro("ps", *right).stdout.lower() or nitro("ps", *right).returncode == 0
    wrong = nitro("ps", "--url", secure.url)
    assert wrong.returncode == 1 and "is not trusted" in wrong.stderr and "--ca" in wrong.stderr
    missing = nitro("ps", "--url", secure.url, "--ca", "/nowhere")
    assert missing.returncode == 1 and "/nowhere: No such file" in missing.stderr


def test_the_usual_server_is_known_by_its_certificate(secure: RunningServer, pairs: list[Pair], tmp_path: Path) -> None:
    """nitro.toml says where it is, for the server and for its clients. Its name does not matter, and its file does."""
    port = str(secure.server.port)
    settings = tmp_path / "nitro.toml"
    settings.write_text(f'[server]\ntls-cert = "{pairs[0].cert}"\ntls-key = "{pairs[0].key}"\nport = {port}\n')
    found = nitro("ps", "--config", str(settings), NITRO_PORT=port)
    assert found.returncode == 0, found.stderr
    wrong = nitro("ps", "--port", port, "--tls-cert", str(pairs[1].cert))
    assert wrong.returncode == 1 and "is not trusted" in wrong.stderr


def test_a_server_of_ones_own_is_not_reached_as_the_settings_say(pairs: list[Pair], tmp_path: Path) -> None:
    """`nitro run` starts one on an address of its own, whatever the usual one does."""
    settings = tmp_path / "nitro.toml"
    lines = [f'tls-cert = "{pairs[0].cert}"', f'tls-key = "{pairs[0].key}"', 'root-path = "/x"', f'engine = "{FAKE}"']
    settings.write_text("\n".join(["[server]", *lines]))
    told = nitro("run", "", "Hello", "--max-tokens", "3", "--config", str(settings), NITRO_TLS_CERT=str(pairs[0].cert))
    assert told.returncode == 0, told.stderr
    assert told.stdout.strip()


def test_bench_measures_over_tls(secure: RunningServer, pairs: list[Pair]) -> None:
    at = endpoint.parse(secure.url, None, {}, Trust(authorities=pairs[0].cert))
    body = at.chat_body(HELLO["messages"], 5)
    assert asyncio.run(client.chat(at, body)).tokens == 5
