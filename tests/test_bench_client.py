"""The client of `nitro bench`: bodies of every length and form, and servers that cut, refuse or fall silent."""

import asyncio
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace

import pytest

from nitro.bench import client
from nitro.bench.client import MeasuredAnswer
from nitro.bench.endpoint import BenchEndpoint
from nitro.errors import BenchError

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"


async def read(stream: bytes, head: bytes = HEAD, chunked: bool = True) -> MeasuredAnswer:
    """What the client makes of a body, in chunks cut where no frame ends, or to the connection's end."""
    reader = asyncio.StreamReader()
    if chunked:
        cuts = [stream[i : i + 7] for i in range(0, len(stream), 7)]
        head += b"Transfer-Encoding: chunked\r\n"
        stream = b"".join(b"%x\r\n%b\r\n" % (len(cut), cut) for cut in [*cuts, b""])
    reader.feed_data(head + b"\r\n" + stream)
    reader.feed_eof()
    return await client.read_answer(reader, began=time.perf_counter(), keep_text=True)


def frames(*parsed: dict) -> bytes:
    made = [b"data: " + json.dumps(each, separators=(",", ":")).encode() + b"\n\n" for each in parsed]
    return b"".join([*made, b"data: [DONE]\n\n"])


def delta(**fields: str) -> dict:
    return {"choices": [{"index": 0, "delta": fields}], "usage": None}


PARTS = [delta(role="assistant", content=""), delta(content="a"), delta(content="bc"), delta()]
USAGE = {"prompt_tokens": 20, "completion_tokens": 9, "prompt_tokens_details": {"cached_tokens": 3}}


@pytest.mark.parametrize("chunked", [True, False])
@pytest.mark.parametrize("line", [b"\n", b"\r\n"])
def test_tokens_are_counted_from_usage(chunked: bool, line: bytes):
    predicted = {"completion_tokens_details": {"accepted_prediction_tokens": 5, "rejected_prediction_tokens": 2}}
    stream = frames(*PARTS, {"choices": [], "usage": USAGE | predicted}).replace(b"\n", line)
    answer = asyncio.run(read(b": keepalive\n\n" + stream, chunked=chunked))
    assert (answer.prompt_tokens, answer.cached_tokens, answer.tokens, answer.text) == (20, 3, 9, "abc")
    assert (answer.accepted, answer.rejected) == (5, 2)
    assert 0 < answer.ttft <= answer.duration


@pytest.mark.parametrize(
    ("timings", "drafts"),
    [({"draft_n": 12, "draft_n_accepted": 7}, (12, 7)), ({}, (0, 0)), ([1.5], (0, 0)), ({"draft_n": None}, (0, 0))],
)
def test_drafts_are_counted_from_timings_of_whatever_form(timings: object, drafts: tuple[int, int]):
    answer = asyncio.run(read(frames(*PARTS, {"choices": [], "usage": USAGE, "timings": timings})))
    assert (answer.drafted, answer.drafts_accepted) == drafts


def test_where_no_usage_is_told_pieces_are_counted():
    assert asyncio.run(read(frames(*PARTS))).tokens == 2


@pytest.mark.parametrize(
    ("stream", "head", "said"),
    [
        (frames(delta(role="assistant")), HEAD, "no text"),
        (frames(delta(content="a"), {"error": {"message": "it broke"}}), HEAD, "it broke"),
        (b'{"error": {"message": "no such\\nkey"}}', b"HTTP/1.1 401 Unauthorized\r\n", "401: no such key"),
        (b"<html>", b"HTTP/1.0 502 Bad Gateway\r\n", "502: <html>"),
    ],
)
@pytest.mark.parametrize("chunked", [True, False])
def test_an_answer_that_is_none_is_told_on_one_line(stream: bytes, head: bytes, said: str, chunked: bool):
    with pytest.raises(BenchError, match=said) as raised:
        asyncio.run(read(stream, head, chunked))
    assert "\n" not in str(raised.value)


