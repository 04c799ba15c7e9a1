"""The options of the commands that ask a server: which one, and with which key."""

import functools
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import click
from click.core import ParameterSource

from nitro.cli import config_file
from nitro.cli.group import INTERRUPTED
from nitro.cli.options import Command, option, struct_option, with_api_key
from nitro.config import ServeConfig
from nitro.engines.options import options_of
from nitro.errors import ChatError
from nitro.system import terminal

ANYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}
_ADDRESS = [of for of in options_of(ServeConfig) if of.field in ("host", "port")]


def with_server(command: Callable[..., Any]) -> Any:
    """--url, --host, --port, --api-key, --api-key-file and --config, which are `server`, the arguments of a
    chat.connection.Wanted, for the command."""

    @option("--url", help="Server to ask, whatever its kind. Default: the Nitro at --host and --port.")
    @_address
    @with_api_key("Key to send.")
    @config_file.with_config_file
    @functools.wraps(command)
    def run(*, url: str | None, host: str, port: int, api_key: str | None, **options: Any) -> Any:
        context = click.get_current_context()
        file = config_file.of(context)
        if url is not None and _is_of_the_file(context):
            api_key = None  # it is for the server of these settings, and for no other
        host = ANYWHERE.get(host, host)
        usual = f"http://{f'[{host}]' if ':' in host else host}:{port}"
        server = {"url": url, "usual_url": usual, "api_key": api_key, "config": file.path if file else None}
        return command(server=server, **options)

    return run


def _address(command: Command) -> Command:
    for of in reversed(_ADDRESS):
        command = struct_option(of, {"host": "Where a server may run.", "port": "Its port."}[of.field])(command)
    return command


def _is_of_the_file(context: click.Context) -> bool:
    sources = {context.get_parameter_source(name) for name in ("api_key", "api_key_file")}
    return ParameterSource.DEFAULT_MAP in sources and not sources & {
        ParameterSource.COMMANDLINE,
        ParameterSource.ENVIRONMENT,
    }


@contextmanager
def told_in_a_line() -> Iterator[None]:
    """Turn the error of a server, or that there is none, into one line on standard error and exit status 1."""
    try:
        yield
    except ChatError as error:
        terminal.say(f"nitro: {error}", err=True)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
