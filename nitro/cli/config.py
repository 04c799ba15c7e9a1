"""`nitro config`."""

import json
import sys
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource
from msgspec import Struct

from nitro.cli import config_file, credentials
from nitro.cli.config_file import MODEL_OPTIONS, MODELS, SERVER, SERVER_OPTIONS, SOURCES, ConfigFile
from nitro.cli.options import one_key
from nitro.cli.serve import serve
from nitro.system import terminal

SECRET = "api_key"
MASK = "***"
CREDENTIALS = {SECRET: credentials.API_KEY, "keys": credentials.KEYS}  # by field
WIDTH = 34  # characters before a comment


class Setting(Struct, frozen=True):
    """What holds for one option, and where it comes from."""

    value: Any
    origin: str  # "flag", "variable", "file", "credential", "default"
    place: str = ""  # "--port", "NITRO_PORT", "/home/me/.config/nitro/nitro.toml:3"


@click.command()
@click.option("--json", "as_json", help="Print JSON.", is_flag=True)
@click.option("--path", "only_path", help="Print where the file is looked for, and nothing else.", is_flag=True)
def config(as_json: bool, only_path: bool, api_key: str | None, api_key_file: str | None, **fields: Any) -> None:
    """Show the settings that `nitro serve` would have with the same MODEL and OPTIONS, and where each comes from.

    The output is a file with settings: flags and variables in it, and defaults as comments.
    """
    context = click.get_current_context()
    fields = {**config_file.settled(context, fields), SECRET: one_key(api_key, api_key_file)}
    fields = credentials.filled(fields)
    file = config_file.of(context)
    path = file.path if file else config_file.usual_place()
    if only_path:
        return click.echo(path or "")
    settings = {key: _setting(context, key, fields, file) for key in SERVER_OPTIONS if key != "api-key-file"}
    models = _models(file)
    if as_json:
        found = {
            "file": str(file.path) if file else None,
            SERVER: {key: _for_json(setting) for key, setting in settings.items()},
            MODELS: {name: {key: _for_json(each) for key, each in of.items()} for name, of in models.items()},
        }
        return click.echo(json.dumps(found, indent=2))
    click.echo(f"# {file.path}" if file else f"# {path}: there is none")
    unread = Path(config_file.NAME)
    if unread.exists() and not (file and unread.absolute() == file.path):
        click.echo(f"# {unread.absolute()} is not read: name it with --config")
    click.echo(f"\n[{SERVER}]")
    for key, setting in settings.items():
        click.echo(_line(key, setting))
    for name, of in models.items():
        click.echo(f"\n{config_file.section((MODELS, name))}")
        for key, setting in of.items():
            click.echo(_line(key, setting))


config.params = [*serve.params, *config.params]


def _setting(context: click.Context, key: str, fields: dict[str, Any], file: ConfigFile | None) -> Setting:
    field = SERVER_OPTIONS[key].field
    names = (field, "api_key_file") if field == SECRET else (field,)
    parameters = [each for each in context.command.params if each.name in names]
    best = min(parameters, key=lambda each: SOURCES.index(context.get_parameter_source(str(each.name)) or SOURCES[-1]))
    source = context.get_parameter_source(str(best.name))
    value = MASK if field == SECRET and fields[field] else _absolute(fields[field], Path())
    if source is ParameterSource.COMMANDLINE:
        return Setting(value, "flag", best.opts[0] if isinstance(best, click.Option) else "MODEL")
    if source is ParameterSource.ENVIRONMENT:
        return Setting(value, "variable", str(best.envvar))
    if source is ParameterSource.DEFAULT_MAP and file:
        return Setting(value, "file", file.place(SERVER, str(best.name).replace("_", "-") if len(names) > 1 else key))
    if value is not None and field in CREDENTIALS:
        return Setting(value, "credential", str(credentials.find(CREDENTIALS[field])))
    return Setting(value, "default")


def _models(file: ConfigFile | None) -> dict[str, dict[str, Setting]]:
    """What the file says of models, which is checked."""
    if not file:
        return {}

    def setting(name: str, key: str, value: Any) -> Setting:
        is_path = MODEL_OPTIONS[key].kind is Path
        value = _absolute(Path(value).expanduser(), file.path.parent) if is_path else value
        return Setting(value, "file", file.place(MODELS, name, key))

    tables = file.content.get(MODELS, {})
    return {name: {key: setting(name, key, value) for key, value in of.items()} for name, of in tables.items()}


def _absolute(value: Any, folder: Path) -> Any:
    """Paths mean the same wherever they are read."""
    if isinstance(value, tuple):
        return tuple(_absolute(each, folder) for each in value)
    return (folder / value).absolute() if isinstance(value, Path) else value


def _for_json(setting: Setting) -> dict[str, Any]:
    value = setting.value
    if isinstance(value, tuple):
        value = [str(each) for each in value]
    elif isinstance(value, Path):
        value = str(value)
    return {"value": value, "from": setting.origin, "where": setting.place or None}


def _line(key: str, setting: Setting) -> str:
    """A line of TOML. What is no part of a file is a comment. A terminal that is too narrow has the place above it."""
    unset = setting.value is None
    line = key if unset else f"{key} = {_toml(setting.value)}"
    if setting.origin == "default" or setting.value == MASK:
        line = f"# {line}"
    comment = f"# {'not set' if unset else setting.place or setting.origin}"
    room = terminal.columns(sys.stdout)
    is_long = room is not None and max(len(line), WIDTH) + 1 + len(comment) > room
    return f"{comment}\n{line}" if is_long else f"{line:{WIDTH}} {comment}"


def _toml(value: Any) -> str:
    """The value as TOML, on one line."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)} = {_toml(each)}" for key, each in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_toml, value)) + "]"
    if isinstance(value, str | Path):
        text = str(value).encode(errors="surrogateescape").decode(errors="replace")
        return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
    return json.dumps(value)
