"""Whether a request comes from this machine."""

import ipaddress

from litestar.types import Scope

from nitro.api.transport.forwarded import is_unix

# Headers of proxies: the peer is not the client. Nor is the client on this machine where a trusted proxy says so.
FORWARDED = (
    b"forwarded",
    b"via",
    b"x-forwarded-for",
    b"x-forwarded-host",
    b"x-forwarded-prefix",
    b"x-forwarded-proto",
    b"x-real-ip",
)


def is_local(scope: Scope) -> bool:
    """Whether a request comes from this machine, also over a Unix socket, and through no proxy that says so."""
    peer = scope["client"]
    if any(name in FORWARDED for name, _ in scope["headers"]):
        return False
    if peer is None:
        return is_unix(scope)
    try:
        address = ipaddress.ip_address(peer[0].partition("%")[0])
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)  # of a server that listens on ::
    return (mapped or address).is_loopback
