"""`nitro list`."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from nitro.cli import stored
from nitro.system import terminal

if TYPE_CHECKING:
    from nitro.models.description import Summary

HEADER = ("NAME", "ENGINES", "TYPE", "SIZE", "CONTEXT", "WHERE")


@click.command("list")
@stored.with_folders
@stored.AS_JSON
def list_models(models: tuple[Path, ...], as_json: bool) -> None:
    """List the models on this machine: Nitro's and those that other programs have fetched.

    CONTEXT is what a request can have with the memory that is free now. Broken models are listed with the cure.
    """
    with stored.errors_as_one_line():
        found = stored.catalog(models).models()
        from nitro.models import description

        rows = description.summaries(found)
        if as_json:
            import msgspec

            click.echo(msgspec.json.format(msgspec.json.encode(rows)).decode())
        else:
            _print(rows)


def _print(rows: "list[Summary]") -> None:
    from nitro.cli import tables

    tables.table(HEADER, [_cells(row) for row in rows])
    for row in rows:
        if row.problem:
            terminal.say(f"{row.name}: {row.problem}", err=True, fg="yellow")


def _cells(row: "Summary") -> tuple[str, ...]:
    from nitro.cli import tables

    if row.problem:
        context = "broken"
    elif not row.context:
        context = "does not fit"
    else:
        context = str(row.context) + (f" of {row.trained_context}" if row.context < row.trained_context else "")
    engines = ", ".join(row.engines) or "none"
    makes = ", embeddings" if row.embeds else ", scores" if row.ranks else ""
    kind = f"{row.type or '?'}{makes}"
    return row.name, engines, kind, tables.size(row.size), context, row.store
