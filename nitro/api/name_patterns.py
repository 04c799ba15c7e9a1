"""Patterns of --allow-origin and --allow-host, and the origins that need none.

A "*" stands for any text in a host, and for any number as a port. At the end, without a port, it stands for all that
may follow: "chrome-extension://*". After the beginning of an address it stands for the rest of one: "http://192.168.*"
is not http://192.168.example.org, which anybody may own.
"""

import re
from collections.abc import Iterable

ANY = "*"
NULL = "null"  # of a sandboxed frame, which any page can make: never allowed unless it is named
# Pages of this machine, and what desktop programs show in a window of their own; as Ollama does it, whose envconfig
# has the same list. Browser extensions are not in it: any of them could be anybody's.
LOCAL_HOSTS = ("localhost", "127.0.0.1", "0.0.0.0", "[::1]")
PROGRAM_SCHEMES = ("app", "file", "tauri", "vscode-webview", "vscode-file")
LOCAL = (
    *(f"{scheme}://{host}{port}" for scheme in ("http", "https") for host in LOCAL_HOSTS for port in ("", ":*")),
    *(f"{scheme}://*" for scheme in PROGRAM_SCHEMES),
)

_ORIGIN = re.compile(
    r"(?P<scheme>[a-z][a-z0-9+.-]*)://(?P<host>\[[0-9a-f:.]+\]|[^\s,/@?#:\[\]]*)(?::(?P<port>\d{1,5}|\*))?/?", re.I
)
_HOST = re.compile(r"[^\s,/@?#:\[\]]+|\[?[0-9a-f:.]+\]?", re.I)
_IN_A_HOST, _TO_THE_END = r"[^\s,/@?#:\[\]]*", r"[^\s,/@?#]*"
_IN_AN_ADDRESS, _PORT = r"[0-9.]*", r"(?::\d{1,5})?"
_ADDRESS_BEGINS = re.compile(r"[0-9][0-9.]*\*")


def origins(allowed: Iterable[str]) -> re.Pattern[str]:
    """What an allowed `Origin` fully matches. Raises ValueError for a text that no origin can match."""
    return _joined(map(_origin, allowed))


def is_origin(text: str) -> bool:
    """Whether it can be allowed as it stands."""
    return text.lower() == NULL or (ANY not in text and _ORIGIN.fullmatch(text) is not None)


def hosts(allowed: Iterable[str]) -> re.Pattern[str]:
    """What an allowed host name, without a port, fully matches. Raises ValueError for what is none."""
    return _joined(map(_host, allowed))


def _joined(patterns: Iterable[str]) -> re.Pattern[str]:
    return re.compile("|".join(patterns) or r"(?!)", re.IGNORECASE)


def _origin(text: str) -> str:
    if text == ANY:
        return r"(?s:.*)"
    if text.lower() == NULL:
        return NULL
    found = _ORIGIN.fullmatch(text)
    if not found or (found["scheme"].lower() in ("http", "https") and not found["host"]):
        raise ValueError(
            f"--allow-origin {text!r} is no origin; one is a scheme and a host, as in https://example.org, or *. "
            "Repeat the option for several."
        )
    scheme, host, port = found["scheme"], found["host"], found["port"]
    if port is None:
        return f"{re.escape(scheme)}://{_with_any(host, last=_TO_THE_END)}"
    number = r"\d{1,5}" if port == ANY else port
    return f"{re.escape(scheme)}://{_with_any(host, last=_IN_A_HOST)}:{number}"


def _host(text: str) -> str:
    if not _HOST.fullmatch(text):
        raise ValueError(
            f"--allow-host {text!r} is no host name; one is as in example.org, without a scheme or a port, or *. "
            "Repeat the option for several."
        )
    return _with_any(text.strip("[]"), last=r"(?s:.*)" if text == ANY else _IN_A_HOST)


def _with_any(host: str, last: str) -> str:
    """The host as a regular expression. `last`: what a "*" at its end stands for."""
    if _ADDRESS_BEGINS.fullmatch(host):
        return re.escape(host[:-1]) + _IN_AN_ADDRESS + (_PORT if last == _TO_THE_END else "")
    if host.endswith(ANY):
        return _with_any(host[:-1], last) + last
    return _IN_A_HOST.join(map(re.escape, host.split(ANY)))
