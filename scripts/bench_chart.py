"""Draws docs/bench.svg, Nitro beside llama-server, from bench/results.json; where there is none, from the section
"Serving" of bench/results.md."""

import json
import re
import statistics
from collections.abc import Iterator
from dataclasses import dataclass
from html import escape
from pathlib import Path

ROOT = Path(__file__).parents[1]
RECORD = ROOT / "bench" / "results.json"
RESULTS = ROOT / "bench" / "results.md"
FILE = ROOT / "docs" / "bench.svg"

SERVERS = ("Nitro", "llama-server")
WIDTH, LABELS, PANEL, BAR = 880, 260, 306, 200  # pixels: the picture, its column of labels, a panel, its longest bar
TOP, ROW, THICK = 92, 38, 12  # pixels: above the first workload, of a workload, of a bar

STYLE = """
  .page { fill: #ffffff; stroke: #d0d7de; } text { fill: #1f2328; font: 12px system-ui, sans-serif; }
  .title { font-weight: 600; } .note { fill: #59636e; font-size: 11px; } .name { text-anchor: end; }
  .s0 { fill: #0969da; } .s1 { fill: #afb8c1; }
  @media (prefers-color-scheme: dark) {
    .page { fill: #0d1117; stroke: #3d444d; } text { fill: #f0f6fc; } .note { fill: #9198a1; }
    .s0 { fill: #4493f8; } .s1 { fill: #656c76; }
  }
"""


@dataclass(frozen=True)
class Panel:
    """One measure: its row in the tables, its title, and what a value is multiplied by."""

    measure: str
    title: str
    scale: float = 1


PANELS = (
    Panel("tokens/s", "Tokens per second (more is better)"),
    Panel("TTFT p50, ms", "Median seconds to first token (less is better)", 1 / 1000),
)


@dataclass(frozen=True)
class Results:
    """`conditions`: two lines, the date and machine, and the model. `values`: by workload and measure, of SERVERS."""

    conditions: tuple[str, str]
    values: dict[str, dict[str, tuple[float, float]]]


def measured() -> Results:
    """The newest results."""
    if RECORD.exists():
        return from_record(RECORD.read_text(encoding="utf-8"))
    return read(RESULTS.read_text(encoding="utf-8"))


def from_record(text: str) -> Results:
    """What bench/results.json has of both servers: medians of the rounds, for rows that have all panels' measures. The
    conditions are those of the newest run that such a row is from."""
    record = json.loads(text)
    newest = 0
    values: dict[str, dict[str, tuple[float, float]]] = {}
    for row in record["rows"]:
        measures = {panel.measure: row["values"].get(panel.measure, {}) for panel in PANELS}
        if all(set(SERVERS) <= set(by_server) for by_server in measures.values()):
            medians = {
                name: tuple(statistics.median(by[server]) for server in SERVERS) for name, by in measures.items()
            }
            values[row["title"]] = medians  # type: ignore[assignment]
            newest = max(newest, row["run"])
    machine, libraries, *_, model = (line.removeprefix("- ") for line in record["runs"][newest]["setting"])
    return Results((machine, f"{model}; {libraries}"), values)


def read(text: str) -> Results:
    """What bench/results.md has of both servers. Raises ValueError where the section is missing."""
    section = re.search(r"^## Serving\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    if section is None:
        raise ValueError("bench/results.md has no section 'Serving'.")
    bullets = re.findall(r"^- (.*)$", section[1], re.MULTILINE)
    machine, versions, _, model = bullets[:4]
    values: dict[str, dict[str, tuple[float, float]]] = {}
    columns: list[int] | None = None
    for line in section[1].splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if cells[0] == "workload":
            columns = [cells.index(server) for server in SERVERS] if set(SERVERS) <= set(cells) else None
        elif columns and line.startswith("|") and cells[1] in {panel.measure for panel in PANELS}:
            ours, theirs = (float(cells[column]) for column in columns)
            values.setdefault(cells[0], {})[cells[1]] = (ours, theirs)
    return Results((machine, f"{model}; {versions}"), values)


def draw(results: Results) -> str:
    """The SVG."""
    height = TOP + ROW * len(results.values) + 50
    return "".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}"',
            f' viewBox="0 0 {WIDTH} {height}" role="img">\n',
            "<title>Nitro beside llama-server</title>\n",
            f"<style>{STYLE}</style>\n",
            f'<rect class="page" x=".5" y=".5" width="{WIDTH - 1}" height="{height - 1}" rx="6"/>\n',
            *_legend(),
            *(part for index, panel in enumerate(PANELS) for part in _panel(panel, LABELS + index * PANEL, results)),
            *(_text(LABELS - 12, TOP + row * ROW + THICK + 4, name, "name") for row, name in enumerate(results.values)),
            *(_text(16, height - 26 + 15 * row, line, "note") for row, line in enumerate(results.conditions)),
            "</svg>\n",
        ]
    )


def _legend() -> Iterator[str]:
    for index, server in enumerate(SERVERS):
        x = LABELS + 90 * index
        yield f'<rect class="s{index}" x="{x}" y="20" width="{THICK}" height="{THICK}"/>\n'
        yield _text(x + 18, 30, server)


def _panel(panel: Panel, x: int, results: Results) -> Iterator[str]:
    pairs = [measures[panel.measure] for measures in results.values.values()]
    longest = max(max(pair) for pair in pairs)
    yield _text(x, TOP - 24, panel.title, "title")
    for row, pair in enumerate(pairs):
        for index, value in enumerate(pair):
            y = TOP + row * ROW + index * (THICK + 2) - 4
            width = BAR * value / longest
            yield f'<rect class="s{index}" x="{x}" y="{y}" width="{width:.1f}" height="{THICK}"/>\n'
            yield _text(x + width + 6, y + 10, f"{value * panel.scale:#.3g}".rstrip("."))


def _text(x: float, y: float, text: str, kind: str = "") -> str:
    chosen = f' class="{kind}"' if kind else ""
    return f'<text x="{x:.1f}" y="{y}"{chosen}>{escape(text)}</text>\n'


if __name__ == "__main__":
    FILE.write_text(draw(measured()), encoding="utf-8")
