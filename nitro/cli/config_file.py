"""nitro.toml: the options of the server and of single models, by the names of their flags. Flags and variables win.

The names, their types and their bounds are those of ServeConfig. Nothing in the file is ignored.
"""

import contextlib
import os
import stat
import sys
from collections.abc import Callable, Iterable, Mapping
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Any, NoReturn, TypeVar, get_origin

import click
from click.core import ParameterSource
from msgspec import Meta, Struct
from msgspec.structs import replace

from nitro.cli import api_keys, toml_lines
from nitro.cli.options import checked
from nitro.config import ServeConfig
from nitro.engines import adapters, sampling_defaults
from nitro.engines.backends import registry
from nitro.engines.options import EngineOptions, Option, options_of
from nitro.engines.sampling_params import ALIASES
from nitro.errors import ConfigError
from nitro.models import keep_alive
from nitro.models.settings import ModelSettings
from nitro.system import terminal

Command = TypeVar("Command", bound=Callable[..., Any])

NAME = "nitro.toml"
VARIABLE = "NITRO_CONFIG"
MAX_BYTES = 2**20
TYPES: dict[Any, tuple[Any, str]] = {  # of TOML's values, by the option's type; the others are strings
    bool: (bool, "true or false"),
    int: (int, "a whole number"),
    float: (int | float, "a number"),
    tuple: (list, "a list of strings"),
}
GIVEN = (ParameterSource.COMMANDLINE, ParameterSource.ENVIRONMENT)
SOURCES = (*GIVEN, ParameterSource.DEFAULT_MAP, ParameterSource.DEFAULT)  # the first that sets an option wins
OF_MODEL = {"alias", "chat_template", "tool_format"}  # flags that are about MODEL, and no other
NUMBERS_TOO = ("memory", "keep_alive", "prefix_cache_size")  # texts that may be numbers
left_out: set[str] = set()  # fields of the server that this process takes from no file
MODELS = "models"
SERVER = "server"


def _key(of: Option) -> str:
    return of.flag.removeprefix("--")


def _own(field: str, kind: Any, flag: str | None = None) -> Option:
    """An option that is no field of ServeConfig, or has no flag."""
    return Option(field=field, flag=flag or f"--{field.replace('_', '-')}", kind=kind, default=None, meta=Meta())


_OPTIONS = options_of(ServeConfig)
_ENGINE = set(EngineOptions.__struct_fields__)
_OF_A_MODEL = (*_ENGINE, "alias", "defaults", "chat_template", "tool_format")

SERVER_OPTIONS = {_key(of): of for of in (_own("model", str), *_OPTIONS, _own("api_key_file", Path))}
MODEL_OPTIONS = {
    _key(of): of
    for of in (
        _own("path", Path),
        *(of for of in _OPTIONS if of.field in _OF_A_MODEL),
        _own("keep_alive", str),
        _own("pin", bool),
    )
}


class ConfigFile(Struct, frozen=True):
    """What a file says, checked. Paths in it are absolute: they count from its folder."""

    path: Path
    server: dict[str, Any] = {}  # by the parameter's name, as the command line has it
    models: dict[str, ModelSettings] = {}
    content: dict[str, Any] = {}  # as it stands there
    lines: dict[toml_lines.Keys, int] = {}
    warnings: tuple[str, ...] = ()

    def place(self, *keys: str) -> str:
        """Where a key stands, as in "/etc/nitro.toml:3"."""
        line = self.lines.get(keys)
        return f"{self.path}:{line}" if line else str(self.path)


def usual_place() -> Path | None:
    """Where a user's nitro.toml lies, whether there is one or not. None where the user has no home.

    One in the working folder is not read unless it is named: the folder may be somebody else's, and an engine given as
    module:Class is a program.
    """
    configured = os.environ.get("XDG_CONFIG_HOME", "")  # the specification: a relative one is to be ignored
    try:
        if sys.platform == "darwin":
            return Path.home() / "Library" / "Application Support" / "nitro" / NAME
        return (Path(configured) if os.path.isabs(configured) else Path.home() / ".config") / "nitro" / NAME
    except RuntimeError:
        return None


