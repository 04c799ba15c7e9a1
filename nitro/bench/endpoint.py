"""Where requests go: a URL taken apart, with what every request carries."""

import json
import ssl
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from nitro.errors import BenchError

PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True)
class Endpoint:
    host: str
    port: int
    path: str = "/v1"
    tls: bool = False
    key: str | None = None
    fields: dict[str, Any] = field(default_factory=dict)  # of every request: the model, how to ban the end of an answer

    def ask(self, messages: list[dict[str, Any]], tokens: int, **more: Any) -> bytes:
        """The body of a request for at most so many tokens, the same ones each time."""
        asked = {"temperature": 0, "max_tokens": tokens, "stream": True, "stream_options": {"include_usage": True}}
        return json.dumps({"messages": messages, **asked, **self.fields, **more}).encode()

    def request(self, body: bytes) -> bytes:
        """The HTTP request with that body."""
        lines = [f"POST {self.path}/chat/completions HTTP/1.1", f"Host: {self._authority}"]
        lines += ["Content-Type: application/json", f"Content-Length: {len(body)}", "Connection: close"]
        if self.key:
            lines.append(f"Authorization: Bearer {self.key}")
        return "\r\n".join([*lines, "", ""]).encode(errors="surrogateescape") + body

    @property
    def security(self) -> ssl.SSLContext | None:
        return ssl.create_default_context() if self.tls else None

    @property
    def _authority(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == PORTS["https" if self.tls else "http"] else f"{host}:{self.port}"


def parse(url: str, key: str | None, fields: dict[str, Any]) -> Endpoint:
    """`url`: the base that clients of the API are given; /v1 may be left out. Raises BenchError."""
    parts = urlsplit(url if "://" in url else f"http://{url}")
    try:
        port = parts.port or PORTS[parts.scheme]
    except (KeyError, ValueError):
        port = 0
    if not port or not parts.hostname:
        raise BenchError(f"{url} is no URL of a server; it looks like http://127.0.0.1:3928/v1")
    path = parts.path.rstrip("/") or "/v1"
    return Endpoint(parts.hostname, port, path, parts.scheme == "https", key, fields)
