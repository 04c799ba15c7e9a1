"""The certificate that the server shows, and its key: two files in PEM, which may be replaced while it runs.

Each connection takes the context that holds when it begins, so that one that is open keeps its own. Sessions are
resumed with the context that made them only: after a change every client sees the new certificate.
"""

import ssl
import stat
from pathlib import Path

from nitro.errors import StartError

PROTOCOLS = ["http/1.1"]  # ALPN: clients that could do more speak what we do


class Certificates:
    """The context for new connections. Raises StartError where the files hold no certificate with its key."""

    def __init__(self, certificate: Path, key: Path | None = None):
        """`certificate`: the server's own first, then those that lead to an authority. `key`: None: it is in there."""
        self._files = certificate, key
        self.context = _context(certificate, key)

    @property
    def paths(self) -> tuple[Path, ...]:
        """The files."""
        return tuple(path for path in self._files if path)

    def read_again(self) -> None:
        """Take what the files hold now. Raises StartError, and goes on with what it has."""
        self.context = _context(*self._files)

    def warnings(self) -> list[str]:
        """What the owner of the files should know."""
        secret = self.paths[-1]
        if secret.stat().st_mode & stat.S_IROTH:
            return [f"every user of this machine can read the key in {secret}: chmod o-r {secret}"]
        return []


def _context(certificate: Path, key: Path | None) -> ssl.SSLContext:
    """TLS 1.2 and newer, with OpenSSL's own choice of ciphers. Raises StartError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION  # a client could have us compute without end
    context.set_alpn_protocols(PROTOCOLS)
    names = f"--tls-cert {certificate}" + (f" and --tls-key {key}" if key else "")
    for path in (certificate, key):
        if path and not path.is_file():
            raise StartError(f"{names}: {path} is no file that can be read.")
    try:
        context.load_cert_chain(certificate, key, _no_password)
    except _Encrypted:
        raise StartError(
            f"{names}: the key is encrypted. Decrypt it (openssl pkey -in KEY -out PLAIN), and let nobody else read it."
        ) from None
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        raise StartError(f"{names}: {_reason(error)}.") from None
    return context


class _Encrypted(Exception):
    pass


def _no_password() -> str:
    """OpenSSL would ask at the terminal."""
    raise _Encrypted


REASONS = {  # by OpenSSL's name of the error
    "KEY_VALUES_MISMATCH": "the key does not belong to the certificate",
    "NO_START_LINE": "this is not PEM, or the certificate or the key is missing",
    "EE_KEY_TOO_SMALL": "the key is too short for today's rules",
    "CA_MD_TOO_WEAK": "the certificate is signed in a way that is broken today",
}


def _reason(error: OSError | ValueError) -> str:
    if isinstance(error, ssl.SSLError):
        if error.reason is None:  # as Python has it of "PEM lib"
            return REASONS["NO_START_LINE"]
        return REASONS.get(error.reason, f"OpenSSL says {error.reason}")
    return getattr(error, "strerror", None) or str(error)
