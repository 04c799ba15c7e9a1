"""`nitro replay`."""

import sys
from pathlib import Path
from typing import Any

import click
import msgspec

from nitro.chat.printable import printable
from nitro.cli import tables
from nitro.cli.client_options import with_server
from nitro.cli.group import INTERRUPTED
from nitro.errors import RecordError
from nitro.system import terminal

LONG = 120  # seconds of a replay that are told before it begins


class Speed(click.ParamType):
    """A factor, or "max": None."""

    name = "speed"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """0 stands for "max"."""
        try:
            speed = 0.0 if value == "max" else float(value)
        except ValueError:
            speed = -1.0
        if not 0 <= speed < float("inf"):
            self.fail(f"{value!r} is not valid. It must be a factor such as 1 or 2.5, or max.", param, ctx)
        return speed


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@with_server
@click.option("--model", help="Name to ask for in place of the recorded one.")
@click.option(
    "--speed",
    type=Speed(),
    default=1.0,
    help="2 halves the distances between requests. 0 or max: each as soon as there is room.  [default: 1]",
)
@click.option(
    "--at-once",
    type=click.IntRange(1, 100_000),
    help="Requests that are under way at once. Default: as many as came; with --speed max, as there were.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON, with both answers to each request.")
def replay(
    file: Path, server: dict[str, Any], model: str | None, speed: float, at_once: int | None, as_json: bool
) -> None:
    """Send the requests recorded in FILE again, and compare the answers.

    FILE is a file of records, or a folder with some: of `nitro serve --record`, or one that the page saved. Any server
    with the APIs that were recorded will do. The distances between the requests are kept.

    The exit status is 1 if a request fails that did not, or if an answer differs that should not: the request has
    temperature 0 or a seed, or asks for embeddings.
    """
    from nitro.records.replay import command, report, sources, target

    try:
        exchanges = sources.exchanges(sources.read(file))
        seconds = (exchanges[-1].at - exchanges[0].at) / speed if speed else 0.0
        if seconds > LONG:
            terminal.say(
                f"The last request is due in {seconds / 60:.0f} minutes; --speed max sends all at once.", err=True
            )
        to = target.parse(server["url"] or server["usual_url"], server["api_key"], model, server["trust"])
        hidden = not terminal.can_draw(sys.stderr)
        with click.progressbar(length=1000, label="Replaying", file=sys.stderr, hidden=hidden) as bar:
            found = command.replay(
                exchanges, to, speed or None, at_once, lambda done, of: bar.update(1000 * done // of - bar.pos)
            )
    except RecordError as error:
        terminal.say(f"nitro: {error}", err=True)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(found), indent=2))
    else:
        tables.table(report.HEADER, [tuple(map(printable, row)) for row in report.rows(found)])
        click.echo()
        for sentence in report.sentences(found):
            terminal.say(printable(sentence))
    sys.exit(1 if found.fails else 0)
