"""`nitro chat`."""

import sys
from typing import Any

import click

from nitro.cli import offers
from nitro.cli.client_options import told_in_a_line, with_server


@click.command()
@click.argument("name", required=False, shell_complete=offers.names_or_files)
@with_server
@click.option("--system", help="System message.")
@click.option("--fold-reasoning", "fold", help="Do not show the model's reasoning, but how long it took.", is_flag=True)
def chat(name: str | None, server: dict[str, Any], system: str | None, fold: bool) -> None:
    """Talk with the model NAME in the terminal.

    The server that runs on this machine answers, if it has that model; otherwise one is started, and ended with the
    chat. Without NAME it is the server's default model. /help lists what can be typed.
    """
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise click.UsageError("nitro chat needs a terminal. For pipes: nitro run NAME PROMPT.")
    from nitro.chat import session
    from nitro.chat.connection import Wanted

    with told_in_a_line():
        session.chat(Wanted(name, **server), system, fold)
