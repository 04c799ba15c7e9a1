"""`nitro 1 127.0.0.1 3928`: the first Nitro's command line, by which programs such as nitro-node start it.

    nitro [thread_num] [host] [port] [uploads_folder_path]

The server starts without a model; programs wait for its port. Source: v0.3.22, main.cc.
"""

import os
from typing import TYPE_CHECKING

import click

from nitro import __version__
from nitro.cli.group import ShellGroup
from nitro.cli.serve import serve
from nitro.config import DEFAULT_PORT

if TYPE_CHECKING:
    from nitro.launch import Launch


class FirstNitroGroup(ShellGroup):
    """A group of commands. Where a number stands in a command's place, it is the first Nitro's command line."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """See click.Group."""
        if args and args[0].isascii() and args[0].isdigit():
            return first_nitro.name, first_nitro, args
        return super().resolve_command(ctx, args)


@click.command("nitro", hidden=True)
@click.argument("thread_num", type=click.IntRange(min=0))
@click.argument("host", default="127.0.0.1")
@click.argument("port", type=click.IntRange(0, 65535), default=DEFAULT_PORT)
@click.argument("uploads_folder_path", required=False)
def first_nitro(thread_num: int, host: str, port: int, uploads_folder_path: str | None) -> None:
    """Start as the first Nitro did: on this address, with no model. Its other settings are variables (NITRO_…).

    The number of threads changes nothing here, and no folder for uploads is needed.
    """

    def tell(launch: "Launch") -> None:
        click.echo(f"Nitro version: {__version__}")
        place = launch.unix.path if launch.unix else f"{host}:{launch.port}"
        click.echo(f"Server started, listening at: {place}")
        click.echo("Please load your model")
        if uploads_folder_path is not None:
            click.echo(f"Drogon uploads folder is at: {uploads_folder_path}")
        click.echo(f"Number of thread is:{max(thread_num, os.cpu_count() or 1)}")

    serve.main(["--no-model", "--host", host, "--port", str(port)], prog_name="nitro serve", obj=tell)
