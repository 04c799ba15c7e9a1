"""The command line: flags and NITRO_* variables into a ServeConfig. Imports what serves only when it serves."""

import functools
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import click

from nitro import __version__
from nitro.cli import api_keys
from nitro.config import DEFAULT_PORT, ServeConfig
from nitro.errors import BenchError, ConvertError, EngineLost, StartError
from nitro.system import file_descriptors

FC = TypeVar("FC", bound=Callable[..., Any])
RECIPES = ("mixed_2_6", "mixed_3_4", "mixed_3_6", "mixed_4_6")  # mlx-lm's
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


def a_key(context: click.Context, parameter: click.Parameter, value: str | Path | None) -> str | None:
    """The key that was given, or that is in the file. An empty variable is none, says click; here that would leave the
    door open."""
    variable = str(parameter.envvar)
    if value is None and variable not in os.environ:
        return None
    try:
        return api_keys.read(value) if isinstance(value, Path) else api_keys.parse(value or "")
    except ValueError as error:
        where = f"{value}: " if isinstance(value, Path) else f"{variable}: " if value is None else ""
        raise click.BadParameter(f"{where}{error}") from None


def with_api_key(help: str) -> Callable[[FC], FC]:
    """--api-key and --api-key-file, which are `api_key` for the command. Any user of a machine can see its processes'
    flags, but not read all its files."""

    def decorate(command: FC) -> Any:
        @option("--api-key", f"{help} Others on this machine see it in the list of processes.", callback=a_key)
        @option("--api-key-file", "File that holds it.", type=click.Path(path_type=Path), callback=a_key)
        @functools.wraps(command)
        def run(*, api_key: str | None, api_key_file: str | None, **rest: Any) -> Any:
            if api_key and api_key_file:
                raise click.UsageError("--api-key and --api-key-file (or their variables) do not go together.")
            return command(api_key=api_key or api_key_file, **rest)

        return run

    return decorate


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="nitro")
def main() -> None:
    """Nitro: a local LLM server that speaks OpenAI."""
    file_descriptors.fill_standard()


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
@with_api_key("Key that clients must send.")
@option("--allow-origin", "Origin of web pages that may call, beside local ones; * for any.", multiple=True)
@option("--allow-host", "Host name that requests may use, beside addresses and localhost.", multiple=True)
@option("--defaults", "For what requests leave open: temperature=0.7,top_p=0.9; wins over the model's own.")
@option("--strict", "Refuse parameters that have no effect, and other models' names.", is_flag=True)
@option("--chat-template", "Jinja template instead of the model's own.", type=click.Path(path_type=Path))
@option("--tool-format", "How the model writes calls of tools; default: what its chat template tells.")
@option("--max-queue", "Requests that may wait; more get 429.", type=click.IntRange(0), default=64)
@option("--max-body", "MiB that a request may have; more gets 413.", type=click.IntRange(1, 2**20), default=32)
@option("--exit-on-engine-failure", "End when the engine dies, rather than start it again.", is_flag=True)
@option("--log-level", "How much to log.", type=click.Choice(LEVELS), default="info")
def serve(ctx: int | None, **flags: Any) -> None:
    """Serve MODEL, a GGUF file (the first of a split one) or an MLX model's folder; by default the embedded model."""
    from nitro.server import run

    try:
        run(ServeConfig(context=ctx, **flags))
    except (StartError, EngineLost) as error:
        click.echo(f"nitro: {error}", err=True)
        sys.exit(1)


@main.command()
def doctor() -> None:
    """Tell what this machine has and what to mend; exit status 1 if there is anything."""
    from nitro.doctor import run

    sys.exit(run())


@main.command()
@click.argument("url")
@click.option("--model", help="The model to ask for; needed where the server has several.")
@with_api_key("Key to send.")
@click.option("--clients", help="Clients at once.", type=click.IntRange(1, 1000), default=4, show_default=True)
@click.option("--tokens", help="Length of an answer.", type=click.IntRange(2), default=64, show_default=True)
def bench(url: str, model: str | None, api_key: str | None, clients: int, tokens: int) -> None:
    """Measure the server at URL, any that speaks the OpenAI API, as in http://127.0.0.1:3928/v1."""
    from nitro.bench import command

    with _one_line():
        command.bench(url, model, api_key, clients, tokens)


@main.command()
@click.argument("source", type=click.Path(path_type=Path))
@click.option("--to", help="What to make.", type=click.Choice(("mlx", "gguf", "hf")), required=True)
@click.option("-o", "--output", "target", help="Where; beside SOURCE by default.", type=click.Path(path_type=Path))
@click.option("--type", help="GGUF: F32, F16, BF16, Q8_0, Q4_K_M, … Default: the type SOURCE has.")
@click.option("--imatrix", help="GGUF: an importance matrix.", type=click.Path(path_type=Path))
@click.option("--bits", help="MLX: quantise to as many.", type=click.Choice((2, 3, 4, 5, 6, 8)))
@click.option("--group-size", help="MLX: weights that share a scale; 64 by default.", type=click.Choice((32, 64, 128)))
@click.option("--recipe", help="MLX: mixed bits, as in mixed_4_6.", type=click.Choice(RECIPES))
@click.option("--dtype", help="MLX: type of the weights left.", type=click.Choice(("float32", "float16", "bfloat16")))
@click.option("--positions", help="How many to prove the result on.", type=click.IntRange(64), default=1000)
@click.option("--force", help="Replace what is there.", is_flag=True)
def convert(source: Path, to: str, target: Path | None, **options: Any) -> None:
    """Convert SOURCE, a model's folder (HF or MLX) or a GGUF file, and prove the result to be the same model."""
    from nitro.convert import command

    with _one_line():
        command.convert(source, to, target, **options)


@main.command()
@click.argument("a", type=click.Path(path_type=Path))
@click.argument("b", type=click.Path(path_type=Path))
@click.option("--reference", help="Compare A and B with this one each.", type=click.Path(path_type=Path))
@click.option("--positions", help="How many to compare logits at.", type=click.IntRange(64), default=1000)
def verify(a: Path, b: Path, reference: Path | None, positions: int) -> None:
    """Tell whether B is the same model as A: token ids, chat template, logits. Exit status 1 if not.

    Each may be a Hugging Face folder, an MLX folder or a GGUF file.
    """
    from nitro.convert import command

    with _one_line():
        sys.exit(0 if command.compare(a, b, reference, positions) else 1)


@contextmanager
def _one_line() -> Iterator[None]:
    try:
        yield
    except (BenchError, ConvertError) as error:
        click.echo(f"nitro: {error}", err=True)
        sys.exit(1)
    except KeyboardInterrupt:
        click.echo("nitro: interrupted; nothing is left of it.", err=True)
        sys.exit(130)
