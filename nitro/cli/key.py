"""`nitro key`: the keys of a file, for `nitro serve --keys`."""

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click

from nitro.cli import config_file, stored
from nitro.cli.options import option
from nitro.engines.shares import WEIGHTS
from nitro.errors import StartError
from nitro.system import terminal

LIMITS = {
    "requests-per-minute": "Requests in a minute.",
    "tokens-per-minute": "Tokens of prompts and answers in a minute.",
    "requests-per-day": "Requests on a day of UTC.",
    "tokens-per-day": "Tokens on a day of UTC.",
    "requests-at-once": "Requests under way.",
    "longest-context": "Tokens of a prompt and its answer.",
}
_SPAN = re.compile(r"([1-9][0-9]{0,4})([dwy])")
_DAYS = {"d": 1, "w": 7, "y": 365}


@click.group()
def key() -> None:
    """Make and list the keys of many users."""


def _with_file(command: Any) -> Any:
    decorated = option("--keys", help="File with the keys.", type=click.Path(path_type=Path))(command)
    return config_file.with_config_file(decorated)


def _with_limits(command: Any) -> Any:
    for name, help in reversed(LIMITS.items()):
        command = click.option(f"--{name}", type=click.IntRange(1), help=help)(command)
    return command


def _time(_context: click.Context, _parameter: click.Parameter, value: str | None) -> datetime | None:
    """A date, or days, weeks or years from now."""
    if value is None:
        return None
    if span := _SPAN.fullmatch(value):
        return datetime.now(UTC).replace(microsecond=0) + timedelta(days=int(span[1]) * _DAYS[span[2]])
    try:
        found = datetime.fromisoformat(value)
    except ValueError:
        raise click.BadParameter(f"{value!r} is not valid. It must be a date, or as in 90d, 12w, 1y.") from None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


@key.command()
@click.argument("name")
@_with_file
@click.option("--expires", callback=_time, help="When it holds no more: a date of UTC, or as in 90d, 12w, 1y.")
@click.option("--admin", is_flag=True, help="It may also load models, see records and everybody's requests, and so on.")
@click.option("--route", "routes", multiple=True, help="Path that it may call, as in /v1/responses*. Repeatable.")
@click.option("--model", "only_models", multiple=True, help="Model that it may use, as in qwen3*. Repeatable.")
@click.option("--tier", "tiers", multiple=True, type=click.Choice(list(WEIGHTS)), help="Of service_tier. Repeatable.")
@_with_limits
def new(name: str, keys: Path | None, **asked: Any) -> None:
    """Make a key for NAME. It is printed once, and kept nowhere.

    The file gets its hash. Without a file, what belongs into one is printed on standard error.
    """
    from nitro.keys import keys_file
    from nitro.keys.key import NAME, Key, digest, new_secret, now

    if not NAME.fullmatch(name):
        raise click.UsageError(f"NAME has up to 64 letters, digits and . _ @ -, not {name!r}.")
    asked["models"] = asked.pop("only_models")  # `models` is a folder's in nitro.toml
    given = {field: value for field, value in asked.items() if value not in (None, (), False)}
    secret = new_secret()
    made = Key(hash=digest(secret.encode()), created=now(), **given)
    with stored.errors_as_one_line():
        section = keys_file.entry(name, made)
        keys_file.parse(section.encode(), "The key")  # what is wrong with a route, say
        if keys:
            keys_file.add(keys, name, made)
            terminal.say(f"{keys} has the key's hash. This is the key of {name}, which is shown now only:", err=True)
        else:
            terminal.say(f"Put this into the file of --keys:\n\n{section}\nThe key, which is shown now only:", err=True)
    click.echo(secret)


@key.command("list")
@_with_file
def list_keys(keys: Path | None) -> None:
    """List the keys of the file."""
    from nitro.cli import tables
    from nitro.keys import keys_file
    from nitro.keys.key import now

    with stored.errors_as_one_line():
        if keys is None:
            raise StartError("--keys FILE is needed, or 'keys' in nitro.toml.")
        found = keys_file.read(keys)
    rows = []
    for name, each in sorted(found.items()):
        limits = [f"{limit}={value}" for limit in LIMITS if (value := getattr(each, limit.replace("-", "_")))]
        expires = each.expires.strftime("%Y-%m-%d") if each.expires else "-"
        state = "expired" if each.has_expired(now().timestamp()) else "admin" if each.admin else "-"
        may = [*(each.models or ()), *(each.routes or ())]
        rows.append((name, state, expires, ", ".join(may) or "-", ", ".join(limits) or "-"))
    tables.table(("NAME", "STATE", "EXPIRES", "ONLY", "LIMITS"), rows)
