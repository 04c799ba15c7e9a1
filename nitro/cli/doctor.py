"""`nitro doctor`."""

import sys

import click


@click.command()
def doctor() -> None:
    """Report this machine's hardware and engines, and what to fix.

    The exit status is 1 if there is something to fix.
    """
    from nitro.doctor import run

    sys.exit(run())
