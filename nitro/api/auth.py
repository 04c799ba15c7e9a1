"""Who may call: checks of the API key, of the `Host` header, and of the web page that a browser calls from (`Origin`).

Without the last two, any page that a user has open could use the model: with a form or script (`Origin`), or through a
host name of its own that points to this machine (`Host`: DNS rebinding).
"""

import hmac
import ipaddress
import re
import shlex
from collections.abc import Mapping

from nitro.api import name_patterns, page, rate_headers, user_routes
from nitro.errors import ApiError
from nitro.keys import refusals
from nitro.keys.account import Account
from nitro.keys.ring import KeyRing

OPEN_PATHS = ("/health", "/healthz")
Headers = Mapping[bytes, bytes]

_HOST = re.compile(r"(\[[^\[\]/@\s]*\]|[^\[\]/?#@:\s]+)(:(?P<port>[0-9]{0,5}))?", re.ASCII)
_PREFLIGHT = {
    b"access-control-allow-methods": b"GET, POST, DELETE, OPTIONS",
    b"access-control-max-age": b"86400",
    b"access-control-allow-private-network": b"true",
}
_EXPOSED = ", ".join(
    (
        "x-request-id",
        "request-id",
        "x-nitro-ignored",
        "x-nitro-prefix",
        "x-should-retry",
        "retry-after",
        *rate_headers.NAMES,
    )
).encode()


class Guard:
    """Decides about each request. `origins` and `hosts` are patterns (`name_patterns`), allowed besides the local ones.
    `api_key`: the server's own; `keys`: those of a file.

    Header names are in lower case. Raises ValueError for a pattern that can match nothing.
    """

    def __init__(
        self,
        api_key: str | None = None,
        origins: tuple[str, ...] = (),
        hosts: tuple[str, ...] = (),
        keys: KeyRing | None = None,
    ):
        self._keys = keys
        self._api_key = None if api_key is None else api_key.encode(errors="surrogateescape")  # as clients send it
        self._origins = name_patterns.origins((*name_patterns.LOCAL, *origins))
        self._hosts = name_patterns.hosts(("localhost", *hosts))

    @property
    def has_key(self) -> bool:
        """Whether clients must have a key."""
        return self._api_key is not None or self._keys is not None

    def check(self, method: str, path: str, headers: Headers, scheme: str | None = None) -> Account | None:
        """The account of the key that was sent, where it is one of a file. `scheme`: by which the client called; None:
        http or https. A preflight (OPTIONS) needs no key: it cannot carry one. Raises ApiError 400, 401 or 403."""
        self.check_host(headers.get(b"host", b""))
        host = headers.get(b"host", b"").decode("latin-1")
        origin = headers.get(b"origin", b"").decode("latin-1")
        if origin and not self._knows_origin(origin, host, scheme):
            how = (
                f"; start the server with --allow-origin {shlex.quote(origin)}"
                if name_patterns.is_origin(origin)
                else ""
            )
            raise ApiError(403, f"Origin {origin[:300]!r} is not allowed{how}.")
        needs_key = method != "OPTIONS" and path not in OPEN_PATHS and not page.is_asked(path, headers)
        return self._account(method, path, headers) if needs_key and self.has_key else None

    def check_host(self, header: bytes) -> None:
        """A `Host`, or what a proxy says that it was. Raises ApiError 400 or 403."""
        host = header.decode("latin-1")
        if host and not _is_host(host):
            raise ApiError(400, f"The header 'Host' is {host[:300]!r}, which is no name with a port or without.")
        if host and not self._knows_host(host):
            name = shlex.quote(_name(host))  # somebody may copy it into a shell
            raise ApiError(403, f"Host {host!r} is not allowed; start the server with --allow-host {name}.")

    def cors(self, method: str, headers: Headers, scheme: str | None = None) -> dict[bytes, bytes]:
        """The headers that make a browser show the response to the page that called."""
        origin = headers.get(b"origin")
        host = headers.get(b"host", b"")
        if origin is None or not self._knows_origin(origin.decode("latin-1"), host.decode("latin-1"), scheme):
            return {}
        allowed = {b"access-control-allow-origin": origin, b"vary": b"Origin"}
        if method != "OPTIONS":
            return {**allowed, b"access-control-expose-headers": _EXPOSED}
        requested = headers.get(b"access-control-request-headers", b"authorization, content-type")
        return {**allowed, **_PREFLIGHT, b"access-control-allow-headers": requested}

    def _knows_host(self, host: str) -> bool:
        name = _name(host)
        return _is_address(name) or self._hosts.fullmatch(name) is not None

    def _knows_origin(self, origin: str, host: str, scheme: str | None) -> bool:
        """Any origin is allowed if there is a key: a page that does not have it gets nothing. Our own page's is that
        of the `Host`, which is known by then."""
        if self.has_key or self._origins.fullmatch(origin):
            return True
        schemes = (scheme,) if scheme else ("http", "https")
        return bool(host) and origin.lower() in [f"{each}://{host.lower()}" for each in schemes]

    def _account(self, method: str, path: str, headers: Headers) -> Account | None:
        """None: it is the server's own key. The comparison takes the same time for every wrong key. Raises ApiError."""
        sent = _sent(headers)
        is_own = self._api_key is not None and any([hmac.compare_digest(each, self._api_key) for each in sent])
        account = self._keys.find(sent) if self._keys else None
        if is_own:
            return None
        if account is None:
            message = "Missing or incorrect API key: send it as 'Authorization: Bearer KEY', or 'x-api-key: KEY'."
            raise ApiError(401, message, code="invalid_api_key")
        if account.has_expired:
            raise refusals.expired(account.name)
        path = path.rstrip("/") or "/"
        if not (account.key.has_route(method, path) and (account.key.admin or user_routes.has(method, path))):
            raise refusals.no_route(account.name, f"{method} {path}")
        return account


def _sent(headers: Headers) -> list[bytes]:
    """OpenAI's clients send the key in one header, Anthropic's in the other or in both."""
    scheme, _, credentials = headers.get(b"authorization", b"").partition(b" ")
    sent = [credentials] if scheme.lower() == b"bearer" else []
    sent += [headers[b"x-api-key"]] if b"x-api-key" in headers else []
    return [each.strip() for each in sent]


def _is_host(host: str) -> bool:
    match = _HOST.fullmatch(host)
    return match is not None and int(match["port"] or 0) <= 65535


def _name(host: str) -> str:
    """The Host header without the port, and an IPv6 address without its brackets."""
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.rpartition(":")[0] if ":" in host else host


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
