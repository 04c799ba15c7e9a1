"""`nitro run`."""

import sys
from pathlib import Path
from typing import Any

import click

from nitro.cli import offers
from nitro.cli.client_options import told_in_a_line, with_server
from nitro.cli.options import finite
from nitro.system import terminal


@click.command()
@click.argument("name", shell_complete=offers.names_or_files)
@click.argument("prompt", nargs=-1)
@with_server
@click.option("--system", help="System message.")
@click.option("--max-tokens", help="Tokens that the answer may have.", type=click.IntRange(1))
@click.option("--temperature", help="0: the likeliest tokens.", type=click.FloatRange(0), callback=finite)
@click.option("--seed", help="The same seed gives the same answer.", type=int)
@click.option("--json-schema", help="File with a JSON schema that the answer keeps.", type=click.Path(path_type=Path))
@click.option("--no-stream", help="Write the answer when it is whole.", is_flag=True)
def run(
    name: str,
    prompt: tuple[str, ...],
    server: dict[str, Any],
    system: str | None,
    json_schema: Path | None,
    no_stream: bool,
    **parameters: Any,
) -> None:
    """Ask the model NAME one question, and write its answer to standard output.

    PROMPT and what comes through a pipe are the question. The server that runs on this machine answers, if it has that
    model; otherwise one is started for this question. "" is the server's default model. The exit status is 1 if there
    is no answer.
    """
    from nitro.chat import question
    from nitro.chat.connection import Wanted

    with told_in_a_line():
        text = question.prompt(prompt, sys.stdin)
        if not text:
            raise click.UsageError("There is no question. Give it as PROMPT, or through a pipe.")
        wanted = {key: value for key, value in parameters.items() if value is not None}
        if json_schema:
            wanted["response_format"] = question.schema(json_schema)
        asked = question.Question(text, system, wanted, streams=not no_stream)
        if question.ask(Wanted(name or None, **server), asked) == "length":
            terminal.say("nitro: the answer was cut: no room for more tokens.", err=True)
