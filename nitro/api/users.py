"""Who shares the engine with whom: each key of a file is a user of its own or, without one, each client's address."""

import ipaddress

from litestar.types import Scope

from nitro.api.callers import account_of

KEYS = "key:"
NETWORK = 64  # bits of an IPv6 address that one client's addresses have alike


def of_key(name: str) -> str:
    """The user that a key of this name is."""
    return f"{KEYS}{name}"


def key_named(user: str) -> str | None:
    """The name of the key that a user is; None: it is none."""
    return user.removeprefix(KEYS) if user.startswith(KEYS) else None


def user_of(scope: Scope) -> str:
    """The user that a request counts for: "key:NAME" where it came with a key of a file, else its address; "": of a
    socket without addresses."""
    if account := account_of(scope):
        return of_key(account.name)
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


def owner_of(scope: Scope) -> str:
    """Whose is what a request has kept: a key's; "": nobody's in particular."""
    account = account_of(scope)
    return of_key(account.name) if account else ""


def sees_of(scope: Scope) -> str | None:
    """Whose of it a request sees: a key's own; None: everybody's, of administrators and where there are no keys."""
    account = account_of(scope)
    return None if account is None or account.key.admin else of_key(account.name)
