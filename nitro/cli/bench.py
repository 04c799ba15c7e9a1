"""`nitro bench`."""

import click

from nitro.cli.options import errors_as_one_line, with_api_key


@click.command()
@click.argument("url")
@click.option("--model", help="Model to ask for. Needed where the server has several.")
@with_api_key("Key to send.")
@click.option("--clients", help="Clients at once.", type=click.IntRange(1, 1000), default=4, show_default=True)
@click.option("--tokens", help="Tokens of each answer.", type=click.IntRange(2), default=64, show_default=True)
def bench(url: str, model: str | None, api_key: str | None, clients: int, tokens: int) -> None:
    """Measure the speed of the server at URL.

    Any server with the OpenAI API will do. URL is its base, as in http://127.0.0.1:3928/v1.
    """
    from nitro.bench import command

    with errors_as_one_line():
        command.bench(url, model, api_key, clients, tokens)
