"""Who called, and how: behind proxies that are trusted, what they say about it (`--trust-proxy`).

`X-Forwarded-For`, `-Proto`, `-Host` and `-Prefix`, and `Forwarded` (RFC 7239). Each proxy adds the address that
called it at the right. So the client is the right-most address that is no trusted proxy's: it may have written itself
what stands left of its own. Headers of anybody else say nothing.

A proxy writes one of the two kinds, and may let the other one pass as its client wrote it. Where they say different
things, the request is refused.
"""

import ipaddress
import re
from collections.abc import Iterator, Sequence

from litestar.types import Scope
from msgspec import Struct

from nitro.errors import ApiError

UNIX = "unix"  # stands for who calls over the server's Unix socket
UNKNOWN = "unknown"  # a client whose address a proxy does not tell
PREFIX = re.compile(r"(/[A-Za-z0-9._~-]+)+", re.ASCII)  # of paths
SCHEMES = ("http", "https")
MAX_HOST = 300  # characters

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
_SLASHES = re.compile("/{2,}")
# One parameter of an element, and what follows it: RFC 7239, section 4.
_PAIR = re.compile(r"""\s*([\w!#$%&'*+.^`|~-]+)=(?:"((?:[^"\\]|\\.)*)"|([^\s",;]*))\s*([;,]|$)""")


class Caller(Struct, frozen=True):
    """Of one request. `client`: address and port, as ASGI has them. `scheme`: None: not known, since a proxy that is
    not trusted may have taken TLS off. `host`: as a trusted proxy was called. `prefix`: of the paths, "" or as in
    "/nitro". `fault`: why the request is refused."""

    client: tuple[str, int] | None
    scheme: str | None = None
    host: bytes | None = None
    prefix: str = ""
    fault: str | None = None

    def check(self) -> None:
        """Raises ApiError 400."""
        if self.fault:
            raise ApiError(400, self.fault)

    def inner(self, path: str) -> str:
        """A path without the prefix, which a proxy may have taken off already."""
        if self.prefix:
            path = _SLASHES.sub("/", f"/{path}")
            if path == self.prefix or path.startswith(f"{self.prefix}/"):
                return path[len(self.prefix) :]
        return path

    def is_bare_prefix(self, path: str) -> bool:
        """Whether this is the prefix without the slash, from which the page could not name its files."""
        return bool(self.prefix) and _SLASHES.sub("/", f"/{path}") == self.prefix


class Proxies:
    """The proxies that are trusted, and the prefix that clients put before every path."""

    def __init__(self, trusted: Sequence[str] = (), prefix: str | None = None):
        """`trusted`: addresses, networks and UNIX, also several in one with commas between. Raises ValueError."""
        self._networks: list[Network] = []
        self._unix = False
        for name in (part.strip() for each in trusted for part in each.split(",")):
            if name == UNIX:
                self._unix = True
            else:
                self._networks.append(_network(name))
        self._prefix = _prefix(prefix or "")

    def caller(self, scope: Scope) -> Caller:
        """Who sent a request."""
        direct = Caller(scope["client"], "https" if scope["scheme"] == "https" else None, prefix=self._prefix)
        if not (self._networks or self._unix) or not self._trusts_peer(scope):
            return direct
        told = _Told(scope)
        try:
            return self._told(direct, told)
        except _Contradiction as error:
            return Caller(direct.client, prefix=self._prefix, fault=str(error))

    def _told(self, direct: Caller, told: "_Told") -> Caller:
        """Raises _Contradiction."""
        elements = list(_elements(told.joined(b"forwarded")))
        by = self._first_untrusted([element.get("for", UNKNOWN) for element in elements])
        element = elements[by] if by is not None else {}
        names_clients = any("for" in each for each in elements)
        hops = told.listed(b"x-forwarded-for")
        place = self._first_untrusted(hops)
        hop = hops[place] if place is not None else None
        client = _same("client", hop, element.get("for", UNKNOWN) if names_clients else None)
        scheme = _same("scheme", told.at(b"x-forwarded-proto", place, hops), element.get("proto"))
        host = _same("host", told.at(b"x-forwarded-host", place, hops), element.get("host"))
        scheme = (scheme or "").lower()
        prefixes = told.listed(b"x-forwarded-prefix")
        try:
            prefix = _prefix(prefixes[-1]) if prefixes else direct.prefix
        except ValueError as error:
            raise _Contradiction(f"The header 'X-Forwarded-Prefix': {error}") from None
        return Caller(
            client=direct.client if client is None else (_address(client) or UNKNOWN, 0),
            scheme=scheme if scheme in SCHEMES else None,
            host=host[:MAX_HOST].encode("latin-1") if host else None,
            prefix=prefix,
        )

    def _first_untrusted(self, hops: Sequence[str]) -> int | None:
        """From the right; the left-most where all are trusted; None where there is none."""
        for place in range(len(hops) - 1, -1, -1):
            address = _address(hops[place])
            if address is None or not self._trusts(address):
                return place
        return 0 if hops else None

    def _trusts_peer(self, scope: Scope) -> bool:
        peer = scope["client"]
        if peer is None:
            return self._unix and is_unix(scope)
        address = _address(peer[0])
        return address is not None and self._trusts(address)

    def _trusts(self, address: str) -> bool:
        parsed = ipaddress.ip_address(address)
        return any(parsed in network for network in self._networks)


