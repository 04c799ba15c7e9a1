"""What a client may send, and how long it may take: over real sockets, byte by byte."""

import json
import os
import re
import resource
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import httpx
import pytest
from msgspec.structs import replace
from runners import Gate
from running import CEILING, RunningServer, server_process, until

GATED = "runners:GatedRunner"
HOST = b"Host: localhost\r\n"
HEALTH = b"GET /health HTTP/1.1\r\n" + HOST + b"\r\n"
CHAT = json.dumps({"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 2}).encode()
POST = b"POST /v1/chat/completions HTTP/1.1\r\n" + HOST
LAST = b"Connection: close\r\n"

Reply = tuple[int, dict[str, str], bytes]  # status, headers, body


class Client:
    """A socket of our own."""

    def __init__(self, port: int, sent: bytes = b""):
        self.socket = socket.create_connection(("127.0.0.1", port), CEILING)
        self.file = self.socket.makefile("rb")
        self.send(sent)

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def reply(self) -> Reply:
        """The next one."""
        line, headers = self.file.readline(), {}
        assert line.startswith(b"HTTP/1.1 "), line
        while field := self.file.readline().strip():
            name, _, value = field.decode().partition(": ")
            headers[name.lower()] = value
        return int(line.split()[1]), headers, self.file.read(int(headers.get("content-length", 0)))

    def refusal(self, status: int) -> str:
        """The next reply is the last, and an error as OpenAI has them: its message."""
        told, headers, body = self.reply()
        assert (told, headers["connection"]) == (status, "close"), body
        error = json.loads(body)["error"]
        assert error["type"] == "invalid_request_error" and set(error) == {"message", "type", "param", "code"}
        self.ended()
        return error["message"]

    def ended(self) -> None:
        assert self.file.read() == b""

    def close(self) -> None:
        self.file.close()
        self.socket.close()


Connect = Callable[..., Client]


@pytest.fixture
def connect() -> Iterator[Connect]:
    """connect(server, what is sent at once)"""
    with ExitStack() as stack:

        def connect(server: RunningServer | int, sent: bytes = b"") -> Client:
            client = Client(server if isinstance(server, int) else server.server.port, sent)
            stack.callback(client.close)
            return client

        yield connect


def read_by(server: RunningServer, connect: Connect) -> None:
    """Return once the server has read what others have sent before: it reads in the order in which they came."""
    assert connect(server, HEALTH.replace(HOST, HOST + LAST)).reply()[0] == 200


def limit(server: RunningServer, **limits: float) -> None:
    server.server.connections.limits = replace(server.server.connections.limits, **limits)


# The head


@pytest.mark.parametrize(
    ("head", "status", "words"),
    [
        (b"GET /health HTTP/1.1\r\n" + HOST + b"X: " + b"a" * 9_000, 431, "A header is longer than 8192 bytes"),
        (b"GET /health HTTP/1.1\r\n" + HOST + b"b" * 9_000 + b": x", 431, "A header is longer than 8192 bytes"),
        (b"GET /health HTTP/1.1\r\n" + HOST + b"X: a\r\n" * 100, 431, "more than 100 headers"),
        (b"GET /" + b"a" * 9_000 + b" HTTP/1.1\r\n" + HOST, 414, "The URL is longer than 8192 bytes"),
        (b"GET /health HTTP/1.1\r\n" + (b"X: " + b"a" * 8_000 + b"\r\n") * 9, 431, "The head of the request is longer"),
    ],
)
def test_a_head_that_is_too_large(
    fake_server: RunningServer, connect: Connect, head: bytes, status: int, words: str
) -> None:
    assert words in connect(fake_server, head + b"\r\n\r\n").refusal(status)


@pytest.mark.parametrize("endless", [b"GET /health HTTP/1.1\r\nX: ", b"GET /", b"\r\n", b"GET /health HTTP/1.1\r\nX"])
def test_a_head_without_an_end(fake_server: RunningServer, connect: Connect, endless: bytes) -> None:
    """It is refused while it comes, and what comes then is not kept."""
    client = connect(fake_server, endless + (b"\r\n" if endless == b"\r\n" else b"a") * 2**20)
    assert client.refusal(431 if endless != b"GET /" else 414)


def test_the_largest_head_of_all(fake_server: RunningServer, connect: Connect) -> None:
    """Many pieces, and at its limits."""
    head = HEALTH[:-2] + b"".join(b"X-%d: %b\r\n" % (i, b"a" * 500) for i in range(98)) + b"Y: " + b"a" * 8_000
    client = connect(fake_server)
    for begin in range(0, len(head), 1_000):
        client.send(head[begin : begin + 1_000])
    client.send(b"\r\n\r\n")
    assert client.reply()[0] == 200


@pytest.mark.parametrize(
    "nonsense",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # TLS
        b"HELO box\r\n\r\n",
        b"CONNECT example.com:443 HTTP/1.1\r\n" + HOST + b"\r\n",
        b"GET /\xff\xfe HTTP/1.1\r\n" + HOST + b"\r\n",
        POST + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n12",
        POST + b"Transfer-Encoding: chunked\r\n\r\nx\r\n",
        POST + b"Content-Length: -1\r\n\r\n",
    ],
)
def test_what_is_not_http(fake_server: RunningServer, connect: Connect, nonsense: bytes) -> None:
    assert "not HTTP" in connect(fake_server, nonsense).refusal(400)


def test_requests_behind_one_another(fake_server: RunningServer, connect: Connect) -> None:
    """Pipelined, and a bad one behind good ones: those are answered."""
    client = connect(fake_server, HEALTH + POST + b"Content-Length: %d\r\n\r\n" % len(CHAT) + CHAT + HEALTH)
    assert [client.reply()[0] for _ in range(3)] == [200, 200, 200]
    client.send(HEALTH + b"nonsense\r\n\r\n")
    assert client.reply()[0] == 200
    client.ended()


def stream_behind_which_another_request_waits(server: RunningServer, gate: Gate, connect: Connect) -> Client:
    """The engine is inside the stream's first step."""
    body = json.dumps({**json.loads(CHAT), "stream": True}).encode()
    client = connect(server, POST + b"Content-Length: %d\r\n\r\n" % len(body) + body + HEALTH)
    gate.wait_inside()
    return client


def test_a_slow_reader_of_a_stream_may_have_sent_its_next_request(serve, gate: Gate, connect: Connect) -> None:
    server = serve(engine=GATED, model=gate.path, parallel=1)
    gate.accept()
    server.ready()
    client = stream_behind_which_another_request_waits(server, gate, connect)
    assert client.reply()[0] == 200
    (protocol,) = server.server._http.server_state.connections

    async def call(what: Callable[[], None]) -> None:
        what()

    server.run(call(protocol.pause_writing))
    gate.open()
    other = connect(server, POST + b"Content-Length: %d\r\n\r\n" % len(CHAT) + CHAT)
    assert other.reply()[0] == 200  # by now all of the stream has come from the engine
    server.run(call(protocol.resume_writing))
    while client.file.readline() != b"0\r\n":
        pass
    assert client.file.readline() == b"\r\n"
    assert client.reply()[0] == 200


def test_who_leaves_leaves_its_stream_and_the_requests_behind_it(serve, gate: Gate, connect: Connect) -> None:
    server = serve(engine=GATED, model=gate.path)
    gate.accept()
    server.ready()
    client = stream_behind_which_another_request_waits(server, gate, connect)
    client.close()
    assert "client=left" in server.log_line()
    gate.open()


# The body


def chunked(*parts: bytes) -> bytes:
    return b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (*parts, b""))


