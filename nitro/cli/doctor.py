"""`nitro doctor`."""

import sys

import click


@click.command()
@click.option("--json", "as_json", help="Print JSON.", is_flag=True)
def doctor(as_json: bool) -> None:
    """Report this machine's hardware and engines, and what to fix.

    The exit status is 1 if there is something to fix.
    """
    from nitro.doctor import run

    sys.exit(run(as_json))
