"""Who may do more than ask for answers: see files of this machine, fetch and remove models, stop the server."""

import ipaddress

from litestar import Request
from litestar.types import Scope

FORWARDED = (b"forwarded", b"x-forwarded-for", b"x-real-ip")  # headers of proxies: the peer is not the client


def is_trusted(request: Request) -> bool:
    """Whether who asks has the key or, where there is none, is on this machine."""
    has_key: bool = request.app.state.has_key
    return has_key or is_local(request.scope)


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
