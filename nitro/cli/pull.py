"""`nitro pull`."""

import contextlib
import sys
from typing import Any

import click

from nitro.cli import offers
from nitro.cli.group import INTERRUPTED
from nitro.cli.options import option
from nitro.errors import PullError


def _bytes(_context: click.Context, _parameter: click.Parameter, value: str | None) -> int | None:
    """ "12G" as a number of bytes, as `nitro serve` reads it."""
    from nitro.system import memory

    try:
        return None if value is None else memory.parse(value)
    except ValueError as error:
        raise click.BadParameter(f"{value!r}: {error}.") from None


@click.command()
@click.argument("name", shell_complete=offers.names)
@click.option("--dry-run", help="Print which files there are, which are right for this machine, and why.", is_flag=True)
@click.option("--revision", help="Branch, tag or commit. Default: main.")
@click.option("--json", "as_json", help="Tell everything as JSON lines, for programs.", is_flag=True)
@option("--memory", help="Choose for a machine with so much memory for models, as in 12G.", callback=_bytes)
def pull(name: str, **options: Any) -> None:
    """Fetch a model from the Hugging Face hub, or update it.

    NAME is ORG/NAME, of which the best type that fits this machine is taken, or ORG/NAME:TYPE, as in
    bartowski/SmolLM2-135M-Instruct-GGUF:Q4_K_M. The model lies in the Hugging Face cache, where other programs find it
    too. An interrupted pull goes on where it was. Variables: HF_TOKEN, HF_HOME, HF_ENDPOINT, HF_HUB_OFFLINE.
    """
    from nitro.cli.pull_output import output

    told = output(options.pop("as_json"), sys.stdout, sys.stderr)
    try:
        run(name, told, **options)
    except PullError as error:
        told.refused(error)
        sys.exit(1)
    except KeyboardInterrupt:
        told.interrupted()
        sys.exit(INTERRUPTED)
    finally:
        told.close()


def run(name: str, told: Any, *, dry_run: bool, revision: str | None, memory: int | None) -> None:
    """Choose, and fetch what is chosen. `told`: a pull_output.Output. Raises PullError."""
    from nitro.cli import this_machine
    from nitro.models import choice, fetched
    from nitro.models.pull import names

    repository_name, tag = names.parse(name)
    from nitro.models.pull import fetch, lookup
    from nitro.models.pull.hub import Hub

    hub = Hub()
    repository = lookup.repository(hub, repository_name, revision)
    found = choice.choose(repository, this_machine.look(memory), tag)
    if dry_run:
        told.table(found)
    if found.problem:
        raise PullError("no_choice", found.problem)
    full_name = f"{repository.name}:{found.tag}" if found.tag else repository.name
    if dry_run:
        return
    told.chosen(full_name, found)
    with contextlib.suppress(OSError):  # it is for `nitro list`, should this be interrupted
        fetched.begin(repository.name, full_name)
    paths = fetch.fetch(hub, repository, found.files, told)
    lookup.note(hub, repository, revision, paths)
    told.ready(full_name, paths[0] if found.format == "gguf" else paths[0].parent)
