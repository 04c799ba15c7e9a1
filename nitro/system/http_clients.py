"""What Nitro's own commands need to call a server: whom they trust in TLS, and HTTP over a Unix socket."""

import http.client
import re
import socket
import ssl
from functools import lru_cache
from pathlib import Path

from msgspec import Struct

UNIX = "unix:"  # begins the URL of a server that listens on a Unix socket: unix:/run/nitro.sock
_FIRST = re.compile(r"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.DOTALL)


class Trust(Struct, frozen=True):
    """Whose certificate is believed. `authorities`: a file with those to believe, in place of the system's. `own`: the
    file of the server's certificate: this one is believed, by whatever name the server is called, and no other."""

    authorities: Path | None = None
    own: Path | None = None

    def context(self) -> ssl.SSLContext:
        """To connect with. Raises OSError or ValueError where a file holds no certificates."""
        return _context(self)


SYSTEM = Trust()


@lru_cache(maxsize=8)  # reading the system's takes tens of milliseconds
def _context(trust: Trust) -> ssl.SSLContext:
    if trust.own is None:
        return ssl.create_default_context(cafile=trust.authorities)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    found = _FIRST.search(trust.own.read_text("ascii", errors="replace"))
    if not found:
        raise ValueError(f"{trust.own} holds no certificate")
    context.load_verify_locations(cadata=found[0])
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # it need not be an authority's
    return context


def unix_path(url: str) -> str | None:
    """The file of a URL such as unix:/run/nitro.sock or unix:///run/nitro.sock; None for any other URL."""
    if not url.startswith(UNIX):
        return None
    path = url.removeprefix(UNIX)
    return "/" + path.lstrip("/") if path.startswith("//") else path


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket. The server is called localhost."""

    def __init__(self, path: str, timeout: float):
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        """See http.client.HTTPConnection."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        try:
            self.sock.connect(self._path)
        except BaseException:
            self.sock.close()
            raise


def reason(error: Exception) -> str:
    """Why a server could not be reached, for people."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted ({error.verify_message}); --ca names a file with one to trust"
    if isinstance(error, ssl.SSLError) and error.reason == "WRONG_VERSION_NUMBER":
        return "it does not speak TLS; its URL begins with http://"
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
