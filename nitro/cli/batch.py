"""`nitro batch`."""

import sys
from pathlib import Path
from typing import Any

import click

from nitro.chat.printable import printable
from nitro.cli import offers, tables
from nitro.cli.client_options import told_in_a_line, with_server

HEADER = ("ID", "STATUS", "DONE", "FAILED", "LINES", "ENDPOINT")


@click.group()
def batch() -> None:
    """Have files of requests answered: `nitro batch run in.jsonl out.jsonl`."""


@batch.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.argument("out", type=click.Path(path_type=Path))
@with_server
@click.option("--model", help="Model to serve, where no server runs.", shell_complete=offers.names_or_files)
@click.option("--window", default="24h", show_default=True, help="How long it may take, as in 8h or 7d.")
def run(file: Path, out: Path, server: dict[str, Any], model: str | None, window: str) -> None:
    """Have the requests in FILE answered, one in each line, and write the answers to OUT, one in each line.

    The form is that of OpenAI's Batch API. The server that runs on this machine answers, or one is started. What is
    done is kept by the server: the same command goes on where another one was stopped. OUT has the answers in the order
    of FILE, and behind them what failed. The exit status is 1 if something did.
    """
    from nitro.batch_client import command
    from nitro.chat.connection import Wanted

    with told_in_a_line():
        sys.exit(0 if command.run(Wanted(model, **server), file, out, window) else 1)


@batch.command(name="list")
@with_server
def list_batches(server: dict[str, Any]) -> None:
    """List the batches of a running server, the newest first."""
    from nitro.batch_client import command
    from nitro.chat.client import Client

    with told_in_a_line():
        found = command.batches(Client(server["url"] or server["usual_url"], server["api_key"]))
    tables.table(HEADER, [_cells(each) for each in found])


@batch.command()
@click.argument("id")
@with_server
def cancel(id: str, server: dict[str, Any]) -> None:
    """End the batch ID of a running server. What it has answered is kept."""
    from urllib.parse import quote

    from nitro.chat.client import Client

    with told_in_a_line():
        client = Client(server["url"] or server["usual_url"], server["api_key"])
        found = client.call("POST", f"/batches/{quote(id, safe='')}/cancel")
    click.echo(printable(f"{found['id']}: {found['status']}"))


def _cells(found: dict[str, Any]) -> tuple[str, ...]:
    counts = found["request_counts"]
    numbers = (counts["completed"], counts["failed"], counts["total"])
    return (printable(found["id"]), printable(found["status"]), *map(str, numbers), printable(found["endpoint"]))
