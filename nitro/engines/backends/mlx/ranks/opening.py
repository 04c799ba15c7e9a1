"""Opens a model over several ranks, as rank 0 of them."""

from pathlib import Path

from msgspec.structs import replace

from nitro.engines.backends.mlx.opening import NO_PROJECTOR
from nitro.engines.backends.mlx.ranks import group, meeting, shares
from nitro.engines.backends.mlx.ranks.lead_runner import LeadRunner
from nitro.engines.backends.mlx.ranks.team import Team
from nitro.engines.backends.mlx.runner import MlxRunner
from nitro.engines.hostfile import BadHosts, Host, check_network, read
from nitro.engines.runner import LoadError
from nitro.engines.types import EngineSpec
from nitro.system.memory import free_host_memory


def make(spec: EngineSpec) -> LeadRunner:
    """The model, loaded by all ranks. Raises LoadError."""
    assert spec.hosts
    try:
        hosts = read(Path(spec.hosts))
        check_network(Path(spec.hosts), hosts, spec.insecure_network)
    except BadHosts as error:
        raise LoadError(str(error)) from None
    shares.check(spec, hosts)
    spec = replace(spec, mmproj=NO_PROJECTOR, projector=None)
    team = Team(hosts, spec.stall_timeout)
    others = team.start()
    try:
        shares.check_memory(spec, hosts, [free_host_memory(), *team.free])
        ports = [_own_ports(hosts.hosts[0]), *others]
        own, *theirs = meeting.joins(spec, hosts, team.names, ports, team.beat)
        team.join(theirs)
        team.meet()
        rank = group.Rank(group.join(0, own), team.names, own.beside, spec.pipeline, ready=team.wait_loaded)
        with team.together():
            runner = MlxRunner(spec, rank)
    except BaseException:
        team.name_the_lost()
        team.close()
        raise
    runner.count_memory_of(lambda: [free // hosts.beside(rank) for rank, free in enumerate(team.free, 1)])
    team.ready()
    return LeadRunner(runner, team)


def _own_ports(host: Host) -> list[int]:
    try:
        return meeting.free_ports(host.ips)
    except OSError as error:
        raise LoadError(f"--hosts: this machine cannot listen on {' or '.join(host.ips)}: {error.strerror}.") from None