def read(path: Path) -> ConfigFile:
    """Read and check a file. Raises ConfigError."""
    import tomllib

    try:
        mode = path.stat().st_mode
        if not stat.S_ISREG(mode) and str(path) != os.devnull:
            raise ConfigError(f"{path} is no regular file.")
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}.") from None
    if len(data) > MAX_BYTES:
        raise ConfigError(f"{path} is longer than {MAX_BYTES} bytes.")
    try:
        text = data.decode("utf-8-sig")  # some editors put a byte order mark first
        content = tomllib.loads(text)
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        raise ConfigError(f"{path} is not TOML: {error}.") from None
    reader = _Reader(path.absolute(), toml_lines.find(text))
    server, models = reader.all(content)
    warnings = _warnings(path, mode, server)
    return ConfigFile(path.absolute(), server, models, content, reader.lines, warnings)


def _warnings(path: Path, mode: int, server: Mapping[str, Any]) -> tuple[str, ...]:
    if "api_key" in server and mode & (stat.S_IRGRP | stat.S_IROTH):
        return (f"{path} holds an API key, and other users of this machine can read it: chmod 600 {path}",)
    return ()


class _Reader:
    """Checks the content of one file. Every method raises ConfigError."""

    def __init__(self, path: Path, lines: dict[toml_lines.Keys, int]):
        self.path, self.lines = path, lines

    def all(self, content: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, ModelSettings]]:
        """What there is under [server], and under [models]."""
        for key in content:
            if key not in (SERVER, MODELS):
                hint = f" It belongs under [{SERVER}]." if key in SERVER_OPTIONS else ""
                self._unknown((key,), (SERVER, MODELS), hint)
        server = self._server(self._table(content, SERVER))
        tables = self._table(content, MODELS)
        models = {name: self._model(name, self._table(tables, name, MODELS)) for name in tables}
        self._check_names(models)
        return server, models

    def _table(self, content: Mapping[str, Any], key: str, *above: str) -> Mapping[str, Any]:
        table = content.get(key, {})
        if not isinstance(table, dict):
            self._wrong((*above, key), f"expected a table, as in {section((*above, key))}")
        return table

    def _server(self, table: Mapping[str, Any]) -> dict[str, Any]:
        server = dict(self._values((SERVER,), table, SERVER_OPTIONS, READERS))
        if "defaults" in server:
            server["defaults"] = ",".join(f"{name}={value}" for name, value in server["defaults"].values.items())
        if "api_key" in server and "api_key_file" in server:
            self._wrong((SERVER, "api-key-file"), "api-key and api-key-file do not go together")
        if "api_key" in server:
            try:
                server["api_key"] = api_keys.parse(server["api_key"])
            except ValueError as error:
                self._wrong((SERVER, "api-key"), str(error))
        return server

    def _model(self, name: str, table: Mapping[str, Any]) -> ModelSettings:
        if not name:
            self._wrong((MODELS, name), "a model needs a name")
        values = dict(self._values((MODELS, name), table, MODEL_OPTIONS, READERS_OF_A_MODEL))
        options = {field: values.pop(field) for field in tuple(values) if field in _ENGINE}
        return ModelSettings(options=options, **values)

    def _values(
        self,
        section: toml_lines.Keys,
        table: Mapping[str, Any],
        known: Mapping[str, Option],
        readers: Mapping[str, "Read"],
    ) -> Iterable[tuple[str, Any]]:
        """The fields that a table sets, and their values."""
        for key, value in table.items():
            if key not in known:
                self._unknown((*section, key), known)
            of = known[key]
            try:
                yield of.field, readers.get(of.field, _plain)(of, value, self.path.parent)
            except (ValueError, RuntimeError) as error:  # ~user without a home
                self._wrong((*section, key), str(error))

    def _check_names(self, models: Mapping[str, ModelSettings]) -> None:
        owners = {name: name for name in models}
        for name, settings in models.items():
            owner = owners.setdefault(settings.alias or name, name)
            if owner != name:
                self._wrong(
                    (MODELS, name, "alias"), f"{settings.alias!r} is a name of {section((MODELS, owner))} already"
                )

    def _unknown(self, keys: toml_lines.Keys, known: Iterable[str], hint: str = "") -> NoReturn:
        hint = hint or _nearest(keys[-1].replace("_", "-").lower(), known)
        self._wrong(keys, f"there is no such setting.{hint}")

    def _wrong(self, keys: toml_lines.Keys, what: str) -> NoReturn:
        line = self.lines.get(keys)
        where = f"{self.path}, line {line}" if line else str(self.path)
        inside = f"{section(keys[:-1])} " if len(keys) > 1 else ""
        raise ConfigError(f"{where}: {inside}{keys[-1]}: {what}{'' if what.endswith(('.', '?')) else '.'}")


