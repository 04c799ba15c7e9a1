"""The command line: flags and NITRO_* variables into a ServeConfig. Imports what serves only when it serves."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from nitro import __version__
from nitro.config import DEFAULT_PORT, ServeConfig
from nitro.errors import StartError

FC = TypeVar("FC", bound=Callable[..., Any])
LEVELS = ("debug", "info", "warning", "error")


def option(flag: str, help: str, **attributes: Any) -> Callable[[FC], FC]:
    """An option that its environment variable can set too: --max-queue and NITRO_MAX_QUEUE."""
    variable = "NITRO_" + flag.removeprefix("--").replace("-", "_").upper()
    return click.option(
        flag, help=help, envvar=variable, show_envvar=True, show_default="default" in attributes, **attributes
    )


def wired_limit(_context: click.Context, _parameter: click.Parameter, value: str | None) -> str | None:
    if value is None or value in ("off", "recommended") or (value.isascii() and value.isdigit() and int(value) > 0):
        return value
    raise click.BadParameter(f"{value!r} is neither off nor recommended nor a number of MiB.")


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="nitro")
def main() -> None:
    """Nitro: a local LLM server that speaks OpenAI."""


@main.command()
@click.argument("model", required=False, envvar="NITRO_MODEL")
@option(
    "--engine",
    "mlx, llama, or auto: MLX on Apple Silicon where it opens MODEL.",
    default="auto",
)
@option("--host", "Address to listen on.", default="127.0.0.1")
@option("--port", "Port to listen on; 0 for any free one.", type=click.IntRange(0, 65535), default=DEFAULT_PORT)
@option("--ctx", "Tokens each request can use. Default: the trained length, or what fits.", type=click.IntRange(16))
@option("--parallel", "Requests that run at once.", type=click.IntRange(1, 128), default=8)
@option("--threads", "CPU threads. Default: the physical cores.", type=click.IntRange(1))
@option("--gpu-layers", "Layers on the GPU. Default: all of them.", type=click.IntRange(0))
@option("--require-gpu", "Rather fail than compute on the CPU.", is_flag=True)
@option("--wired-limit", "MLX on a Mac: memory to keep wired: off, recommended, or MiB.", callback=wired_limit)
@option("--alias", "The model's name in the API.")
@option("--api-key", "Key that clients must send.")
@option("--allow-origin", "Origin of web pages that may call, beside local ones; * for any.", multiple=True)
@option("--allow-host", "Host name that requests may use, beside addresses and localhost.", multiple=True)
@option("--chat-template", "Jinja template instead of the model's own.", type=click.Path(path_type=Path))
@option("--max-queue", "Requests that may wait; more get 429.", type=click.IntRange(0), default=64)
@option("--log-level", "How much to log.", type=click.Choice(LEVELS), default="info")
def serve(ctx: int | None, **flags: Any) -> None:
    """Serve MODEL, a GGUF file (the first of a split one) or an MLX model's folder; by default the embedded model."""
    from nitro.serve import run

    try:
        run(ServeConfig(context=ctx, **flags))
    except StartError as error:
        click.echo(f"nitro: {error}", err=True)
        sys.exit(1)


@main.command()
def doctor() -> None:
    """Tell what this machine has and what to mend; exit status 1 if there is anything."""
    from nitro.doctor import run

    sys.exit(run())
