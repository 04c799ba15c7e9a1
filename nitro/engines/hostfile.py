"""The file of --hosts: the machines that compute one model together, in the form that mlx.launch has.

A list, or an object with a list in it. The first host is the machine on which the server runs:

    {"backend": "ring", "envs": ["MLX_METAL_FAST_SYNCH=1"],
     "hosts": [{"ssh": "127.0.0.1", "ips": ["10.0.0.1"]}, {"ssh": "mac-b", "ips": ["10.0.0.2"]}]}

`ssh`: what `ssh` calls the machine; `ips`: its addresses (IPv4) for the others; `rdma`: its devices for JACCL, one for
each host. Source: Hostfile.from_file in MLX 0.32's mlx/_distributed_utils/common.py. Knows no library.
"""

import ipaddress
from collections import Counter
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from nitro.errors import Sentence

RING, JACCL = "ring", "jaccl"
HERE = frozenset({"127.0.0.1", "::1", "localhost"})  # names of hosts where no ssh is needed
MAX_BYTES = 2**20
INSECURE = (
    "is for other machines, too, and what ranks send each other is not encrypted, nor does MLX ask who connects to it: "
    "whoever reaches this network can read prompts and answers. Use one that is yours alone (a Thunderbolt bridge, "
    "WireGuard), and say --insecure-network."
)

Backend = Literal["", "ring", "jaccl", "jaccl-ring"]
Variable = Annotated[str, Meta(pattern=r"^[A-Za-z_][A-Za-z0-9_]*=")]


class BadHosts(Sentence):
    """The file of --hosts cannot be used."""


class Host(Struct, frozen=True):
    """One rank: a process on a machine."""

    ssh: Annotated[str, Meta(pattern=r"^[^-\s]\S*$")]  # with a hyphen first it would be an option of ssh
    ips: list[str] = []
    rdma: list[str | list[str] | None] = []

    @property
    def is_here(self) -> bool:
        """Whether its process is started without ssh."""
        return self.ssh in HERE


class Hostfile(Struct, frozen=True):
    """All ranks, in their order."""

    hosts: list[Host]
    backend: Backend = ""
    envs: list[Variable] = []

    @property
    def library_backend(self) -> str:
        """What MLX calls it."""
        return JACCL if self.backend.startswith(JACCL) else RING

    @property
    def environment(self) -> dict[str, str]:
        """Variables that the file sets."""
        return dict(line.split("=", 1) for line in self.envs)

    def name(self, rank: int) -> str:
        """A rank in sentences."""
        return f"rank {rank} ({self.hosts[rank].ssh})"

    def beside(self, rank: int) -> int:
        """How many ranks share its machine, itself among them."""
        return Counter("" if host.is_here else host.ssh for host in self.hosts)[
            "" if self.hosts[rank].is_here else self.hosts[rank].ssh
        ]

    def part_here(self, size: int) -> int:
        """Bytes of so many that this machine has, where all ranks have as much."""
        return size * self.beside(0) // len(self.hosts)


def read(path: Path) -> Hostfile:
    """Raises BadHosts with the place of what is wrong."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES)
        as_list = data.lstrip().startswith(b"[")
        found = Hostfile(msgspec.json.decode(data, type=list[Host])) if as_list else _whole(data)
    except OSError as error:
        raise BadHosts(f"--hosts {path} cannot be read: {error.strerror}.") from None
    except msgspec.MsgspecError as error:
        raise BadHosts(f"--hosts {path}: {error}.") from None
    _check(path, found)
    return found


def check_network(path: Path, file: Hostfile, insecure: bool) -> None:
    """`insecure`: any network will do. Raises BadHosts for an address by which other machines reach a rank."""
    for i, host in enumerate(file.hosts):
        for address in host.ips:
            if not insecure and not ipaddress.IPv4Address(address).is_loopback:
                raise BadHosts(f"--hosts {path}: `hosts[{i}].ips`: {address} {INSECURE}")


def _whole(data: bytes) -> Hostfile:
    return msgspec.json.decode(data, type=Hostfile)


def _check(path: Path, file: Hostfile) -> None:
    if len(file.hosts) < 2:
        raise BadHosts(f"--hosts {path}: there must be two hosts at least, and there is {len(file.hosts)}.")
    if not file.hosts[0].is_here:
        raise BadHosts(
            f"--hosts {path}: the first host is the machine of this server, whose `ssh` must be 127.0.0.1, and not "
            f"{file.hosts[0].ssh}."
        )
    for i, host in enumerate(file.hosts):
        if not host.ips:
            raise BadHosts(f"--hosts {path}: `hosts[{i}].ips` needs an address by which the others reach {host.ssh}.")
        for address in host.ips:
            try:
                ipaddress.IPv4Address(address)  # MLX knows no others
            except ValueError:
                raise BadHosts(f"--hosts {path}: `hosts[{i}].ips`: {address} is no IPv4 address.") from None
    near = [ipaddress.IPv4Address(host.ips[0]).is_loopback for host in file.hosts]
    if near[0] and not all(near):
        raise BadHosts(
            f"--hosts {path}: `hosts[0].ips` is {file.hosts[0].ips[0]}, where no other machine reaches this one."
        )
    if file.library_backend == JACCL:
        _check_rdma(path, file)


def _check_rdma(path: Path, file: Hostfile) -> None:
    for i, host in enumerate(file.hosts):
        if len(host.rdma) != len(file.hosts) or host.rdma[i] is not None:
            raise BadHosts(
                f"--hosts {path}: `hosts[{i}].rdma` must have a device for each host, and null for {host.ssh} itself."
            )
