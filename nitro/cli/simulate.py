"""`nitro simulate`."""

import itertools
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from nitro.chat.printable import printable
from nitro.cli import tables
from nitro.cli.group import INTERRUPTED
from nitro.cli.options import finite, struct_option
from nitro.engines.options import EngineOptions, options_of
from nitro.errors import SimulationError, StartError
from nitro.system import terminal

if TYPE_CHECKING:
    from nitro.simulation.fleet import Plan, Prediction

BY_CONVERSATION = "conversation"
ROUTES = ("random", "round-robin", "least-busy", "client", BY_CONVERSATION, "prefix", "prefix-bounded")
MEASURED = ("engine", "context", "parallel", "threads", "gpu_layers", "cache_type_k", "cache_type_v")
HEADER = (
    *("clients", "replicas", "route", "tokens/s", "TTFT p50", "p95", "waited p50", "p95"),
    *("longest queue", "cached", "busy", "not answered"),
)


@click.group()
def simulate() -> None:
    """Say what a server, or several behind a router, would do under recorded traffic."""


def _with_engine(command: Callable[..., None]) -> Callable[..., None]:
    for option in reversed([each for each in options_of(EngineOptions) if each.field in MEASURED]):
        command = struct_option(option, option.meta.description or "")(command)
    return command


@simulate.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.argument("model", required=False)
@_with_engine
def costs(file: Path, model: str | None, **options: object) -> None:
    """Measure what steps of MODEL cost on this machine, and write that to FILE.

    MODEL is a path, by default that of the embedded model. An engine is loaded with it for some minutes. Nothing else
    should run meanwhile.
    """
    from nitro.engines.types import EngineSpec
    from nitro.models import default_model
    from nitro.simulation import calibration
    from nitro.simulation import costs as cost_file

    with _errors():
        if not file.absolute().parent.is_dir():
            raise SimulationError(f"{file}: there is no such folder.")
        path = str(model or default_model.path())
        found = calibration.measure(msgspec.convert({**options, "model": path, "lookup": "off"}, EngineSpec))
        cost_file.write(found, file)
    count, seconds = found.decode[-1]
    terminal.say(f"{found.model}, {printable(found.engine)}: {count} sequences decode in {1000 * seconds:.1f} ms.")
    terminal.say(f"The costs are in {file}.")


@simulate.command()
@click.argument("records", type=click.Path(path_type=Path))
@click.option("--costs", required=True, type=click.Path(path_type=Path), help="File of `nitro simulate costs`.")
@click.option(
    "--clients",
    multiple=True,
    type=click.IntRange(1, 100_000),
    help="Clients at once, each of which sends its next request when the last is answered. More than once: each "
    "number. Default: requests come when they came.",
)
@click.option("--replicas", multiple=True, type=click.IntRange(1, 1000), help="Servers. More than once: each number.")
@click.option(
    "--route",
    multiple=True,
    type=click.Choice(ROUTES),
    help="How a router chooses a server. More than once: each. Default: conversation, as by x-nitro-prefix.",
)
@click.option("--requests", type=click.IntRange(1), help="Requests of each client. Default: all that were recorded.")
@click.option(
    "--think",
    type=click.FloatRange(0),
    callback=finite,
    default=0.0,
    show_default=True,
    help="Seconds, in the mean, that a client thinks between an answer and its next request.",
)
@click.option(
    "--speed",
    type=click.FloatRange(0, min_open=True),
    callback=finite,
    default=1.0,
    show_default=True,
    help="2 halves the distances between recorded requests.",
)
@click.option(
    "--prefix",
    type=click.IntRange(1),
    default=64,
    show_default=True,
    help="Tokens by which a router tells prompts apart.",
)
@click.option("--seed", type=click.IntRange(0), default=1, show_default=True, help="Of what is random.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def traffic(
    records: Path,
    costs: Path,
    clients: tuple[int, ...],
    replicas: tuple[int, ...],
    route: tuple[str, ...],
    requests: int | None,
    think: float,
    speed: float,
    prefix: int,
    seed: int,
    as_json: bool,
) -> None:
    """Play the requests in RECORDS to servers that need not be there.

    RECORDS is a file of records, or a folder with some, of `nitro serve --record`.
    """
    from nitro.simulation import costs as cost_file
    from nitro.simulation import fleet, recorded

    if clients and speed != 1:
        raise click.UsageError("--speed and --clients do not go together.")
    if requests and not clients:
        raise click.UsageError("--requests needs --clients.")
    if think and not clients:
        raise click.UsageError("--think needs --clients.")
    with _errors():
        known, sent = cost_file.read(costs), recorded.read(records)
        plans = [
            fleet.Plan(
                clients=count,
                replicas=servers,
                route=rule,
                seed=seed,
                requests=requests or 0,
                speed=speed,
                think=think,
                prefix=prefix,
            )
            for count, servers, rule in itertools.product(
                clients or (None,), replicas or (1,), route or ("conversation",)
            )
        ]
        found = [(plan, fleet.simulate(sent, known, plan)) for plan in plans]
    if as_json:
        rows = [{**msgspec.structs.asdict(plan), **msgspec.structs.asdict(result)} for plan, result in found]
        told = {"left_out": sent.left_out, "model": known.model, "engine": known.engine, "predictions": rows}
        click.echo(msgspec.json.format(msgspec.json.encode(told), indent=2))
        return
    tables.table(HEADER, [_row(plan, result) for plan, result in found])
    if sent.left_out:
        terminal.say(f"{sent.left_out} recorded requests were left out: they were not answered with text.", err=True)


def _row(plan: "Plan", found: "Prediction") -> tuple[str, ...]:
    times = (found.ttft_p50, found.ttft_p95, found.waited_p50, found.waited_p95)
    return (
        str(plan.clients or "as recorded"),
        str(plan.replicas),
        plan.route,
        f"{found.tokens_per_second:,.1f}",
        *(f"{seconds:.2f} s" for seconds in times),
        str(found.longest_queue),
        f"{100 * found.cached:.0f} %",
        f"{100 * found.idlest:.0f}–{100 * found.busiest:.0f} %",
        str(found.too_long + found.failed),
    )


@contextmanager
def _errors() -> Iterator[None]:
    """One line on standard error, and exit status 1."""
    try:
        yield
    except (SimulationError, StartError) as error:
        terminal.say(f"nitro: {error}", err=True)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
