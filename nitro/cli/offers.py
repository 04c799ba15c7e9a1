"""What a shell offers where a model's name, an engine or a file is to be typed. Of what cannot be read, nothing is."""

import contextlib
from collections.abc import Iterable
from typing import TYPE_CHECKING

import click

from nitro.engines.backends.registry import ENGINES
from nitro.errors import NitroError

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem


def names(context: click.Context, _parameter: click.Parameter, incomplete: str) -> "list[CompletionItem]":
    """The names of the models on this machine that begin like this, those of --models and nitro.toml included."""
    return _beginning(_known(context), incomplete)


def names_or_files(context: click.Context, parameter: click.Parameter, incomplete: str) -> "list[CompletionItem]":
    """The same, or files where no name begins like this."""
    return names(context, parameter, incomplete) or files(context, parameter, incomplete)


def files(_context: click.Context, _parameter: click.Parameter, _incomplete: str) -> "list[CompletionItem]":
    """Any file or folder."""
    from click.shell_completion import CompletionItem

    return [CompletionItem("", type="file")]


def engines(_context: click.Context, _parameter: click.Parameter, incomplete: str) -> "list[CompletionItem]":
    """The engines that --engine takes."""
    return _beginning([("auto", ""), *((engine.name, engine.library) for engine in ENGINES)], incomplete)


def _beginning(known: Iterable[tuple[str, str]], incomplete: str) -> "list[CompletionItem]":
    from click.shell_completion import CompletionItem

    wanted = incomplete.casefold()
    return [CompletionItem(name, help=about) for name, about in known if name.casefold().startswith(wanted)]


def _known(context: click.Context) -> Iterable[tuple[str, str]]:
    """Names, with what is known of each. Looks at files."""
    from nitro.cli import config_file, tables
    from nitro.models.catalog import Catalog

    found: dict[str, str] = {}
    with contextlib.suppress(NitroError, OSError, ValueError):
        configured = config_file.models(context)
        for model in Catalog(context.params.get("models") or (), configured=configured, memory=0).models():
            found[model.name] = model.problem or f"{model.quantization or model.format} {tables.size(model.size)}"
        for name, settings in configured.items():
            found.setdefault(settings.alias or name, "nitro.toml")
    return found.items()
