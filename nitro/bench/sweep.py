"""`nitro bench --plot`: one server, or two in turn, with more and more clients: a table, and a picture of it."""

import datetime
import random
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from nitro.bench import client, command, line_chart
from nitro.bench.client import LoadResult
from nitro.bench.compare import ROUNDS, SPEED, TTFT
from nitro.bench.endpoint import BenchEndpoint
from nitro.bench.line_chart import Panel
from nitro.bench.prompts import Prompts
from nitro.bench.scenarios import real_texts
from nitro.bench.stats import turns
from nitro.errors import BenchError
from nitro.system import terminal

ANSWERS = 8  # at least so many in a round, for one client is soon done
Values = Mapping[str, Mapping[str, Mapping[int, float]]]  # by the title of the figure, server and number of clients
NOTE = (
    "Requests as people write them, {tokens} tokens each, sampled with seeds. "
    f"Medians of {ROUNDS} rounds; tokens/s counts those of all clients over the whole time, prompts included."
)


@dataclass(frozen=True)
class Measured:
    """What came of it. `values`: with the figures and the servers in the order in which they are shown."""

    values: Values
    tokens: int


def numbers(most: int) -> list[int]:
    """1, 2, 4 and so on, and the most."""
    return [*(2**power for power in range(most.bit_length()) if 2**power < most), most]


def requests(clients: int) -> int:
    """How many each of so many clients sends in a round."""
    return max(1, ANSWERS // clients)


def plot(servers: Sequence[BenchEndpoint], most: int, tokens: int, file: Path) -> None:
    """Measure one server or two, print a table, and write the picture. Raises BenchError."""
    if not file.parent.is_dir():
        raise BenchError(f"--plot {file}: there is no such folder.")  # not after minutes
    names = [server.authority for server in servers]
    if len({*names}) < len(names):  # two models or paths of one server
        names = [f"{which}: {name}" for which, name in zip(("first", "second"), names, strict=True)]
    measured = Measured(client.run(_measure(dict(zip(names, servers, strict=True)), numbers(most), tokens)), tokens)
    show(measured)
    try:
        file.write_text(picture(measured), encoding="utf-8")
    except OSError as error:
        raise BenchError(f"--plot {file}: {error.strerror}.") from None
    terminal.say(f"The picture is in {file}.", err=True)


async def _measure(servers: Mapping[str, BenchEndpoint], clients: Sequence[int], tokens: int) -> Values:
    console = Console(stderr=True)
    known = await command.negotiate_all([*servers.values()])
    results: dict[int, list[list[LoadResult]]] = {number: [[] for _ in known] for number in clients}
    seed = random.randrange(2**31)  # prompts that no earlier run has left in a cache
    for number in clients:
        scenario = real_texts(number, tokens, requests(number))
        with console.status(f"{number} client{'s' if number > 1 else ''}"):
            for turn, order in enumerate([tuple(range(len(known))), *turns(ROUNDS, len(known))]):
                for side in order:
                    result = await scenario(known[side], Prompts(f"{seed} {number} {turn}"))
                    if turn > 0:  # the first round is to warm up
                        results[number][side].append(result)
    return {
        figure.title: {
            name: {number: statistics.median(map(figure.value, results[number][side])) for number in clients}
            for side, name in enumerate(servers)
        }
        for figure in (SPEED, TTFT)
    }


def show(measured: Measured) -> None:
    """Print the table: a row for each number of clients."""
    names = [*measured.values[SPEED.title]]
    table = Table("clients")
    for figure in measured.values:
        for name in names:
            table.add_column(figure if len(names) == 1 else f"{figure}\n{name}", justify="right")
    for number in measured.values[SPEED.title][names[0]]:
        cells = [command.number(of_name[number]) for of in measured.values.values() for of_name in of.values()]
        table.add_row(str(number), *cells)
    Console().print(table)
    terminal.say(NOTE.format(tokens=measured.tokens))


def picture(measured: Measured) -> str:
    """The SVG."""
    first, rest = NOTE.format(tokens=measured.tokens).split(" Medians", 1)
    notes = [f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d}. {first}", f"Medians{rest}"]
    names = " and ".join(measured.values[SPEED.title])
    return line_chart.draw(f"Speed of {names} by the number of clients", panels(measured.values), notes)


def panels(values: Values) -> list[Panel]:
    """What is drawn of the figures, which are of this file's two titles."""
    return [
        Panel("Tokens per second of all clients (more is better)", values[SPEED.title]),
        Panel("Median milliseconds to first token (less is better)", values[TTFT.title], powers=True),
    ]
