"""Where requests go: a URL taken apart, with what every request carries."""

import json
import ssl
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from nitro.errors import BenchError
from nitro.system import http_clients
from nitro.system.http_clients import SYSTEM, Trust

PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True)
class BenchEndpoint:
    """A server that speaks the OpenAI API. `path`: the base of its routes, without a slash at the end."""

    host: str
    port: int
    path: str = "/v1"
    tls: bool = False
    api_key: str | None = None
    fields: dict[str, Any] = field(default_factory=dict)  # of every request: the model, how to ban the end of an answer
    refused: frozenset[str] = frozenset()  # parameters that the server does not know
    source: str | None = None  # the address to come from; None: as the system has it
    unix: str | None = None  # the Unix socket that stands for host and port
    trust: Trust = SYSTEM

    def chat_body(self, messages: list[dict[str, Any]], max_tokens: int, **params: Any) -> bytes:
        """The JSON body of a streamed chat request. It is greedy, so that the same body gets the same tokens, unless
        `params` say otherwise."""
        body: dict[str, Any] = {
            "messages": messages,
            "temperature": 0,
            "max_tokens": max_tokens,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        body |= {**self.fields, **params}
        return json.dumps({name: value for name, value in body.items() if name not in self.refused}).encode()

    def http_request(self, body: bytes) -> bytes:
        """The bytes of the HTTP request that posts this body."""
        lines = [f"POST {self.path}/chat/completions HTTP/1.1", f"Host: {self.authority}"]
        lines += ["Content-Type: application/json", f"Content-Length: {len(body)}", "Connection: close"]
        if self.api_key:
            lines.append(f"Authorization: Bearer {self.api_key}")
        return "\r\n".join([*lines, "", ""]).encode(errors="surrogateescape") + body

    @property
    def ssl_context(self) -> ssl.SSLContext | None:
        """What to connect with; None for plain HTTP."""
        return self.trust.context() if self.tls else None

    @property
    def place(self) -> str:
        """Where it is, for people."""
        return self.unix or f"{self.host}:{self.port}"

    @property
    def authority(self) -> str:
        """Host and port, as a URL has them."""
        if self.unix:
            return self.host
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == PORTS["https" if self.tls else "http"] else f"{host}:{self.port}"


def parse(url: str, api_key: str | None, fields: dict[str, Any], trust: Trust = SYSTEM) -> BenchEndpoint:
    """The endpoint behind the base URL that clients of the API are configured with; /v1 may be left out. A server that
    listens on a Unix socket is unix:/path.

    Raises BenchError where it is no such URL, and where `trust` names files that hold no certificates.
    """
    if (unix := http_clients.unix_path(url)) is not None:
        return BenchEndpoint("localhost", 0, api_key=api_key, fields=fields, unix=unix)
    parts = urlsplit(url if "://" in url else f"http://{url}")
    try:
        port = parts.port or PORTS[parts.scheme]
    except (KeyError, ValueError):
        port = 0
    if not port or not parts.hostname:
        raise BenchError(f"{url} is not the URL of a server; it looks like http://127.0.0.1:3928/v1")
    path = parts.path.rstrip("/") or "/v1"
    tls = parts.scheme == "https"
    if tls:
        try:
            trust.context()
        except (OSError, ValueError) as error:
            file = trust.own or trust.authorities
            raise BenchError(f"{file}: {getattr(error, 'strerror', None) or error}.") from None
    return BenchEndpoint(parts.hostname, port, path, tls=tls, api_key=api_key, fields=fields, trust=trust)
