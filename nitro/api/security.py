"""Who may call: the API key."""

import hmac

OPEN_PATHS = ("/health", "/healthz")


def may_call(path: str, authorization: str, api_key: str | None) -> bool:
    """Whether this call needs no key or brings the right one, compared in constant time."""
    if api_key is None or path in OPEN_PATHS:
        return True
    scheme, _, given = authorization.partition(" ")
    return scheme.lower() == "bearer" and hmac.compare_digest(given.encode("latin-1").strip(), api_key.encode())
