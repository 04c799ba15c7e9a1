"""Tables and facts in the terminal: plain text, which pipes take, too."""

from collections.abc import Sequence

import click

from nitro.errors import one_line

UNITS = ("B", "KiB", "MiB", "GiB", "TiB")


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print columns, each as wide as its widest cell. The last may be of any width."""
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    for number, row in enumerate([header, *rows]):
        cells = [cell.ljust(width) for cell, width in zip(row[:-1], widths, strict=False)]
        click.secho("  ".join([*cells, row[-1]]).rstrip(), bold=True if number == 0 else None)


def facts(named: dict[str, str]) -> None:
    """Print a line for each that is not empty."""
    width = max(map(len, named), default=0)
    for name, value in named.items():
        if value:
            click.echo(f"  {name:{width}}  {one_line(value)}")


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
