"""Draws docs/bench-clients.svg, tokens/s and time to the first token against numbers of clients, and writes the same as
a table into docs/speed.md. Both are made from bench/results.json, whose rows `python -m bench.table` measures."""

import json
import re
import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import report
from bench.rows import FIRST, SPEED
from bench.workloads import PAIR, SWEEP
from nitro.bench import command, line_chart
from nitro.bench.line_chart import Panel

ROOT = Path(__file__).parents[1]
RECORD = ROOT / "bench" / "results.json"
FILE = ROOT / "docs" / "bench-clients.svg"
PAGE = ROOT / "docs" / "speed.md"
BEGIN, END = "<!-- written by scripts/clients_chart.py -->", "<!-- end -->"

SERVERS = ("Nitro", *PAIR)
ROWS = {f"clients-{number}": number for number in SWEEP}
FIGURES = {
    SPEED: "Tokens per second of all clients (more is better)",
    FIRST: "Median milliseconds to first token (less is better)",
}


@dataclass(frozen=True)
class Results:
    """`values`: by figure, server and number of clients, the median of the rounds. `notes`: when, where and what was
    measured."""

    values: dict[str, dict[str, dict[int, float]]]
    notes: tuple[str, ...]


def measured(text: str | None = None) -> Results:
    """What the record has of these rows, of servers that none of them lacks. Raises ValueError where it lacks a row."""
    record: dict[str, Any] = json.loads(RECORD.read_text(encoding="utf-8") if text is None else text)
    rows = {ROWS[row["name"]]: row for row in record["rows"] if row["name"] in ROWS}
    if missing := sorted(set(SWEEP) - set(rows)):
        raise ValueError(
            f"bench/results.json has no row of {missing} clients: python -m bench.table --rows {','.join(ROWS)}"
        )
    servers = [name for name in SERVERS if all(name in rows[number]["values"][SPEED] for number in SWEEP)]
    values = {
        figure: {
            name: {number: statistics.median(rows[number]["values"][figure][name]) for number in SWEEP}
            for name in servers
        }
        for figure in FIGURES
    }
    machine, libraries, *_, model = (
        line.removeprefix("- ") for line in record["runs"][max(row["run"] for row in rows.values())]["setting"]
    )
    commits = ", ".join(dict.fromkeys(row["commit"] for row in rows.values()))
    rounds = min(len(each) for row in rows.values() for each in row["values"][SPEED].values())
    return Results(values, (machine, f"{model}; {libraries}; commit {commits}; medians of {rounds} rounds"))


def draw(results: Results) -> str:
    """The SVG."""
    panels = [Panel(title, results.values[figure], powers=figure == FIRST) for figure, title in FIGURES.items()]
    return line_chart.draw("Nitro beside llama-server, by the number of clients", panels, results.notes)


def table(results: Results) -> str:
    """The Markdown table, with its notes."""
    names = [*results.values[SPEED]]
    header = ["clients", *(f"{name}, {figure}" for figure in FIGURES for name in names)]
    lines = [
        [str(number), *(command.number(results.values[figure][name][number]) for figure in FIGURES for name in names)]
        for number in SWEEP
    ]
    return "\n".join([report.table(header, lines), "", *(f"{note}." for note in results.notes)])


def in_page(page: str, content: str) -> str:
    """The page with this between the two marks. Raises ValueError where it has none."""
    found = re.search(rf"{re.escape(BEGIN)}\n.*?{re.escape(END)}", page, re.DOTALL)
    if not found:
        raise ValueError(f"{PAGE.name} has no {BEGIN}")
    return f"{page[: found.start()]}{BEGIN}\n\n{content}\n\n{END}{page[found.end() :]}"


def main() -> None:
    """Write both files."""
    results = measured()
    FILE.write_text(draw(results), encoding="utf-8")
    PAGE.write_text(in_page(PAGE.read_text(encoding="utf-8"), table(results)), encoding="utf-8")


if __name__ == "__main__":
    main()
