"""What the commands share: options that a NITRO_* variable can set too, options made from a struct, API keys."""

import functools
import math
import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin

import click
from click.core import ParameterSource

from nitro.cli import api_keys
from nitro.cli.group import INTERRUPTED
from nitro.engines.options import Option
from nitro.errors import BenchError, ConvertError
from nitro.system import terminal

Command = TypeVar("Command", bound=Callable[..., Any])
Decorator = Callable[[Command], Command]


def option(flag: str, *names: str, help: str, **attributes: Any) -> Decorator:
    """An option that its environment variable can set too: --max-queue and NITRO_MAX_QUEUE.

    `names`: the parameter's name, where it is not that of the flag. `attributes`: as click.option takes them.
    """
    variable = "NITRO_" + flag.removeprefix("--").replace("-", "_").upper()
    has_default = attributes.get("default") not in (None, ())
    return click.option(
        flag, *names, help=help, envvar=variable, show_envvar=True, show_default=has_default, **attributes
    )


def struct_option(of: Option, help: str, offered: Callable[..., Any] | None = None) -> Decorator:
    """The option that sets a struct's field: its type and bounds, its default, and its name as the parameter.
    `offered`: what a shell completes it to, where its type does not say, as click.option takes it."""
    more = {"shell_complete": offered} if offered else {}
    return option(of.flag, of.field, help=help, **_attributes(of), **more)


def checked(of: Option, value: Any) -> Any:
    """A value of the right type as the option's flag takes it. Raises ValueError with what the command line says."""
    parameter = click.Option([of.flag, of.field], **_attributes(of))
    try:
        return parameter.process_value(click.Context(click.Command("nitro")), value)
    except click.BadParameter as error:
        raise ValueError(error.message) from None


def _attributes(of: Option) -> dict[str, Any]:
    """As click.option takes them."""
    if of.kind is bool:
        return {"is_flag": True}
    if get_origin(of.kind) is tuple:
        paths = {"type": click.Path(path_type=Path)} if Path in get_args(of.kind) else {}
        return {"multiple": True, **paths}
    if of.kind is int:
        return {"default": of.default, "type": click.IntRange(of.meta.ge, of.meta.le)}  # type: ignore[arg-type]
    if of.kind is float:
        least = of.meta.gt if of.meta.ge is None else of.meta.ge
        bounds = click.FloatRange(least, of.meta.le, min_open=of.meta.ge is None)
        return {"default": of.default, "type": bounds, "callback": finite}
    if of.kind is Path:
        return {"default": of.default, "type": click.Path(path_type=Path)}
    if get_origin(of.kind) is Literal:
        return {"default": of.default, "type": click.Choice(get_args(of.kind))}
    return {"default": of.default, "callback": _checked(of.meta.pattern, of.meta.extra)}


def finite(_context: click.Context, _parameter: click.Parameter, value: float | None) -> float | None:
    """Click's bounds let infinity and NaN pass."""
    if value is not None and not math.isfinite(value):
        raise click.BadParameter(f"{value} is not valid. It must be a number.")
    return value


def _checked(pattern: str | None, extra: dict | None) -> Callable[..., str | None]:
    """A callback that refuses what does not match the pattern, and says what does."""

    def check(_context: click.Context, _parameter: click.Parameter, value: str | None) -> str | None:
        if pattern and value is not None and not re.search(pattern, value):
            raise click.BadParameter(f"{value!r} is not valid. It must be {(extra or {})['form']}.")
        return value

    return check


def with_api_key(help: str) -> Decorator:
    """--api-key and --api-key-file, which are `api_key` for the command. Any user of a machine can see the flags of its
    processes, but cannot read all of its files."""

    def decorate(command: Callable[..., Any]) -> Any:
        @option(
            "--api-key", help=f"{help} Other users of this machine can see it in the process list.", callback=_read_key
        )
        @option("--api-key-file", help="File that holds the key.", type=click.Path(path_type=Path), callback=_read_key)
        @functools.wraps(command)
        def run(*, api_key: str | None, api_key_file: str | None, **options: Any) -> Any:
            return command(api_key=one_key(api_key, api_key_file), **options)

        return run

    return decorate


def one_key(api_key: str | None, api_key_file: str | None) -> str | None:
    """The key of the command that runs: the flag or the variable, or else nitro.toml's. Raises UsageError for two."""
    if api_key and api_key_file:
        source = click.get_current_context().get_parameter_source
        if source("api_key") is source("api_key_file") or ParameterSource.DEFAULT_MAP not in (
            source("api_key"),
            source("api_key_file"),
        ):
            raise click.UsageError("--api-key and --api-key-file (or their variables) do not go together.")
        return api_key_file if source("api_key") is ParameterSource.DEFAULT_MAP else api_key
    return api_key or api_key_file


def _read_key(context: click.Context, parameter: click.Parameter, value: str | Path | None) -> str | None:
    """The key itself, or the one in the file. Click treats an empty variable as unset; for a key that would leave the
    server open, so it is refused."""
    variable = str(parameter.envvar)
    if variable in os.environ and context.get_parameter_source(str(parameter.name)) is ParameterSource.DEFAULT_MAP:
        value = None  # the variable is empty
    if value is None and variable not in os.environ:
        return None
    try:
        return api_keys.read(value) if isinstance(value, Path) else api_keys.parse(value or "")
    except ValueError as error:
        where = f"{value}: " if isinstance(value, Path) else f"{variable}: " if value is None else ""
        raise click.BadParameter(f"{where}{error}") from None


@contextmanager
def errors_as_one_line() -> Iterator[None]:
    """Turn the errors of a measurement or a conversion into one line on standard error and exit status 1."""
    try:
        yield
    except (BenchError, ConvertError) as error:
        terminal.say(f"nitro: {error}", err=True)
        sys.exit(1)
    except KeyboardInterrupt:
        terminal.say("nitro: interrupted. Unfinished output was removed.", err=True)
        sys.exit(INTERRUPTED)
