"""`nitro bench`."""

from pathlib import Path

import click

from nitro.cli.client_options import with_ca
from nitro.cli.options import errors_as_one_line, with_api_key
from nitro.system.http_clients import Trust

CLIENTS, MOST = 4, 32  # by default


@click.command()
@click.argument("url")
@click.option("--model", help="Model to ask for. Needed where the server has several.")
@with_ca
@with_api_key("Key to send.")
@click.option("--clients", help=f"Clients at once. Default: {CLIENTS}.", type=click.IntRange(1, 1000))
@click.option("--tokens", help="Tokens of each answer.", type=click.IntRange(2), default=64, show_default=True)
@click.option("--compare", help="URL of a second server, which is measured in turn. It gets no key.")
@click.option(
    "--plot",
    metavar="FILE.svg",
    help=f"Measure with 1, 2, 4 and more clients, up to --clients ({MOST}), and draw the figures.",
    type=click.Path(path_type=Path, dir_okay=False),
)
def bench(
    url: str,
    model: str | None,
    ca: Path | None,
    api_key: str | None,
    clients: int | None,
    tokens: int,
    compare: str | None,
    plot: Path | None,
) -> None:
    """Measure the speed of the server at URL.

    Any server with the OpenAI API will do. URL is its base, as in http://127.0.0.1:3928/v1, or unix:/run/nitro.sock.
    """
    from nitro.bench import command, endpoint
    from nitro.bench import compare as comparison

    with errors_as_one_line():
        fields = {"model": model} if model else {}
        trust = Trust(authorities=ca)
        server = endpoint.parse(url, api_key, fields, trust)
        other = endpoint.parse(compare, None, fields, trust) if compare else None
        if plot:
            from nitro.bench import sweep

            sweep.plot([server, *([other] if other else [])], clients or MOST, tokens, plot)
        elif other:
            comparison.compare(server, other, clients or CLIENTS, tokens)
        else:
            command.bench(server, clients or CLIENTS, tokens)
