"""`nitro redact`."""

import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nitro.cli.client_options import told_in_a_line, with_server
from nitro.errors import RecordError
from nitro.system import terminal

if TYPE_CHECKING:
    from nitro.records.form import Line
    from nitro.records.redaction.tokenizer import ServerTokenizer
    from nitro.records.redaction.words import Words


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.argument("out", type=click.Path(path_type=Path))
@with_server
@click.option("--model", help="Model whose tokens count. Default: the server's, or the one that comes with Nitro.")
def redact(file: Path, out: Path, server: dict[str, Any], model: str | None) -> None:
    """Write the records of FILE into OUT, with other texts of as many tokens.

    Texts, names, pictures and sounds are replaced; roles, the shapes of tools, numbers and times stay. What is
    counted are the tokens of the server at --url, or else of the Nitro that runs here; where none runs, one is started
    for as long as it takes.
    """
    from nitro.chat.connection import Wanted, connect
    from nitro.records.redaction.tokenizer import ServerTokenizer
    from nitro.records.replay import sources, target

    def starting() -> None:
        terminal.say("No server runs here: one is started to count tokens …", err=True)

    try:
        lines = sources.read(file)
        with told_in_a_line():
            if server["url"]:
                to = target.parse(server["url"], server["api_key"], model, server["trust"])
                root = to.place if to.unix else to.root
                words = _redacted(lines, out, ServerTokenizer(root, to.api_key, model, server["trust"]))
            else:
                with connect(Wanted(name=model, **server), starting) as connection:
                    at = connection.client
                    root = at.url.removesuffix("/v1")
                    name = connection.model or None
                    asked = ServerTokenizer(root, at.endpoint.api_key, name, server["trust"])
                    words = _redacted(lines, out, asked)
    except RecordError as error:
        terminal.say(f"nitro: {error}", err=True)
        sys.exit(1)
    terminal.say(f"{out}: {len(lines)} lines", err=True)
    if words.inexact:
        terminal.say(f"{words.inexact} texts or names have another number of tokens than before", err=True)


def _redacted(lines: "list[Line]", out: Path, tokenizer: "ServerTokenizer") -> "Words":
    """Write the file. Raises RecordError."""
    from nitro.records.redaction import command
    from nitro.records.redaction.words import Words

    hidden = not terminal.can_draw(sys.stderr)
    with contextlib.closing(tokenizer):
        words = Words(tokenizer)
        with click.progressbar(length=len(lines), label="Redacting", file=sys.stderr, hidden=hidden) as bar:
            command.redact(lines, words, out, lambda: bar.update(1))
    return words
