"""How the ranks of MLX's group find each other: what each is told before it joins. The variables and files are those
that mlx.launch makes (MLX 0.32, mlx/_distributed_utils/launch.py). Knows no MLX.
"""

import json
import random
import socket

from nitro.engines.backends.mlx.ranks.wire import Join
from nitro.engines.hostfile import JACCL, Hostfile
from nitro.engines.types import EngineSpec

# Below those that systems give to outgoing connections, so that nobody else takes one between its choice and its use.
PORTS = range(20_000, 32_000)


def joins(spec: EngineSpec, hosts: Hostfile, names: list[str], ports: list[list[int]], beat: float) -> list[Join]:
    """What each rank is told. `ports`: of each, one for each of its addresses. `beat`: see Join."""
    if hosts.library_backend == JACCL:
        environment, files = _jaccl(hosts, ports[0][0])
    else:
        environment, files = {}, _ring(hosts, ports)
    environment |= hosts.environment
    return [
        Join(spec, environment, files, hosts.library_backend, names, hosts.beside(rank), beat)
        for rank in range(len(hosts.hosts))
    ]


def free_ports(addresses: list[str]) -> list[int]:
    """For each address one where nobody listens. Raises OSError where there is none."""
    return [_free_port(address) for address in addresses]


def _free_port(address: str) -> int:
    problem = OSError()
    for port in random.sample(PORTS, 100):
        try:
            with socket.create_server((address, port)):
                return port
        except OSError as error:
            problem = error
    raise problem


def _ring(hosts: Hostfile, ports: list[list[int]]) -> dict[str, str]:
    """The addresses of all, in a file."""
    pairs = [zip(host.ips, own, strict=True) for host, own in zip(hosts.hosts, ports, strict=True)]
    return {"MLX_HOSTFILE": json.dumps([[f"{ip}:{port}" for ip, port in each] for each in pairs])}


def _jaccl(hosts: Hostfile, port: int) -> tuple[dict[str, str], dict[str, str]]:
    """Where rank 0 coordinates, and the devices by which each reaches each, in a file."""
    environment = {"MLX_JACCL_COORDINATOR": f"{hosts.hosts[0].ips[0]}:{port}"}
    if hosts.backend != JACCL:
        environment["MLX_JACCL_RING"] = "1"
    return environment, {"MLX_IBV_DEVICES": json.dumps([host.rdma for host in hosts.hosts])}
