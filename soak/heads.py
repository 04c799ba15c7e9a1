"""Odd heads of requests. Each gives the bytes of a complete request, and whether it is valid HTTP, which needs a
reply."""

import random
from collections.abc import Callable

from bench.processes import HOST
from soak.connection import head, post

Random = random.Random
Made = tuple[bytes, bool]
PATHS = (
    *(
        "/",
        "/v1",
        "/v1/nothing",
        "//v1//chat///completions",
        "/health",
        "/healthz",
        "/metrics",
        "/v1/models",
        "/schema",
    ),
    *(
        "/v1/models/none",
        "/v1/models/../../etc",
        "/chat/completions",
        "/v1/chat/completions?a=b&a=%00",
        "/%2e%2e/%2e%2e",
    ),
    *(
        "/v1/chat/completions/",
        "/v1/%63hat/completions",
        "/%ff%fe",
        "/v1/embeddings",
        "/" + "a" * 4000,
        "/a;b",
        "/a%0d%0ab",
    ),
)
METHODS = ("GET", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "PROPFIND")
HOSTS = (
    "localhost",
    "a.example",
    "127.0.0.1:99999",
    "127.0.0.1:-1",
    "[::1]",
    "[::1",
    "127.0.0.1:a",
    "",
    "é",
    "a b",
    "[::1]:70000",
)
VALUES = ("", "a", "é", "\xff", "\t", "a" * 2000, "{{ 1 }}", "gzip", "identity", "0", "-1", "close", "null", "*/*")
NAMES = (
    *("Accept", "Authorization", "Origin", "Content-Type", "Content-Encoding", "Expect", "Connection", "X-Request-Id"),
    *(
        "Cookie",
        "Accept-Encoding",
        "Range",
        "Upgrade",
        "X-Forwarded-For",
        "Access-Control-Request-Method",
        "Te",
        "If-Match",
    ),
)


def _path(rng: Random, _: str, body: bytes) -> Made:
    return post(rng.choice(PATHS), body), True


def _method(rng: Random, path: str, body: bytes) -> Made:
    method = rng.choice(METHODS)
    if method == "HEAD" or rng.random() < 0.5:
        return head(rng.choice([path, *PATHS]), method=method), True
    return head(path, f"Content-Length: {len(body)}", method=method) + body, True


def _host(rng: Random, path: str, body: bytes) -> Made:
    first = f"POST {rng.choice([path, *PATHS])} HTTP/1.1\r\nHost: {rng.choice(HOSTS)}\r\n"
    return first.encode("latin-1") + b"Content-Length: %d\r\n\r\n" % len(body) + body, True


def _no_host(_: Random, path: str, body: bytes) -> Made:
    return f"POST {path} HTTP/1.1\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body, True


def _headers(rng: Random, path: str, body: bytes) -> Made:
    lines = [f"{rng.choice(NAMES)}: {rng.choice(VALUES)}" for _ in range(rng.randint(1, 6))]
    strict = not any("Upgrade" in line or "\xff" in line or "Te:" in line for line in lines)
    text = "\r\n".join([f"POST {path} HTTP/1.1", f"Host: {HOST}", f"Content-Length: {len(body)}", *lines, "", ""])
    return text.encode("latin-1") + body, strict


def _many(rng: Random, path: str, body: bytes) -> Made:
    """More headers than servers accept. They may refuse in their own way."""
    return post(path, body, *(f"X-{i}: a" for i in range(rng.choice([50, 200, 1000])))), False


def _long(rng: Random, path: str, body: bytes) -> Made:
    return post(path, body, "X-Long: " + "a" * rng.choice([4_000, 9_000, 70_000])), False


def _ten(rng: Random, path: str, body: bytes) -> Made:
    kept = rng.choice(["", "Connection: keep-alive\r\n"])
    return f"POST {path} HTTP/1.0\r\n{kept}Content-Length: {len(body)}\r\n\r\n".encode() + body, True


def _expecting(rng: Random, path: str, body: bytes) -> Made:
    return post(path, body, "Expect: 100-continue"), True


def _chunks(rng: Random, path: str, body: bytes) -> Made:
    size = rng.randint(1, 40)
    parts = [body[at : at + size] for at in range(0, len(body), size)]
    chunks = b"".join(b"%x%s\r\n%s\r\n" % (len(part), rng.choice([b"", b";a=b"]), part) for part in parts)
    return head(path, "Transfer-Encoding: chunked") + chunks + b"0\r\n\r\n", True


def _bad_chunks(rng: Random, path: str, body: bytes) -> Made:
    size = rng.choice([b"zz", b"-1", b"ffffffffffffffffffff", b"", b"5 5"])
    return head(path, "Transfer-Encoding: chunked") + size + b"\r\n" + body + b"\r\n0\r\n\r\n", False


def _bad_length(rng: Random, path: str, body: bytes) -> Made:
    length = rng.choice(["-1", "a", "1e3", "99999999999999999999999", "+5", "0x10", "1, 2", ""])
    return head(path, f"Content-Length: {length}") + body, False


def _two_lengths(rng: Random, path: str, body: bytes) -> Made:
    return head(path, f"Content-Length: {len(body)}", "Content-Length: 3") + body, False


def _both(rng: Random, path: str, body: bytes) -> Made:
    return head(path, f"Content-Length: {len(body)}", "Transfer-Encoding: chunked") + body, False


def _no_length(rng: Random, path: str, body: bytes) -> Made:
    """Without a length, so that the body is not part of the request."""
    return head(path) + body, False


def _noise(rng: Random, path: str, body: bytes) -> Made:
    start = rng.choice(
        [b"", b"GET / HTTP/9.9\r\n\r\n", b"\x16\x03\x01", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"\r\n" * 50]
    )
    return start + rng.randbytes(rng.randint(1, 200)) + b"\r\n\r\n", False


def _broken(rng: Random, path: str, body: bytes) -> Made:
    data = bytearray(post(path, body))
    data[rng.randrange(80)] = rng.randrange(256)
    return bytes(data), False


HEADS: dict[str, Callable[[Random, str, bytes], Made]] = {
    "a path": _path,
    "a method": _method,
    "a host": _host,
    "no host": _no_host,
    "odd headers": _headers,
    "many headers": _many,
    "a long header": _long,
    "HTTP/1.0": _ten,
    "expects to go on": _expecting,
    "chunks": _chunks,
    "bad chunks": _bad_chunks,
    "a bad length": _bad_length,
    "two lengths": _two_lengths,
    "a length and chunks": _both,
    "no length": _no_length,
    "noise": _noise,
    "a broken byte": _broken,
}
