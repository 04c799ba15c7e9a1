"""Whether a request comes from this machine."""

import ipaddress

from litestar.types import Scope

FORWARDED = (b"forwarded", b"x-forwarded-for", b"x-real-ip")  # headers of proxies: the peer is not the client


def is_local(scope: Scope) -> bool:
    """Whether a request comes from this machine, and through no proxy that says so."""
    peer = scope["client"]
    if peer is None or any(name in FORWARDED for name, _ in scope["headers"]):
        return False
    try:
        address = ipaddress.ip_address(peer[0].partition("%")[0])
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)  # of a server that listens on ::
    return (mapped or address).is_loopback
