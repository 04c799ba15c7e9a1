"""The workers of --rpc, as somebody wrote them down, and which of them may be called without being asked again.

llama.cpp's RPC has no authentication and no encryption, and its authors say never to expose it. So a worker that is not
on this machine, or at the end of a tunnel that begins here, needs a word of consent: --insecure-network.
"""

import ipaddress
import socket

from msgspec import Struct

MOST = 16  # GGML_RPC_MAX_SERVERS (ggml-rpc.h)
INSECURE = (
    "is not on this machine, and llama.cpp's RPC has neither authentication nor encryption: whoever reaches the worker "
    "can use it and read what goes to it. Use a tunnel (ssh -L, WireGuard), or say --insecure-network."
)


class BadWorkers(ValueError):
    """What is wrong, as a sentence."""


class Worker(Struct, frozen=True):
    """One worker. The library knows it by the address, people by the name."""

    name: str  # HOST:PORT as it was given
    address: str  # IPv4: the library knows nothing else
    port: int

    @property
    def endpoint(self) -> str:
        """As the library takes it."""
        return f"{self.address}:{self.port}"


def parse(text: str, insecure: bool) -> list[Worker]:
    """The workers in HOST:PORT,… `insecure`: any network will do. Raises BadWorkers."""
    workers = [_worker(part.strip(), insecure) for part in text.split(",")]
    endpoints = [worker.endpoint for worker in workers]
    for worker in workers:
        if endpoints.count(worker.endpoint) > 1:
            raise BadWorkers(f"--rpc names the worker {worker.endpoint} twice.")
    if len(workers) > MOST:
        raise BadWorkers(f"--rpc names {len(workers)} workers, and llama.cpp takes {MOST} at most.")
    return workers


def resolve(host: str) -> str:
    """The IPv4 address of a host. Raises BadWorkers."""
    try:
        found = socket.getaddrinfo(host, None, socket.AF_INET, socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise BadWorkers(f"{host!r} has no IPv4 address: {reason}.") from None
    return str(found[0][4][0])


def is_local(address: str) -> bool:
    """Whether nobody but programs of this machine reaches it."""
    return ipaddress.ip_address(address).is_loopback


def _worker(text: str, insecure: bool) -> Worker:
    host, _, port = text.rpartition(":")
    if not host or not port.isascii() or not port.isdigit() or not 0 < int(port) < 2**16:
        raise BadWorkers(f"--rpc {text}: a worker is written HOST:PORT, as in 127.0.0.1:50052.")
    try:
        address = resolve(host)
    except BadWorkers as error:
        raise BadWorkers(f"--rpc {text}: {error}") from None
    if not insecure and not is_local(address):
        raise BadWorkers(f"--rpc {text}: {address} {INSECURE}")
    return Worker(text, address, int(port))
