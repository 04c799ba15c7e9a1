"""Lines as an SVG: figures against numbers of clients, a panel for each figure, a colour for each server.

The picture has no script and needs no font. It follows the light or dark of whoever looks at it. Knows nothing of
servers or measurements.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape

WIDTH, PANEL, PLOT = 880, 440, 350  # pixels: the picture, a panel, and the lines in it
LEFT, TOP, TALL = 62, 84, 230  # pixels: room for the numbers, above the lines, and their height
LINE = 16  # pixels of a note
LETTER = 7  # pixels of a letter of a legend, about
COLOURS = (
    ("#0969da", "#4493f8"),
    ("#9a6700", "#d29922"),
    ("#8250df", "#ab7df8"),
    ("#59636e", "#9198a1"),
)  # light, dark
DASHES = ("none", "6 3", "2 3", "9 3 2 3")  # of the lines, for eyes that see no colours

PAGE = """
  .page { fill: #ffffff; stroke: #d0d7de; } text { fill: #1f2328; font: 12px system-ui, sans-serif; }
  .title { font-weight: 600; } .note { fill: #59636e; font-size: 11px; } .name { text-anchor: end; }"""
DARK_PAGE = """
    .page { fill: #0d1117; stroke: #3d444d; } text { fill: #f0f6fc; } .note { fill: #9198a1; }"""


@dataclass(frozen=True)
class Panel:
    """One figure. `lines`: by server, the value at each number of clients. `powers`: equal steps are equal factors."""

    title: str
    lines: Mapping[str, Mapping[int, float]]
    powers: bool = False


def draw(title: str, panels: Sequence[Panel], notes: Sequence[str] = ()) -> str:
    """The SVG of at most two panels, side by side. All have the same servers. Raises ValueError without any value."""
    height = TOP + TALL + 56 + LINE * len(notes)
    servers = [*dict.fromkeys(server for panel in panels for server in panel.lines)]
    return "".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}"',
            f' viewBox="0 0 {WIDTH} {height}" role="img">\n',
            f"<title>{escape(title)}</title>\n",
            f"<style>{_style(len(servers))}</style>\n",
            f'<rect class="page" x=".5" y=".5" width="{WIDTH - 1}" height="{height - 1}" rx="6"/>\n',
            *_legend(servers),
            *(part for index, panel in enumerate(panels) for part in _panel(panel, index * PANEL + LEFT, servers)),
            *(text(16, TOP + TALL + 56 + LINE * row, note, "note") for row, note in enumerate(notes)),
            "</svg>\n",
        ]
    )


def text(x: float, y: float, content: str, kind: str = "") -> str:
    """A line of text. `kind`: the class of its style."""
    chosen = f' class="{kind}"' if kind else ""
    return f'<text x="{x:.1f}" y="{y:.1f}"{chosen}>{escape(content)}</text>\n'


def _style(servers: int) -> str:
    def lines(shade: int) -> str:
        colours = [COLOURS[index % len(COLOURS)][shade] for index in range(servers)]
        return " ".join(
            f".s{index} {{ stroke: {it}; }} circle.s{index} {{ fill: {it}; }}" for index, it in enumerate(colours)
        )

    return (
        f"{PAGE} .middle {{ text-anchor: middle; }}\n"
        f"  .grid {{ stroke: #d0d7de; }} .line {{ fill: none; stroke-width: 2; }} {lines(0)}\n"
        f"  @media (prefers-color-scheme: dark) {{{DARK_PAGE}\n    .grid {{ stroke: #3d444d; }} {lines(1)}\n  }}\n"
    )


def _legend(servers: Sequence[str]) -> Iterator[str]:
    x = float(LEFT)
    for index, server in enumerate(servers):
        yield _stroke(index, [(x, 26), (x + 28, 26)])
        yield text(x + 36, 30, server)
        x += 60 + LETTER * len(server)


def _panel(panel: Panel, x: float, servers: Sequence[str]) -> Iterator[str]:
    clients = sorted({number for line in panel.lines.values() for number in line})
    values = [value for line in panel.lines.values() for value in line.values()]
    marks = powers(min(values), max(values)) if panel.powers else steps(max(values))
    yield text(x, TOP - 20, panel.title, "title")
    for mark in marks:
        y = _height(mark, marks, panel.powers)
        yield f'<line class="grid" x1="{x}" y1="{y:.1f}" x2="{x + PLOT}" y2="{y:.1f}"/>\n'
        yield text(x - 8, y + 4, f"{mark:,.10g}", "note name")
    places = {
        number: x + _share(math.log2(number), *map(math.log2, (clients[0], clients[-1]))) * PLOT for number in clients
    }
    for number, place in places.items():
        yield text(place, TOP + TALL + 18, str(number), "note middle")
    yield text(x + PLOT / 2, TOP + TALL + 34, "clients", "note middle")
    for index, server in enumerate(servers):
        line = panel.lines.get(server, {})
        points = [(places[number], _height(line[number], marks, panel.powers)) for number in sorted(line)]
        yield _stroke(index, points)
        yield from (f'<circle class="s{index}" cx="{a:.1f}" cy="{b:.1f}" r="3"/>\n' for a, b in points)


def _stroke(index: int, points: Sequence[tuple[float, float]]) -> str:
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return f'<polyline class="s{index} line" points="{path}" stroke-dasharray="{DASHES[index % len(DASHES)]}"/>\n'


def _height(value: float, marks: Sequence[float], is_power: bool) -> float:
    scale = math.log if is_power else float
    return TOP + TALL * (1 - _share(scale(value), scale(marks[0]), scale(marks[-1])))


def _share(value: float, lowest: float, highest: float) -> float:
    """Where between the two it is: 0 to 1."""
    return (value - lowest) / (highest - lowest) if highest > lowest else 0.5


def steps(highest: float) -> list[float]:
    """Round numbers from 0 to one that is at least the highest value: four to six steps of 1, 2 or 5 × 10ⁿ."""
    size = 10.0 ** math.floor(math.log10(highest or 1))
    step = next(part * size for part in (0.2, 0.5, 1, 2) if highest <= 6 * part * size)
    return [step * index for index in range(max(math.ceil(highest / step), 1) + 1)]


def powers(lowest: float, highest: float) -> list[float]:
    """Numbers 1, 2 or 5 × 10ⁿ, from one that is at most the lowest value to one that is at least the highest. Both are
    above zero."""
    first, last = (math.floor(math.log10(value)) for value in (lowest, highest))
    marks = [digit * 10.0**exponent for exponent in range(first, last + 2) for digit in (1, 2, 5)]
    begin = max(index for index, mark in enumerate(marks) if mark <= lowest)
    end = next(index for index, mark in enumerate(marks) if mark >= highest)
    return marks[begin : end + 1] if end > begin else marks[begin : end + 2]
