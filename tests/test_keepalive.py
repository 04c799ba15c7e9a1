"""A stream that has nothing to say yet says that it lives: comments, which clients skip."""

import json

import pytest
from runners import Gate
from running import raw_request

from nitro.service import delivery

GATED = "runners:GatedRunner"
BODY = {"messages": [{"role": "user", "content": "Hello"}], "stream": True, "max_tokens": 2}


def read_until(sock, mark: bytes) -> bytes:
    data = b""
    while mark not in data:
        part = sock.recv(4096)
        assert part, data
        data += part
    return data


def test_comments_while_nothing_is_computed(serve, gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    """In prefill and between tokens, for as long as it lasts; the stream is whole."""
    monkeypatch.setattr(delivery, "SILENCE", 0.01)
    server = serve(engine=GATED, model=gate.path)
    gate.accept()
    server.ready()
    sock = raw_request(server.url, json.dumps(BODY).encode())
    gate.wait_inside()
    assert b'"role"' in read_until(sock, b": keepalive\n\n")
    for _ in range(3):
        read_until(sock, b": keepalive\n\n")
    gate.let_go()
    gate.wait_inside()
    assert b'"?"' in read_until(sock, b'"?"')
    read_until(sock, b": keepalive\n\n")
    gate.open()
    rest = read_until(sock, b"[DONE]")
    assert b'"@"' in rest
    sock.close()


def test_none_while_tokens_come(fake_server) -> None:
    sock = raw_request(fake_server.url, json.dumps({**BODY, "max_tokens": 60}).encode())
    assert b"keepalive" not in read_until(sock, b"[DONE]")
    sock.close()


def test_the_sdk_skips_them(serve, gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delivery, "SILENCE", 0.01)
    server = serve(engine=GATED, model=gate.path)
    gate.accept()
    server.ready()
    stream = server.client().chat.completions.create(model="", **BODY)
    gate.wait_inside()
    assert next(stream).choices[0].delta.role == "assistant"
    gate.open()
    assert "".join(chunk.choices[0].delta.content or "" for chunk in stream) == "?@"
