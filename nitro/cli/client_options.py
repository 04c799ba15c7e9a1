"""The options of the commands that ask a server: which one, and with which key."""

import functools
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
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
from nitro.system.http_clients import UNIX, Trust

ANYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}
_HELP = {
    "host": "Where a server may run.",
    "port": "Its port.",
    "tls_cert": "Its certificate, where it speaks TLS.",
    "uds": "Its Unix socket, where it listens on one.",
}
_ADDRESS = [of for of in options_of(ServeConfig) if of.field in _HELP]


def with_server(command: Callable[..., Any]) -> Any:
    """--url, --ca, the options of the usual server's address, --api-key, --api-key-file and --config, which are
    `server`, the arguments of a chat.connection.Wanted, for the command."""

    @option(
        "--url",
        help="Server to ask, whatever its kind, as in https://host:3928 or unix:/run/nitro.sock. Default: the Nitro "
        "at --host and --port.",
    )
    @with_ca
    @_address
    @with_api_key("Key to send.")
    @config_file.with_config_file
    @functools.wraps(command)
    def run(*, url: str | None, ca: Path | None, api_key: str | None, **options: Any) -> Any:
        context = click.get_current_context()
        file = config_file.of(context)
        if url is not None and _is_of_the_file(context):
            api_key = None  # it is for the server of these settings, and for no other
        address = {field: options.pop(field) for field in _HELP}
        server = {
            "url": url,
            "usual_url": _usual(**address),
            "api_key": api_key,
            "config": file.path if file else None,
            "trust": Trust(authorities=ca) if url or ca else Trust(own=address["tls_cert"]),
        }
        return command(server=server, **options)

    return run


def with_ca(command: Command) -> Command:
    """--ca, a file with certificates, or None."""
    help = "File with certificates of authorities to trust in TLS, in place of the system's."
    return option("--ca", help=help, type=click.Path(path_type=Path))(command)


def _usual(host: str, port: int, tls_cert: Path | None, uds: Path | None) -> str:
    """The URL of the Nitro with these settings."""
    if uds:
        return f"{UNIX}{uds.absolute()}"
    host = ANYWHERE.get(host, host)
    return f"{'https' if tls_cert else 'http'}://{f'[{host}]' if ':' in host else host}:{port}"


def _address(command: Command) -> Command:
    for of in reversed(_ADDRESS):
        command = struct_option(of, _HELP[of.field])(command)
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
