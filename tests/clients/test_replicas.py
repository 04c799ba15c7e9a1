"""The balancers of examples/replicas before three servers, with the files as they stand but for addresses."""

from pathlib import Path

import debian
import pytest
import ray_served
import replicas
from replicas import EXAMPLES, Replica
from test_proxies import NGINX, started, user

from nitro.system.held_port import held_port

pytestmark = pytest.mark.clients


def with_addresses(text: str, port: int, listens: tuple[str, str], servers: list[Replica]) -> str:
    """An example's file, for these servers. `listens`: what it says of its port, and what it is to say."""
    for number, server in enumerate(servers, 1):
        assert text.count(f"10.0.0.{number}:3928") == 1
        text = text.replace(f"10.0.0.{number}:3928", server.address)
    before, after = listens
    assert text.count(before) == 1
    return text.replace(before, after.format(port))


def nginx(folder: Path, port: int, servers: list[Replica]) -> tuple[list[str], dict[str, str]]:
    text = (EXAMPLES / "nginx" / "nginx.conf").read_text()
    site = with_addresses(text, port, ("listen 80;", "listen 127.0.0.1:{};"), servers)
    (folder / "nginx.conf").write_text(NGINX.format(folder=folder, site=site, user=user()))
    program = str(debian.program("nginx", "usr/sbin/nginx"))
    return [program, "-p", str(folder), "-e", "stderr", "-c", str(folder / "nginx.conf")], {}


def haproxy(folder: Path, port: int, servers: list[Replica]) -> tuple[list[str], dict[str, str]]:
    text = (EXAMPLES / "haproxy" / "haproxy.cfg").read_text()
    file = folder / "haproxy.cfg"
    file.write_text(with_addresses(text, port, ("bind :80", "bind 127.0.0.1:{}"), servers))
    program = debian.program("haproxy", "usr/sbin/haproxy")
    needs = ("liblua5.3-0", "libopentracing-c-wrapper0", "libopentracing1")
    installed = program == Path("/usr/sbin/haproxy")
    return [str(program), "-db", "-f", str(file)], {} if installed else debian.libraries(*needs)


@pytest.mark.parametrize(("balancer", "hashed"), [(nginx, True), (haproxy, True), (haproxy, False)])
def test_nothing_is_lost_and_prefixes_are_found(balancer, hashed: bool, tmp_path: Path) -> None:
    """`hashed`: clients send the hash. HAProxy also finds it by itself."""
    with replicas.three() as servers, held_port() as port:
        command, env = balancer(tmp_path, port, servers)
        with started(command, tmp_path, port, env):
            replicas.check(f"http://127.0.0.1:{port}", servers, hashed)


def test_ray_serve(request: pytest.FixtureRequest) -> None:
    """It sends nothing again, and ends a replica when there are too many."""
    if not request.config.getoption("ray", False):
        pytest.skip("Ray takes minutes: --ray")
    with ray_served.running() as cluster:
        url, servers = cluster.url, cluster.wait_replicas(3)
        ray_served.check_replies(url)
        well = replicas.check_well(url, servers, hashed=True)
        replicas.check_left(url, servers)
        worse, _ = replicas.check_killed_under_load(url, servers, hashed=True, resent=False)
        cluster.wait_replicas(2)
        servers = cluster.wait_replicas(3)
        ray_served.check_scaled(cluster, servers)
        replicas.check_hits(well, cluster.replicas()[0], len(worse.lost))
