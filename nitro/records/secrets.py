"""Credentials in what is to be recorded: they are masked before anything is written.

Headers are not recorded at all, but for a few that are named. A body may hold credentials, too: those of a tool's
server, or a key that somebody pasted. What is found: the values of fields with the names below, also in JSON inside a
string; what follows "Bearer"; a user and password in a URL; this server's own key, and keys as `nitro key` makes them,
wherever they stand.
"""

import re
from collections.abc import Iterable, Sequence

MASK = b"***"
NAMES = (
    b"authorization",
    b"proxy-authorization",
    b"api_key",
    b"api-key",
    b"apikey",
    b"x-api-key",
    b"access_token",
    b"refresh_token",
    b"client_secret",
    b"cookie",
    b"set-cookie",
)
LEAST = 8  # characters of a key that is looked for by itself: a shorter one may be a word
_WORDS = (b"bearer ", b"sk-nitro-", b"@")
_SIGNS = (*(name for name in NAMES if not name.startswith((b"proxy", b"x-", b"set-"))), *_WORDS)  # lower case
_FIELD = rb'"(?:' + b"|".join(NAMES) + rb')"\s*:\s*"'
_INNER = _FIELD.replace(rb'"', rb'\\"')  # in a string
_PATTERNS = (
    re.compile(rb"(?i)(" + _FIELD + rb')(?:[^"\\]|\\.)*'),
    re.compile(rb"(?i)(" + _INNER + rb')(?:[^"\\]|\\\\.)*'),
    re.compile(rb"()sk-nitro-[A-Za-z0-9_-]{43}"),  # see keys/key.py
    re.compile(rb"(?i)(\bbearer )[a-z0-9._~+/=-]{8,}"),
    re.compile(rb"(://)[^\s/@\"\\]+:[^\s/@\"\\]+(?=@)"),
)


class Masks:
    """Masks credentials, and `keys`, which are this server's own."""

    def __init__(self, keys: Iterable[str] = ()):
        self._keys = [key.encode(errors="surrogateescape") for key in keys if len(key) >= LEAST]

    def apply(self, data: bytes) -> bytes:
        """The same without them. JSON stays JSON."""
        return self._masked(data) if self._suspects(data) else data

    def apply_to_pieces(self, pieces: Sequence[bytes]) -> Sequence[bytes]:
        """The same of each."""
        return [self._masked(piece) for piece in pieces] if self._suspects(b"".join(pieces)) else pieces

    def _suspects(self, data: bytes) -> bool:
        """Whether there may be any. Patterns take long, and hold up the other threads."""
        low = data.lower()
        return any(sign in low for sign in _SIGNS) or any(key in data for key in self._keys)

    def _masked(self, data: bytes) -> bytes:
        for key in self._keys:
            data = data.replace(key, MASK)
        for pattern in _PATTERNS:
            data = pattern.sub(rb"\1" + MASK, data)
        return data
