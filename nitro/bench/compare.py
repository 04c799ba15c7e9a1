"""`nitro bench --compare`: two servers in turn, with the same prompts and seeds."""

import random
import statistics
from collections.abc import Callable
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

from nitro.bench import client, command
from nitro.bench.client import LoadResult
from nitro.bench.endpoint import BenchEndpoint
from nitro.bench.prompts import Prompts
from nitro.bench.stats import Ratio, percentile, turns
from nitro.system import terminal

ROUNDS = 3
NOTE = (
    f"Medians of {ROUNDS} rounds. In each both servers got the same new prompts, one server after the other. "
    "Ratios are first ÷ second within a round: median (lowest–highest)."
)


@dataclass(frozen=True)
class Compared:
    """A row of the table: a figure of one server's turn."""

    title: str
    value: Callable[[LoadResult], float]


def _ttft(result: LoadResult) -> float:
    return 1000 * statistics.median(a.ttft for a in result.answers if a.ttft is not None)


def _per_token(share: float) -> Callable[[LoadResult], float]:
    return lambda result: 1000 * percentile([a.per_token for a in result.answers], share)


SPEED = Compared("tokens/s of all", lambda result: result.tokens / result.seconds)
TTFT = Compared("TTFT p50, ms", _ttft)
ROWS = (
    SPEED,
    TTFT,
    Compared("time per output token p50, ms", _per_token(0.5)),
    Compared("time per output token p90, ms", _per_token(0.9)),
    Compared("longest gap, ms", lambda result: 1000 * max(a.longest_gap for a in result.answers)),
)


def compare(first: BenchEndpoint, second: BenchEndpoint, clients: int, tokens: int) -> None:
    """Run the scenarios against both servers, and print a table for each. Raises BenchError."""
    client.run(_compare([first, second], clients, tokens))


async def _compare(servers: list[BenchEndpoint], clients: int, tokens: int) -> None:
    console = Console(stderr=True)
    both = await command.negotiate_all(servers)
    seed = random.randrange(2**31)  # prompts that no earlier run has left in a cache
    for title, scenario in command.scenarios(clients, tokens).items():
        results: tuple[list[LoadResult], list[LoadResult]] = ([], [])
        with console.status(title):
            for number, order in enumerate([(0, 1), *turns(ROUNDS)]):
                for side in order:
                    result = await scenario(both[side], Prompts(f"{seed} {title} {number}"))
                    if number > 0:  # the first round is to warm up
                        results[side].append(result)
        show(title, *results)
    terminal.say(NOTE)


def show(title: str, first: list[LoadResult], second: list[LoadResult]) -> None:
    """Print the results of one scenario."""
    terminal.say(title)
    table = Table("", "first", "second", "ratio")
    for row in ROWS:
        values = [[row.value(result) for result in results] for results in (first, second)]
        ratio = str(Ratio.of(*values)) if all(values[1]) else ""
        table.add_row(row.title, *(command.number(statistics.median(v)) for v in values), ratio)
    drafts = [command.accepted(*_drafts(results)) for results in (first, second)]
    if any(drafts):
        table.add_row("drafted tokens accepted", *drafts, "")
    Console().print(table)


def _drafts(results: list[LoadResult]) -> tuple[int, int]:
    drafted, accepted = zip(*(result.drafts for result in results), strict=True)
    return sum(drafted), sum(accepted)
