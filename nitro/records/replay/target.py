"""The server that requests are sent to: where, with which key, and what of a request is its alone."""

import ssl
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import msgspec

from nitro.errors import RecordError
from nitro.records import form
from nitro.records.answers.draft import table
from nitro.records.form import Exchange
from nitro.records.protocols import PATHS
from nitro.system import http_clients
from nitro.system.http_clients import SYSTEM, Trust


@dataclass(frozen=True)
class Target:
    """`root`: the URL in front of the paths; of a Unix socket, what its requests say. `model`: the name to ask for in
    place of the recorded one. `unix`: the socket's file. `tls`: what to connect with, where it is https."""

    root: str
    api_key: str | None = None
    model: str | None = None
    unix: str | None = None
    tls: ssl.SSLContext | None = None

    @property
    def place(self) -> str:
        """Where it is, for people."""
        return f"{http_clients.UNIX}{self.unix}" if self.unix else self.root

    def url(self, exchange: Exchange) -> str:
        """Where a request goes."""
        return self.root + exchange.path + (f"?{exchange.query}" if exchange.query else "")

    def headers(self, exchange: Exchange) -> list[tuple[bytes, bytes]]:
        """Its head, with the key in the header that its protocol has for it."""
        headers = {"content-type": "application/json", **exchange.headers}
        if self.api_key:
            name = PATHS[exchange.path].key_header
            headers[name] = f"Bearer {self.api_key}" if name == "authorization" else self.api_key
        return [(name.encode(), value.encode(errors="surrogateescape")) for name, value in headers.items()]

    def body(self, exchange: Exchange) -> bytes:
        """Its body. What the recording server remembered for it stands in it: no other server can know that."""
        if not exchange.is_json:
            return (exchange.request_text or "").encode()
        if self.model is None and not exchange.remembers:
            return bytes(exchange.request)
        body = form.value(exchange.request)
        if not isinstance(body, dict):
            return bytes(exchange.request)
        if self.model is not None:
            body["model"] = self.model
        if exchange.remembers:
            _inline(body, table(form.value(exchange.history)))
        return msgspec.json.encode(body)


def parse(url: str, api_key: str | None, model: str | None, trust: Trust = SYSTEM) -> Target:
    """The server behind a base URL as clients are given it; /v1 may be left out. Or unix:/path. Raises RecordError."""
    if (unix := http_clients.unix_path(url)) is not None:
        return Target("http://localhost", api_key, model, unix)
    full = url if "://" in url else f"http://{url}"
    try:
        parts = urlsplit(full)
        valid = parts.scheme in ("http", "https") and parts.hostname and (parts.port or 1)
    except ValueError:
        valid = False
    if not valid:
        raise RecordError(f"{url} is not the URL of a server; it looks like http://127.0.0.1:3928/v1")
    try:
        tls = trust.context() if parts.scheme == "https" else None
    except (OSError, ValueError) as error:
        raise RecordError(f"{trust.own or trust.authorities}: {getattr(error, 'strerror', None) or error}.") from None
    return Target(full.rstrip("/").removesuffix("/v1"), api_key, model, tls=tls)


def _inline(body: dict[str, Any], history: dict[str, Any]) -> None:
    """A Response that goes on with another one becomes one that brings all items."""
    body.pop("previous_response_id", None)
    body.pop("conversation", None)
    own = body.get("input")
    items = [{"role": "user", "content": own}] if isinstance(own, str) else own if isinstance(own, list) else []
    referenced = table(history.get("referenced"))
    items = [referenced.get(str(item.get("id")), item) if isinstance(item, dict) else item for item in items]
    body["input"] = [*history.get("items", []), *items]