def _nearest(name: str, known: Iterable[str]) -> str:
    """What somebody may have meant, as a sentence."""
    import difflib

    known = list(known)
    near = difflib.get_close_matches(name, known, 1)
    return f" Did you mean {near[0]}?" if near else f" There are {', '.join(known)}."


def section(keys: toml_lines.Keys) -> str:
    """As a header is written: [models."qwen3:4b"]."""
    return f"[{'.'.join(key if key.replace('-', '_').isidentifier() else _quoted(key) for key in keys)}]"


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _plain(of: Option, value: Any, folder: Path) -> Any:
    """A value of the option's type, within its bounds. Raises ValueError."""
    kind = get_origin(of.kind) or of.kind
    if isinstance(value, int) and not isinstance(value, bool) and (of.meta.pattern or of.field in NUMBERS_TOO):
        value = str(value)  # of "24576" or "off", say
    types, expected = TYPES.get(kind, (str, "a string"))
    wrong = isinstance(value, bool) and kind is not bool
    if wrong or not isinstance(value, types) or (kind is tuple and not all(isinstance(each, str) for each in value)):
        raise _expected(expected, value)
    if kind is Path and not value:
        raise _expected("a path", value)
    if kind is Path:
        value = str(_absolute(value, folder))
    elif kind is tuple and Path in of.kind.__args__:
        value = [str(_absolute(each, folder)) for each in value]
    return checked(of, value) if kind is not bool else value


def _absolute(value: str, folder: Path) -> Path:
    return folder / Path(value).expanduser()


def _expected(what: str, value: object) -> ValueError:
    shown = str(value).lower() if isinstance(value, bool) else _quoted(value) if isinstance(value, str) else value
    return ValueError(f"expected {what}, not {shown}")


def _model_or_draft(of: Option, value: Any, folder: Path) -> str:
    """A file beside this one, or a name."""
    text = str(_plain(of, value, folder))
    file = _absolute(text, folder)
    return str(file) if text and file.exists() else text


def _lora(of: Option, value: Any, folder: Path) -> tuple[str, ...]:
    """NAME=PATH, each, and a path is that of a file beside this one."""
    found = adapters.parse(_plain(of, value, folder))
    return tuple(adapters.option(replace(each, path=str(_absolute(each.path, folder)))) for each in found)


def _engine(of: Option, value: Any, folder: Path) -> str:
    name = str(_plain(of, value, folder))
    if problem := no_engine(name):
        raise ValueError(problem)
    return name


def no_engine(name: str) -> str | None:
    """Why no engine has this name, as a sentence; None where one has."""
    names = ["auto", *(engine.name for engine in registry.ENGINES)]
    return None if name in names or ":" in name else f"there is no such engine; there are {', '.join(names)}."


def _defaults(of: Option, value: Any, folder: Path) -> sampling_defaults.SamplingDefaults:
    """A table of parameters, or what --defaults takes."""
    if isinstance(value, str):
        return sampling_defaults.parse(value)
    if not isinstance(value, dict):
        raise _expected("a table of sampling parameters, or a string such as temperature=0.7,top_p=0.9", value)
    found = {}
    for given, number in value.items():
        name: str = ALIASES.get(given) or given
        if name not in sampling_defaults.NAMES:
            raise ValueError(f"there is no {given}.{_nearest(given, sampling_defaults.NAMES)}")
        found[name] = sampling_defaults.check(name, number)
    return sampling_defaults.SamplingDefaults(**found)  # type: ignore[arg-type]


