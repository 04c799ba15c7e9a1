"""`nitro bench`."""

import click

from nitro.cli.options import errors_as_one_line, with_api_key


@click.command()
@click.argument("url")
@click.option("--model", help="Model to ask for. Needed where the server has several.")
@with_api_key("Key to send.")
@click.option("--clients", help="Clients at once.", type=click.IntRange(1, 1000), default=4, show_default=True)
@click.option("--tokens", help="Tokens of each answer.", type=click.IntRange(2), default=64, show_default=True)
@click.option("--compare", help="URL of a second server, which is measured in turn. It gets no key.")
def bench(url: str, model: str | None, api_key: str | None, clients: int, tokens: int, compare: str | None) -> None:
    """Measure the speed of the server at URL.

    Any server with the OpenAI API will do. URL is its base, as in http://127.0.0.1:3928/v1.
    """
    from nitro.bench import command, endpoint
    from nitro.bench import compare as comparison

    with errors_as_one_line():
        fields = {"model": model} if model else {}
        server = endpoint.parse(url, api_key, fields)
        if compare:
            comparison.compare(server, endpoint.parse(compare, None, fields), clients, tokens)
        else:
            command.bench(server, clients, tokens)
