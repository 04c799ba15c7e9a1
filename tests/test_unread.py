"""A client that does not read what it is sent: it is waited for, with bounds of bytes and of time, and ends alone."""

import json
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import certificates
import httpx
import pytest
from msgspec.structs import replace
from running import CEILING, RunningServer

from nitro.api import http_server
from nitro.api.http_protocol import UNSENT, HttpProtocol

LITTLE = 4096  # bytes that the client's side of a socket takes
LONG = {"prompt": "a", "max_tokens": 4000, "logprobs": 5, "ignore_eos": True}  # megabytes of reply
Ask = Callable[..., socket.socket]


@pytest.fixture
def ask() -> Iterator[Ask]:
    """ask(server, fields) sends a request and reads nothing."""
    with ExitStack() as stack:

        def ask(server: RunningServer, **fields: object) -> socket.socket:
            sock = stack.enter_context(connected(server))
            body = json.dumps({**LONG, **fields}).encode()
            head = b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n"
            sock.sendall(head % len(body) + body)
            return sock

        yield ask


def connected(server: RunningServer) -> socket.socket:
    """By TCP, over TLS where the server has it, or by its Unix socket."""
    config = server.server.config
    sock = socket.socket(socket.AF_UNIX if config.uds else socket.AF_INET)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, LITTLE)
    sock.settimeout(CEILING)
    sock.connect(str(config.uds) if config.uds else ("127.0.0.1", server.server.port))
    if not config.tls_cert:
        return sock
    anyone = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    anyone.check_hostname, anyone.verify_mode = False, ssl.CERT_NONE
    return anyone.wrap_socket(sock)


def limit(server: RunningServer, **limits: float) -> None:
    server.server.connections.limits = replace(server.server.connections.limits, **limits)


def said(server: RunningServer, words: str) -> str:
    """The next line of the log that has these words."""
    while words not in (line := server.log_line()):
        pass
    return line


def at_rest(server: RunningServer) -> bool:
    """Whether no generation is open."""

    async def look() -> bool:
        return not server.engine.generations.open

    return bool(server.run(look()))


def rest_of(sock: socket.socket) -> bytes:
    """What the client has got after all, when its connection is over."""
    got = b""
    try:
        while data := sock.recv(2**16):
            got += data
    except ConnectionResetError:
        pass
    return got


def test_a_stream_that_nobody_reads_ends_alone(serve, ask: Ask) -> None:
    """Once too much of it is held; its slot is free, and the stream beside it is whole."""
    server = serve(context=2**14, parallel=2).ready()
    limit(server, unread_bytes=2**16)
    silent = ask(server, stream=True)
    beside = httpx.post(f"{server.url}/v1/completions", json={**LONG, "stream": True}, timeout=CEILING)
    assert beside.status_code == 200 and beside.text.endswith("data: [DONE]\n\n")
    assert "more than 65536 bytes of a stream wait for it" in said(server, "does not read")
    assert "client=left" in said(server, "/s")
    assert at_rest(server)
    assert b"[DONE]" not in rest_of(silent)


def test_one_that_reads_late_gets_all_of_it(serve, ask: Ask) -> None:
    """Within the limits nothing is lost, however much had to wait."""
    server = serve(context=2**14, parallel=2).ready()
    late = ask(server, stream=True)
    assert httpx.post(f"{server.url}/v1/completions", json=LONG, timeout=CEILING).status_code == 200  # meanwhile
    got = b""
    while b"[DONE]" not in got[-100:]:
        data = late.recv(2**16)
        assert data
        got += data
    frames = [json.loads(line[6:]) for line in got.split(b"\n") if line.startswith(b"data: {")]
    scored = [choice["logprobs"] for frame in frames for choice in frame["choices"] if choice["logprobs"]]
    assert sum(len(each["tokens"]) for each in scored) == LONG["max_tokens"]


@pytest.mark.parametrize("last", [False, True])
def test_a_whole_reply_over_tls_that_is_read_late(serve, tmp_path: Path, last: bool) -> None:
    """It waits in pieces behind what TLS holds, and all of it comes, in order; also where the connection ends with it,
    or another request waits behind it, or the server's patience with silent connections is over."""
    pair = certificates.make(tmp_path, "nitro")
    server = serve(context=2**14, parallel=2, tls_cert=pair.cert, tls_key=pair.key).ready()
    body = json.dumps(LONG).encode()
    head = b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n%b\r\n"
    with connected(server) as sock:
        first = b"" if last else head % (len(body), b"") + body
        sock.sendall(first + head % (len(body), b"Connection: close\r\n") + body)
        said(server, "/s")

        async def waits() -> int:
            (protocol,) = server.server._http.server_state.connections
            if last:
                protocol.timeout_keep_alive_handler()  # it closes no sooner than what waits is written
            return protocol.unread

        while not server.run(waits()):
            pass
        got = rest_of(sock)
    replies = [reply.partition(b"\r\n\r\n") for reply in got.split(b"HTTP/1.1 200 OK\r\n")[1:]]
    assert len(replies) == (1 if last else 2)
    for reply_head, _, whole in replies:
        assert b"content-length: %d\r\n" % len(whole) in reply_head
        assert len(json.loads(whole)["choices"][0]["logprobs"]["tokens"]) == LONG["max_tokens"]


@pytest.mark.parametrize(
    ("stream", "way"), [(stream, way) for stream in (True, False) for way in ("tcp", "tls", "unix")]
)
def test_a_reply_that_nobody_reads_is_given_up(
    serve, ask: Ask, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, stream: bool, way: str
) -> None:
    """After a time, also where it is whole, so that its request is over long ago."""
    monkeypatch.setattr(http_server, "TICK", 0.01)
    pair = certificates.make(tmp_path, "nitro") if way == "tls" else None
    transport = (
        {"tls_cert": pair.cert, "tls_key": pair.key} if pair else {"uds": tmp_path / "s"} if way == "unix" else {}
    )
    server = serve(context=2**14, parallel=2, **transport).ready()
    silent = ask(server, stream=stream)
    if not stream:
        said(server, "/s")
    limit(server, unread=0.0)
    assert "0 seconds" in said(server, "does not read")
    rest_of(silent)
    while len(server.server.connections):  # their ends are told one after the other
        pass
    assert at_rest(server)


def test_the_kernel_holds_little(serve, ask: Ask) -> None:
    """Of what is sent it takes megabytes by itself, which nobody would count."""
    server = serve(context=2**14).ready()
    ask(server, stream=False, max_tokens=12_000)
    said(server, "/s")

    async def waiting() -> int:
        protocols = server.server._http.server_state.connections
        return sum(protocol.unread for protocol in protocols if isinstance(protocol, HttpProtocol))

    size = len(httpx.post(f"{server.url}/v1/completions", json={**LONG, "max_tokens": 12_000}, timeout=CEILING).content)
    assert size > 8 * UNSENT
    assert size - server.run(waiting()) < 4 * UNSENT


def test_the_limits_are_flags(serve) -> None:
    server = serve(
        max_head=8,
        head_seconds=1.5,
        body_seconds=2.5,
        min_rate=7,
        unread_seconds=3.5,
        max_unread=9,
        max_connections=11,
    ).ready()
    limits = server.server.connections.limits
    assert (limits.head, limits.head_bytes, limits.silence, limits.rate) == (1.5, 2**13, 2.5, 7)
    assert (limits.unread, limits.unread_bytes, limits.most) == (3.5, 9 * 2**20, 11)
    refused = httpx.get(f"{server.url}/health", headers={"x": "a" * 1025})
    assert refused.status_code == 431 and "longer than 1024 bytes" in refused.text
