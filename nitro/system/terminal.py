"""What is printed for people: sentences and facts that fit the terminal. A pipe and a file get each line whole.

Colours are left out where NO_COLOR is set (https://no-color.org) or the terminal is a dumb one. Rich and prompt_toolkit
do that themselves. A word that is wider than the terminal, such as a path, is not broken, so that it can be copied.
"""

import os
import sys
import textwrap
from collections.abc import Mapping
from typing import TextIO

import click

USUAL = 80  # columns of a terminal that does not tell


def is_plain() -> bool:
    """Whether nothing but text is wanted: no colours, nothing bold."""
    return bool(os.environ.get("NO_COLOR")) or os.environ.get("TERM") == "dumb"


def can_draw(stream: TextIO) -> bool:
    """Whether a bar can be drawn: the cursor of a dumb terminal only goes on."""
    return stream.isatty() and os.environ.get("TERM") != "dumb"


def columns(stream: TextIO) -> int | None:
    """The width of the terminal that the stream is; None: it is none, and lines may have any length."""
    if not stream.isatty():
        return None
    told = os.environ.get("COLUMNS", "")
    if told.isascii() and told.isdigit() and int(told):
        return int(told)
    try:
        return os.get_terminal_size(stream.fileno()).columns or USUAL
    except (OSError, ValueError):  # a stream of a test
        return USUAL


def wrapped(text: str, width: int | None, indent: int = 0) -> str:
    """The text with lines of at most so many columns, if its words allow; its own line breaks stay. `indent`: columns
    before every line but the first."""
    if width is None:
        return text
    parts = [
        textwrap.fill(
            line,
            max(width, indent + 1),
            initial_indent="",
            subsequent_indent=" " * indent,
            break_long_words=False,
            break_on_hyphens=False,
            drop_whitespace=True,
        )
        for line in text.split("\n")
    ]
    return "\n".join(parts)


def say(text: str, err: bool = False, indent: int = 0, bold: bool = False, fg: str | None = None) -> None:
    """Print a sentence. `bold` and `fg`, a colour, as click.style has them."""
    text = wrapped(text, columns(sys.stderr if err else sys.stdout), indent)
    click.echo(click.style(text, fg, bold=True if bold else None) if bold or fg else text, err=err)


def facts(named: Mapping[str, str], err: bool = False, least: int = 0) -> None:
    """Print a line for each: its name, as wide as the widest and at least as wide as `least`, and what is to say."""
    width = max([least, *map(len, named)])
    for name, value in named.items():
        say(f"  {name:{width}}  {value}", err, indent=width + 4)
