"""`nitro rm`."""

from pathlib import Path

import click

from nitro.cli import offers, stored
from nitro.errors import StartError
from nitro.system import terminal


@click.command()
@click.argument("name", shell_complete=offers.names)
@click.option("--yes", is_flag=True, help="Do not ask. NAME is a whole name then, not a part of one.")
@stored.with_folders
def rm(name: str, yes: bool, models: tuple[Path, ...]) -> None:
    """Remove the model NAME, if Nitro has fetched it.

    Other programs' models stay: Nitro says whose they are, and how to remove them.
    """
    with stored.errors_as_one_line():
        catalog = stored.catalog(models)
        found = catalog.find(name)
        from nitro.cli import tables
        from nitro.errors import one_line
        from nitro.models import names, removal

        if yes and not names.is_whole(name, found):
            raise StartError(f"--yes wants a whole name, as `nitro list` shows it: is it {found.name} that is meant?")
        removal.check(found)
        if not yes:
            click.confirm(one_line(f"Remove {found.name} ({tables.size(found.size)}, {found.path})?"), abort=True)
        freed = removal.remove(found, catalog.models())
        terminal.say(f"Removed {found.name}; {tables.size(freed)} are free again.")
