"""Who shares the engine with whom: each client's address is a user of its own."""

import ipaddress

from litestar.types import Scope

NETWORK = 64  # bits of an IPv6 address that one client's addresses have alike


def user_of(scope: Scope) -> str:
    """The user that a request counts for; "": of a socket without addresses."""
    peer = scope["client"]
    if peer is None:
        return ""
    try:
        address = ipaddress.ip_address(peer[0].partition("%")[0])
    except ValueError:
        return peer[0]
    address = getattr(address, "ipv4_mapped", None) or address
    if address.version == 6 and not address.is_loopback:
        return str(ipaddress.ip_network((address, NETWORK), strict=False))
    return str(address)