def is_unix(scope: Scope) -> bool:
    """Whether a request came over the server's Unix socket."""
    server = scope["server"]
    return scope["client"] is None and server is not None and server[1] is None


class _Contradiction(Exception):
    pass


class _Told:
    """The headers of a request, each with all of its lines."""

    def __init__(self, scope: Scope):
        self._headers = scope["headers"]

    def joined(self, name: bytes) -> str:
        return ",".join(value.decode("latin-1") for each, value in self._headers if each == name)

    def listed(self, name: bytes) -> list[str]:
        return [text for part in self.joined(name).split(",") if (text := part.strip())]

    def at(self, name: bytes, place: int | None, hops: Sequence[str]) -> str | None:
        """The value that the proxy told which was called from this place; the last one where not every proxy told."""
        values = self.listed(name)
        if not values:
            return None
        return values[place] if place is not None and len(values) == len(hops) else values[-1]


def _same(what: str, first: str | None, second: str | None) -> str | None:
    """What both kinds of headers tell, or one of them. Raises _Contradiction."""
    if first is not None and second is not None and _plain(first) != _plain(second):
        raise _Contradiction(
            f"X-Forwarded-… and Forwarded name a different {what}. A proxy should remove what it does not write."
        )
    return second if first is None else first


def _plain(text: str) -> str:
    return _address(text) or text.lower()


def _elements(header: str) -> Iterator[dict[str, str]]:
    """The elements of `Forwarded`, oldest first. What is not of its form, and all that follows, is one element, whose
    client is unknown."""
    element: dict[str, str] = {}
    position, size = 0, len(header.rstrip())
    while position < size:
        found = _PAIR.match(header, position)
        if not found:
            yield {"for": UNKNOWN}
            return
        name, quoted, token, end = found.groups()
        element[name.lower()] = token if quoted is None else re.sub(r"\\(.)", r"\1", quoted)
        if end != ";":
            yield element
            element = {}
        position = found.end()
    if element:
        yield element


def _address(text: str) -> str | None:
    """An IP address, without the port and the brackets that it may have; None for anything else."""
    text = text.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return str(getattr(address, "ipv4_mapped", None) or address)


def _network(name: str) -> Network:
    try:
        return ipaddress.ip_network(name, strict=False)
    except ValueError:
        raise ValueError(
            f"--trust-proxy {name!r} is no address; one is 127.0.0.1, a network such as 10.0.0.0/8, or {UNIX}."
        ) from None


def _prefix(text: str) -> str:
    """A prefix as we keep it: "" or as in "/nitro"."""
    text = text.rstrip("/")
    if text and not text.startswith("/"):
        text = f"/{text}"
    if text and not PREFIX.fullmatch(text):
        raise ValueError(f"{text[:100]!r} is no path such as /nitro.")
    return text
