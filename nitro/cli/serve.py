"""`nitro serve`: flags and NITRO_* variables into a ServeConfig. Its options are the fields of that struct."""

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from nitro.cli import config_file, credentials, offers
from nitro.cli.config_file import no_engine, with_config_file
from nitro.cli.options import struct_option, with_api_key
from nitro.config import ServeConfig
from nitro.engines.backends.registry import ENGINES
from nitro.engines.options import Option, options_of
from nitro.errors import EngineLost, StartError
from nitro.system import terminal

if TYPE_CHECKING:
    from nitro.launch import Launch


# What a shell offers for a text, by the option's field
OFFERED = {
    "engine": offers.engines,
    "draft": offers.names_or_files,
    "hosts": offers.files,
    "mmproj": offers.files,
    "pin": offers.names,
}


def _with_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """An option for each field of ServeConfig, in the order of the fields."""
    for option in reversed(options_of(ServeConfig)):
        if option.field == "api_key":
            command = with_api_key(str(option.meta.description))(command)
        else:
            command = struct_option(option, _help(option), OFFERED.get(option.field))(command)
    return command


def _help(option: Option) -> str:
    if option.field == "engine":
        return f"{option.meta.description}: {', '.join(engine.name for engine in ENGINES)}, or auto. {_automatic()}"
    libraries = [engine.library for engine in ENGINES if option.field in engine.options]
    only = f" {' and '.join(libraries)} only." if libraries and len(libraries) < len(ENGINES) else ""
    return f"{option.meta.description}{only}"


def _automatic() -> str:
    """What --engine auto does: "auto takes MLX on Apple Silicon if it opens MODEL, else llama.cpp."."""
    *preferred, last = [engine for engine in ENGINES if engine.automatic]
    steps = [f"{engine.library} {engine.automatic_where} if it opens MODEL" for engine in preferred]
    return f"auto takes {', else '.join([*steps, last.library])}."


def _check_engine(name: str) -> None:
    """An engine process would find that out, too, but later."""
    if problem := no_engine(name):
        raise StartError(f"--engine {name}: {problem}")


def run(config: ServeConfig) -> None:
    """Start, serve and stop. Raises StartError, EngineLost.

    The order matters: signals are held before there are threads, and the other processes have begun before this one
    imports a server.
    """
    from nitro.launch import Launch
    from nitro.system import gc_tuning, logs, signals

    signals.hold()
    logs.install(config.log_level)
    with gc_tuning.resting(), Launch(config) as launch:
        launch.start()
        _tell_listening(launch)
        from nitro import server

        server.run(config, launch)


def _tell_listening(launch: "Launch") -> None:
    """The server's socket takes connections: tell whoever has called this command with a function for it as `obj`."""
    context = click.get_current_context(silent=True)
    if context and context.obj:
        context.obj(launch)


@click.command()
@click.argument("model", required=False, envvar="NITRO_MODEL", shell_complete=offers.names_or_files)
@_with_options
@with_config_file
def serve(**fields: Any) -> None:
    """Serve MODEL over the OpenAI API.

    MODEL is a GGUF file (if it is split, its first part), a folder with an MLX model, or the name of a model that
    `nitro list` shows. Without MODEL, the small model that comes with Nitro is served.
    """
    try:
        _check_engine(fields["engine"])
        context = click.get_current_context()
        fields = config_file.settled(context, credentials.filled(fields))
        run(ServeConfig(model_settings=config_file.models(context), **fields))
    except (StartError, EngineLost) as error:
        terminal.say(f"nitro: {error}", err=True)
        sys.exit(1)