def test_a_chunked_body(fake_server: RunningServer, connect: Connect) -> None:
    """With extensions and a trailer, which is no header: the key must come before."""
    body = b";".join(b"%x" % len(CHAT) for _ in range(2)) + b"\r\n" + CHAT + b"\r\n0\r\nHost: evil.example\r\n\r\n"
    client = connect(fake_server, POST + b"Transfer-Encoding: chunked\r\n\r\n" + body + HEALTH)
    assert [client.reply()[0] for _ in range(2)] == [200, 200]


def test_trailers_without_an_end(fake_server: RunningServer, connect: Connect) -> None:
    sent = POST + b"Transfer-Encoding: chunked\r\n\r\n0\r\n" + b"X: a\r\n" * 20_000
    connect(fake_server, sent).refusal(431)


def test_a_body_beyond_the_limit(serve, connect: Connect) -> None:
    """Whoever tells its length hears it before; whoever does not, as soon as it is too much."""
    server = serve(max_body=1).ready()
    assert "larger than 1 MiB" in connect(server, POST + b"Content-Length: 1048577\r\n\r\n{").refusal(413)
    endless = POST + b"Transfer-Encoding: chunked\r\n\r\n" + (b"10000\r\n" + b" " * 2**16 + b"\r\n") * 17
    assert "--max-body" in connect(server, endless).refusal(413)
    fits = CHAT + b" " * (2**20 - len(CHAT))
    assert connect(server, POST + b"Content-Length: 1048576\r\n\r\n" + fits).reply()[0] == 200
    assert connect(server, POST + b"Transfer-Encoding: chunked\r\n\r\n" + chunked(fits)).reply()[0] == 200