# Over a socket


STREAM = frames(*PARTS, {"choices": [], "usage": USAGE})


@contextmanager
def server(respond: Callable[[socket.socket], None]) -> Iterator[BenchEndpoint]:
    """Calls `respond` once a request has arrived, and keeps the connection open until the client closes it."""

    def serve() -> None:
        connection, _ = listener.accept()
        with connection:
            request = b""
            while not request.endswith(b"{}"):
                request += connection.recv(65536)
            respond(connection)
            connection.recv(1)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        yield BenchEndpoint("127.0.0.1", listener.getsockname()[1])
        thread.join(10)
        assert not thread.is_alive(), "the client has not closed its connection"


def ask(respond: Callable[[socket.socket], None]) -> MeasuredAnswer:
    with server(respond) as endpoint:
        return client.run(asyncio.wait_for(client.chat(endpoint, b"{}", keep_text=True), 10))


def test_a_chunk_may_have_extensions() -> None:
    def respond(connection: socket.socket) -> None:
        connection.sendall(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
        for byte in range(0, len(STREAM), 50):
            chunk = STREAM[byte : byte + 50]
            connection.sendall(b"%x;name=value;flag\r\n%b\r\n" % (len(chunk), chunk))
        connection.sendall(b"0\r\nTrailer: x\r\n\r\n")

    answer = ask(respond)
    assert (answer.text, answer.tokens) == ("abc", 9)


def test_a_body_of_known_length_ends_though_the_connection_stays_open() -> None:
    answer = ask(lambda connection: connection.sendall(HEAD + b"Content-Length: %d\r\n\r\n" % len(STREAM) + STREAM))
    assert (answer.text, answer.tokens) == ("abc", 9)


def test_a_refusal_of_known_length_ends_though_the_connection_stays_open() -> None:
    body = b'{"error": {"message": "no such model"}}'
    with pytest.raises(BenchError, match="404: no such model"):
        ask(lambda c: c.sendall(b"HTTP/1.1 404 Not Found\r\nContent-Length: %d\r\n\r\n" % len(body) + body))


def test_an_interim_response_is_passed_over() -> None:
    def respond(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        connection.sendall(HEAD + b"Content-Length: %d\r\n\r\n" % len(STREAM) + STREAM)

    assert ask(respond).text == "abc"


@pytest.mark.parametrize("sent", [b"", HEAD, HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\ndata:\r\n"])
def test_a_server_that_goes_silent_is_given_up(sent: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "SILENCE_TIMEOUT", 0.3)
    with pytest.raises(BenchError, match=r"sent nothing for 0\.3 s"):
        ask(lambda connection: connection.sendall(sent))


def test_a_server_that_is_slow_is_not_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each byte sets the limit back. The clock is ours."""
    monkeypatch.setattr(client, "SILENCE_TIMEOUT", 10.0)
    clock = SimpleNamespace(now=0.0, perf_counter=lambda: clock.now)
    monkeypatch.setattr(client, "time", clock)

    async def watch() -> None:
        reader = asyncio.StreamReader()
        with client._SilenceLimit(reader) as limit:
            for clock.now in (9.0, 18.0, 27.0):
                limit._watch()
                assert reader.exception() is None
                limit.last_heard = clock.now
            clock.now = 37.0
            limit._watch()
            assert isinstance(reader.exception(), BenchError)

    asyncio.run(watch())


@pytest.mark.parametrize(
    "sent",
    [
        HEAD + b"Content-Length: 500\r\n\r\n" + STREAM,
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\ndata:\r\n",
        HEAD,
        b"",
        b"SSH-2.0-OpenSSH_9.6\r\n",
    ],
)
def test_a_response_that_is_cut_or_none_is_an_error(sent: bytes) -> None:
    def respond(connection: socket.socket) -> None:
        connection.sendall(sent)
        connection.shutdown(socket.SHUT_WR)

    with pytest.raises(BenchError, match="does not answer as this API does"):
        ask(respond)
