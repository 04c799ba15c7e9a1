"""Draws docs/bench-clients.svg, tokens/s and time to the first token against numbers of clients, writes the same as a
table into docs/speed.md, and shows the picture there and in README.md. All is made from bench/results.json, whose rows
`python -m bench.table` measures; where it lacks one, neither page shows anything."""

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
PAGE, README = ROOT / "docs" / "speed.md", ROOT / "README.md"
PICTURE = "![Tokens per second and median time to the first token with 1 to 32 clients, Nitro beside llama-server]"
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


def newest() -> Results | None:
    """What bench/results.json has."""
    return measured(RECORD.read_text(encoding="utf-8"))


def measured(text: str) -> Results | None:
    """What a record has of these rows, of servers that none of them lacks. None where it lacks a row."""
    record: dict[str, Any] = json.loads(text)
    rows = {ROWS[row["name"]]: row for row in record["rows"] if row["name"] in ROWS}
    if set(rows) != set(SWEEP):
        return None
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


def contents(results: Results | None) -> dict[Path, str]:
    """What each page shows of them."""
    if results is None:
        return {PAGE: "", README: ""}
    note = "Each server has room for 32 requests of 512 tokens. `make bench` measures it."
    picture = FILE.relative_to(ROOT)
    return {
        PAGE: f"{PICTURE}({picture.name})\n\n{table(results)} {note}",
        README: f"{PICTURE}({picture})",
    }


def in_page(page: str, content: str) -> str:
    """The page with this between the two marks. Raises ValueError where it has none."""
    found = re.search(rf"{re.escape(BEGIN)}\n.*?{re.escape(END)}", page, re.DOTALL)
    if not found:
        raise ValueError(f"{PAGE.name} has no {BEGIN}")
    inside = f"\n{content}\n\n" if content else ""
    return f"{page[: found.start()]}{BEGIN}\n{inside}{END}{page[found.end() :]}"


def main() -> None:
    """Write the files."""
    results = newest()
    if results:
        FILE.write_text(draw(results), encoding="utf-8")
    else:
        print(f"bench/results.json lacks some of these rows: python -m bench.table --rows {','.join(ROWS)}")
        FILE.unlink(missing_ok=True)
    for page, content in contents(results).items():
        page.write_text(in_page(page.read_text(encoding="utf-8"), content), encoding="utf-8")


if __name__ == "__main__":
    main()