def _keep_alive(of: Option, value: Any, folder: Path) -> float:
    try:
        return keep_alive.parse(value)
    except ValueError as error:
        raise _expected(str(error), value) from None


def _keep_alive_of_all(of: Option, value: Any, folder: Path) -> str:
    _keep_alive(of, value, folder)
    return str(value)


Read = Callable[[Option, Any, Path], Any]  # the option, its value as TOML has it, the file's folder

# By field; the others are plain.
READERS: dict[str, Read] = {
    "model": _model_or_draft,
    "draft": _model_or_draft,
    "lora": _lora,
    "mmproj": _model_or_draft,
    "hosts": _model_or_draft,
    "engine": _engine,
    "defaults": _defaults,
    "keep_alive": _keep_alive_of_all,
}
READERS_OF_A_MODEL: dict[str, Read] = {**READERS, "keep_alive": _keep_alive}


def with_config_file(command: Command) -> Command:
    """Give a command the option --config, and the file's values where neither a flag nor a variable sets one."""
    return click.option(
        "--config",
        "config_file",
        help="File with settings. Default: nitro.toml in the user's folder for settings, if there is one.",
        type=click.Path(path_type=Path),
        envvar=VARIABLE,
        show_envvar=True,
        is_eager=True,
        expose_value=False,
        callback=_load,
    )(command)


def of(context: click.Context) -> ConfigFile | None:
    """The file that the command got its values from."""
    found = context.meta.get(NAME)
    assert found is None or isinstance(found, ConfigFile)
    return found


def settled(context: click.Context, fields: dict[str, Any]) -> dict[str, Any]:
    """The fields, of which MODEL and --no-model exclude each other: the one with the better source holds. Both are left
    where both have the same."""
    of_model, of_none = (
        SOURCES.index(context.get_parameter_source(name) or GIVEN[0]) for name in ("model", "no_model")
    )
    if not fields["no_model"] or fields["model"] is None or of_model == of_none:
        return fields
    return {**fields, **({"no_model": False} if of_model < of_none else {"model": None})}


def models(context: click.Context) -> dict[str, ModelSettings]:
    """What the file says of single models, by their names there, but for what a flag or a variable sets."""
    file = of(context)
    if not file:
        return {}
    given = {name for name in context.params if context.get_parameter_source(name) in GIVEN}
    flags = sampling_defaults.NOTHING
    if "defaults" in given:
        with contextlib.suppress(ValueError):  # which is told later
            flags = sampling_defaults.parse(context.params["defaults"])
    own, _ = ServeConfig(model=context.params.get("model"), model_settings=file.models).own_settings()
    return {
        name: _without(each, given if name == own else given - OF_MODEL, flags) for name, each in file.models.items()
    }


def _without(
    settings: ModelSettings, given: AbstractSet[str], flags: sampling_defaults.SamplingDefaults
) -> ModelSettings:
    """The settings, but for the fields that are `given` elsewhere."""
    fields = {field: getattr(ModelSettings(), field) for field in {*OF_MODEL, "keep_alive"} & given}
    options = {field: value for field, value in settings.options.items() if field not in given}
    return replace(settings, options=options, defaults=flags.over(settings.defaults), **fields)


def _load(context: click.Context, _parameter: click.Parameter, value: Path | None) -> None:
    path = value or usual_place()
    if path is None or (value is None and not path.exists()):
        return
    try:
        file = read(path)
    except ConfigError as error:
        raise click.UsageError(str(error)) from None
    for warning in file.warnings:
        terminal.say(f"nitro: {warning}", err=True)
    context.meta[NAME] = file
    server = {field: value for field, value in file.server.items() if field not in left_out}
    context.default_map = {**(context.default_map or {}), **server}