@pytest.mark.parametrize("more", [b"", LAST])
@pytest.mark.parametrize(
    ("request_line", "status"),
    [
        (b"POST /v1/chat/completions HTTP/1.1", 401),
        (b"POST /v1/chat/completions HTTP/1.0", 401),
        (b"POST /v1/nowhere HTTP/1.1\r\nAuthorization: Bearer key", 404),
        (b"POST /v1/models HTTP/1.1\r\nAuthorization: Bearer key", 405),
        (b"POST /v1/models HTTP/1.1\r\nHost: evil.example", 403),
        (b"POST /v1/completions HTTP/1.1\r\nAuthorization: Bearer key", 413),
    ],
)
def test_the_answer_before_the_body(serve, connect: Connect, request_line: bytes, status: int, more: bytes) -> None:
    """A client that sends all first gets it all the same, no reset, however large the body is."""
    server = serve(api_key="key", max_body=1 if status == 413 else 32)
    client = connect(server, request_line + b"\r\n" + more + b"Content-Length: 20000000\r\n\r\n")
    client.send(b" " * 20_000_000)
    client.refusal(status)


def test_the_answer_instead_of_the_body(serve, connect: Connect) -> None:
    server = serve(api_key="key").ready()
    client = connect(server, POST + b"Content-Length: 1000\r\nExpect: 100-continue\r\n\r\n")
    client.refusal(401)
    told = connect(server, POST + b"Authorization: Bearer key\r\nContent-Length: 1\r\nExpect: 100-continue\r\n\r\n")
    assert told.file.readline() == b"HTTP/1.1 100 Continue\r\n"


def test_another_protocol_is_offered(fake_server: RunningServer, connect: Connect) -> None:
    """As Java's client does with every request. The body is no next request."""
    offer = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n"
    whole = POST + offer + b"Content-Length: %d\r\n\r\n" % len(CHAT) + CHAT
    client = connect(fake_server, whole + HEALTH.replace(HOST, HOST + offer) + HEALTH)
    assert [client.reply()[0] for _ in range(3)] == [200, 200, 200]
    for byte in whole:
        client.send(bytes([byte]))
    assert client.reply()[0] == 200
    connect(fake_server, POST + offer + b"Transfer-Encoding: chunked\r\n\r\n" + chunked(CHAT)).refusal(400)


# Time


@pytest.mark.parametrize("before", [b"", HEALTH])
def test_half_a_head(serve, connect: Connect, before: bytes) -> None:
    server = serve().ready()
    clients = [connect(server, before + half) for half in (b"GET /hea", HEALTH[:-1])]
    read_by(server, connect)
    limit(server, head=0.0)
    for client in clients:
        if before:
            client.reply()
        assert "head of the request did not come in time" in client.refusal(408)


def test_a_connection_without_a_request(serve, connect: Connect) -> None:
    server = serve().ready()
    client = connect(server)
    limit(server, head=0.0)
    client.ended()


@pytest.mark.parametrize("kind", [b"Content-Length: 100", b"Transfer-Encoding: chunked"])
def test_half_a_body(serve, connect: Connect, kind: bytes) -> None:
    """The log says why, and that its client has left, as far as the request knows."""
    server = serve().ready()
    client = connect(server, POST + kind + b"\r\n\r\n")
    limit(server, silence=0.0)
    assert "body of the request did not come in time" in client.refusal(408)
    assert "error 408: The body of the request did not come in time" in server.log_line()
    assert server.log_line().endswith("left")


