"""What `nitro list`, `show` and `rm` share: the option --models, and errors as one line."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nitro.cli import config_file
from nitro.cli.options import option
from nitro.errors import NitroError
from nitro.system import terminal

if TYPE_CHECKING:
    from nitro.models.catalog import Catalog

AS_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def with_folders(command: Callable[..., Any]) -> Any:
    """--models and --config, as `nitro serve` has them."""
    folders = option(
        "--models",
        help="Folder whose models count, too. Repeatable.",
        multiple=True,
        type=click.Path(path_type=Path),
    )
    return folders(config_file.with_config_file(command))


def catalog(folders: tuple[Path, ...]) -> "Catalog":
    """All models of this machine, of these folders and of nitro.toml. Raises StartError."""
    from nitro.models.catalog import Catalog, check_folder

    for folder in folders:
        check_folder(folder)
    return Catalog(folders, configured=config_file.models(click.get_current_context()))


@contextmanager
def errors_as_one_line() -> Iterator[None]:
    """A name that means no model, or several, and a folder that is none, end with status 1."""
    try:
        yield
    except NitroError as error:
        terminal.say(f"nitro: {error}", err=True)
        sys.exit(1)
    except OSError as error:
        terminal.say(f"nitro: {error.filename or ''}: {error.strerror or error}.", err=True)
        sys.exit(1)
