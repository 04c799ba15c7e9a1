"""Tables and facts in the terminal: plain text, which pipes take, too."""

import sys
from collections.abc import Sequence

import click

from nitro.errors import one_line
from nitro.system import terminal

GAP = "  "  # between columns
LEAST = 16  # columns that a first cell may take at least
UNITS = ("B", "KiB", "MiB", "GiB", "TiB")


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print columns, each as wide as its widest cell. Where a terminal is too narrow for that, a first cell that is too
    wide has a line of its own, since names are copied; of the others, whole columns go onto further lines."""
    for number, line in enumerate([header, *rows]):
        for part in laid_out(line, [header, *rows], terminal.columns(sys.stdout)):
            click.echo(click.style(part, bold=True) if number == 0 else part)


def laid_out(row: Sequence[str], rows: Sequence[Sequence[str]], room: int | None) -> list[str]:
    """The lines of a row of a table. `room`: columns of the terminal; None: any number."""
    first, *widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    cells = [cell.ljust(width) for cell, width in zip(row[1:], widths, strict=True)]
    if room is None:
        return [GAP.join([row[0].ljust(first), *cells]).rstrip()]
    first = min(first, max(room - sum(widths) - len(GAP) * len(widths), LEAST))
    indent, lines = " " * first, [row[0].ljust(first)]
    if len(row[0]) > first:
        lines.append(indent)
    for cell, width in zip(cells, widths, strict=True):
        if len(lines[-1]) + len(GAP) + width > room and lines[-1] != indent:
            lines.append(indent)
        lines[-1] += GAP + cell
    return [line.rstrip() for line in lines]


def facts(named: dict[str, str]) -> None:
    """Print a line for each that is not empty."""
    terminal.facts({name: one_line(value) for name, value in named.items() if value})


def size(count: int) -> str:
    """Bytes as people read them: "93.8 MiB"."""
    number = float(count)
    for unit in UNITS:
        if number < 1024 or unit == UNITS[-1]:
            return f"{number:.0f} {unit}" if unit == "B" or number >= 100 else f"{number:.1f} {unit}"
        number /= 1024
    raise AssertionError


def count(number: int) -> str:
    """A number of weights: "135 M", "7.2 B"."""
    for divisor, unit in ((10**9, "B"), (10**6, "M"), (10**3, "K")):
        if number >= divisor:
            found = number / divisor
            return f"{found:.0f} {unit}" if found >= 100 else f"{found:.1f} {unit}"
    return str(number)