def test_a_body_that_trickles(serve, connect: Connect) -> None:
    """Silent it never is, but too slow."""
    server = serve().ready()
    limit(server, silence=2.0, rate=10**9)
    client = connect(server, POST + b"Content-Length: 1000000\r\n\r\n")
    poll = client.socket.dup()
    poll.settimeout(0.05)
    while True:
        client.send(b" ")
        try:
            if poll.recv(1, socket.MSG_PEEK):
                break
        except TimeoutError:
            pass
    poll.close()
    assert "too slowly" in client.refusal(408)


def test_a_refused_body_that_does_not_come(serve, connect: Connect) -> None:
    """The client keeps its connection; we do not."""
    server = serve(api_key="key").ready()
    client = connect(server, POST + b"Content-Length: 1000\r\n\r\n")
    assert client.reply()[0] == 401
    client.ended()  # it is told so
    limit(server, rest=0.0)
    while len(server.server.connections):
        connect(server, HEALTH.replace(HOST, HOST + LAST)).reply()


def test_who_waits_for_an_answer_may_wait(serve, gate: Gate, connect: Connect) -> None:
    server = serve(engine=GATED, model=gate.path)
    gate.accept()
    server.ready()
    limit(server, head=0.0, silence=0.0, rest=0.0)
    client = connect(server, POST + b"Content-Length: %d\r\n\r\n" % len(CHAT) + CHAT)
    gate.wait_inside()
    other = connect(server, HEALTH)  # by the time that it is idle, the other had its chance to be late
    assert other.reply()[0] == 200
    gate.open()
    assert client.reply()[0] == 200


# How many


def test_the_longest_idle_gives_way(serve, connect: Connect) -> None:
    server = serve().ready()
    limit(server, most=3)
    idle = [connect(server, HEALTH) for _ in range(2)]
    assert [client.reply()[0] for client in idle] == [200, 200]
    half = connect(server, b"GET /")
    assert connect(server, HEALTH).reply()[0] == 200
    idle[0].ended()
    idle[1].send(HEALTH)
    assert idle[1].reply()[0] == 200
    half.send(HEALTH[5:])
    assert half.reply()[0] == 200


def test_half_heads_keep_nobody_out(serve, connect: Connect) -> None:
    server = serve().ready()
    limit(server, most=10)
    halves = [connect(server, b"GET /") for _ in range(100)]
    assert connect(server, HEALTH).reply()[0] == 200
    assert len(server.server.connections) <= 10
    halves[0].socket.settimeout(CEILING)
    try:
        halves[0].ended()
    except ConnectionResetError:
        pass


def test_who_waits_for_an_answer_never_gives_way(serve, gate: Gate, connect: Connect) -> None:
    server = serve(engine=GATED, model=gate.path)
    gate.accept()
    server.ready()
    client = connect(server, POST + b"Content-Length: %d\r\n\r\n" % len(CHAT) + CHAT)
    gate.wait_inside()
    limit(server, most=1)
    status, headers, body = connect(server, HEALTH).reply()
    assert (status, headers["retry-after"]) == (503, "1") and b"no connection left" in body
    gate.open()
    assert client.reply()[0] == 200


def test_few_descriptors(tmp_path) -> None:
    """Where the system allows no more, the server answers all the same, and starts an engine that died anew."""

    def few() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (200, 200))

    with (
        server_process("--engine", "nitro.engines.backends.fake:FakeRunner", preexec_fn=few) as server,
        ExitStack() as stack,
    ):
        url = server.wait_ready()
        port = int(url.rpartition(":")[2])
        for _ in range(220):
            stack.callback(Client(port, b"GET /").close)
        assert httpx.get(f"{url}/health", timeout=CEILING).status_code == 200
        os.kill(server.engine_pid(), signal.SIGKILL)
        until(lambda: re.search(r"\nnitro_engine_restarts_total\S* 1\.0\n", httpx.get(f"{url}/metrics").text))
        until(lambda: httpx.get(f"{url}/health").status_code == 200)
        reply = httpx.post(f"{url}/v1/chat/completions", content=CHAT, timeout=CEILING)
        assert reply.json()["choices"][0]["message"]["content"] == "?@"
