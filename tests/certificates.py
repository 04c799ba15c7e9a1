"""Certificates that sign themselves, made by the openssl program."""

import ssl
import subprocess
from pathlib import Path

from msgspec import Struct

NAMES = ("DNS:localhost", "IP:127.0.0.1")


class Pair(Struct, frozen=True):
    """A certificate and its key, in PEM."""

    cert: Path
    key: Path

    @property
    def der(self) -> bytes:
        return ssl.PEM_cert_to_DER_cert(self.cert.read_text())

    def trusted(self) -> ssl.SSLContext:
        """For a client that believes this certificate alone."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(self.cert)
        return context

    def replace(self, other: "Pair") -> None:
        """Write the other one's content into these files, the certificate first, as whoever renews one does."""
        self.cert.write_bytes(other.cert.read_bytes())
        self.key.write_bytes(other.key.read_bytes())


def make(folder: Path, name: str, names: tuple[str, ...] = NAMES) -> Pair:
    """NAME.pem and NAME.key in the folder."""
    pair = Pair(folder / f"{name}.pem", folder / f"{name}.key")
    kind = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
    about = ["-subj", f"/CN={name}", "-addext", f"subjectAltName={','.join(names)}"]
    files = ["-keyout", str(pair.key), "-out", str(pair.cert)]
    subprocess.run(["openssl", "req", "-x509", *kind, *about, *files], check=True, capture_output=True)
    return pair
