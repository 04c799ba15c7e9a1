"""`nitro doctor`."""

import sys
from pathlib import Path

import click

from nitro.cli.config_file import with_config_file
from nitro.cli.options import option


@click.command()
@click.option("--json", "as_json", help="Print JSON.", is_flag=True)
@option("--prefix-cache", help="Folder of prefixes whose size is told.", type=click.Path(path_type=Path))
@option("--rpc", help="Workers that are asked what they offer.")
@with_config_file
def doctor(as_json: bool, prefix_cache: Path | None, rpc: str | None) -> None:
    """Report this machine's hardware and engines, and what to fix.

    The exit status is 1 if there is something to fix.
    """
    from nitro.doctor import run

    sys.exit(run(as_json, prefix_cache, rpc))
